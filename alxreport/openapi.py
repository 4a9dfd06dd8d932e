"""The API of version 1 as an OpenAPI document."""

from __future__ import annotations

FILTERS = ("mode", "since", "fields", "courses", "status", "company")
PAGE_PARAMETERS = ("limit", "offset", "cursor", *FILTERS)
EXPORT_PARAMETERS = ("format", *FILTERS)
