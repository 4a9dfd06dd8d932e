"""Encrypted connections to databases."""

from __future__ import annotations

import ssl
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.engine import URL

from alxreport.errors import SourceError
from alxreport.settings import DatabaseSettings


def tls_arguments(url: URL, settings: DatabaseSettings) -> dict[str, Any]:
    """Return what a driver is told about encryption; OSError for files that cannot be used."""
    if settings.tls == "off":
        return {}
    if url.get_backend_name() == "postgresql":
        found = {
            "sslmode": "verify-full" if settings.tls == "verify" else "require",
            "sslrootcert": settings.tls_ca,
            "sslcert": settings.tls_cert,
            "sslkey": settings.tls_key,
        }
        return {name: value for name, value in found.items() if value}
    context = ssl.create_default_context(cafile=settings.tls_ca or None)
    if settings.tls == "require":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if settings.tls_cert:
        context.load_cert_chain(settings.tls_cert, settings.tls_key or None)
    return {"ssl": context}


def require_tls(connection: Connection) -> None:
    """Check that a MySQL connection is encrypted; SourceError where it is not."""
    # PyMySQL goes on in clear text when the server offers no TLS.
    row = connection.exec_driver_sql("SHOW STATUS LIKE 'Ssl_cipher'").first()
    if row is None or not row[1]:
        raise SourceError(
            "The database server offers no TLS, and tls is not 'off'.",
            'Switch TLS on at the server, or set tls = "off".',
        )
