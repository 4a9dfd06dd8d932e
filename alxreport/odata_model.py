"""What the OData feed offers: its one entity type, as names, types and documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from alxreport.company_options import CompanyOptions
from alxreport.errors import UnsupportedError
from alxreport.listing import COLUMNS, KEYS, TEXTS, TIMES

SET, NAMESPACE = "Progress", "alxreport"
CAPABILITIES = "Org.OData.Capabilities.V1"
# Shown beside the company's fields: by them Power BI can ask for a range of time.
BOOKKEEPING = ("last_updated", "created_at")
INTEGER, TEXT, TIME, DECIMAL = "Edm.Int64", "Edm.String", "Edm.DateTimeOffset", "Edm.Decimal"
# Exact on every store; see odata_filter.
FUNCTIONS = (
    "contains", "endswith", "startswith", "length", "indexof", "substring", "concat",
)  # fmt: skip


@dataclass(frozen=True)
class Property:
    """One property of an entity: its type, and the column that holds its value."""

    name: str
    type: str
    column: str


Properties = Mapping[str, Property]


def properties_of(options: CompanyOptions) -> dict[str, Property]:
    """Return what the feed shows of a company's rows, in order.

    These are the company's fields and the times of the bookkeeping, unless they are hidden.
    Raises UnsupportedError where the key is hidden: an entity has to have one.
    """
    names = [*options.fields]
    names += [name for name in BOOKKEEPING if name not in {*names, *options.hidden}]
    if not set(KEYS) <= set(names):
        raise UnsupportedError(
            "The feed needs the fields userid and courseid, and one is hidden for this company.",
            "The administrator can show them: alxreport company fields C --show userid",
        )
    return {name: Property(name, type_of(name), COLUMNS.get(name, name)) for name in names}


def type_of(name: str) -> str:
    """Return the type of a property."""
    if name in TIMES:
        return TIME
    if name == "percentage":
        return DECIMAL
    return TEXT if name in TEXTS else INTEGER


def service_document(*, context: bool) -> bytes:
    """Return the list of entity sets: one."""
    listed = {"value": [{"name": SET, "kind": "EntitySet", "url": SET}]}
    return orjson.dumps(({"@odata.context": "$metadata"} if context else {}) | listed)


def annotated(records: Sequence[Mapping[str, Any]]) -> bytes:
    """Return records as JSON with what odata.metadata=full adds: their addresses and types."""
    return orjson.dumps([_annotated(record) for record in records])


def _annotated(record: Mapping[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {"@odata.type": f"#{NAMESPACE}.{SET}"}
    if set(KEYS) <= set(record):
        told["@odata.id"] = f"{SET}({','.join(f'{name}={record[name]}' for name in KEYS)})"
    for name, value in record.items():
        if value is not None and type_of(name) != TEXT:
            told[f"{name}@odata.type"] = f"#{type_of(name).removeprefix('Edm.')}"
        told[name] = value
    return told


def metadata(properties: Properties) -> bytes:
    """Return the schema as CSDL XML (OData Common Schema Definition Language 4.0)."""
    declared = "".join(_declared(each) for each in properties.values())
    functions = "".join(f"<String>{name}</String>" for name in FUNCTIONS)
    keys = "".join(f'<PropertyRef Name="{name}"/>' for name in KEYS)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx">'
        '<edmx:Reference Uri="https://oasis-tcs.github.io/odata-vocabularies/vocabularies/'
        f'{CAPABILITIES}.xml">'
        f'<edmx:Include Namespace="{CAPABILITIES}"/></edmx:Reference>'
        "<edmx:DataServices>"
        f'<Schema Namespace="{NAMESPACE}" xmlns="http://docs.oasis-open.org/odata/ns/edm">'
        f'<EntityType Name="{SET}"><Key>{keys}</Key>{declared}</EntityType>'
        '<EntityContainer Name="Container">'
        f'<EntitySet Name="{SET}" EntityType="{NAMESPACE}.{SET}">{_of_the_set()}</EntitySet>'
        f'<Annotation Term="{CAPABILITIES}.FilterFunctions">'
        f"<Collection>{functions}</Collection></Annotation>"
        f'<Annotation Term="{CAPABILITIES}.BatchSupported" Bool="false"/>'
        f'<Annotation Term="{CAPABILITIES}.AsynchronousRequestsSupported" Bool="false"/>'
        f'<Annotation Term="{CAPABILITIES}.KeyAsSegmentSupported" Bool="false"/>'
        "</EntityContainer></Schema></edmx:DataServices></edmx:Edmx>\n"
    ).encode()


# What the set allows: term, its property where it is a record, and whether.
_ALLOWS = (
    ("TopSupported", "", True),
    ("SkipSupported", "", True),
    ("CountRestrictions", "Countable", True),
    ("FilterRestrictions", "Filterable", True),
    ("SortRestrictions", "Sortable", True),
    ("ExpandRestrictions", "Expandable", False),
    ("SearchRestrictions", "Searchable", False),
    ("InsertRestrictions", "Insertable", False),
    ("UpdateRestrictions", "Updatable", False),
    ("DeleteRestrictions", "Deletable", False),
)


def _of_the_set() -> str:
    parts: list[str] = []
    for term, name, allowed in _ALLOWS:
        begin, value = f'<Annotation Term="{CAPABILITIES}.{term}"', f'Bool="{str(allowed).lower()}"'
        if name:
            record = f'<Record><PropertyValue Property="{name}" {value}/></Record>'
            parts.append(f"{begin}>{record}</Annotation>")
        else:
            parts.append(f"{begin} {value}/>")
    return "".join(parts)


def _declared(each: Property) -> str:
    more = ' Precision="5" Scale="2"' if each.type == DECIMAL else ""
    more += ' Precision="0"' if each.type == TIME else ""
    null = "true" if each.type == TIME else "false"
    return f'<Property Name="{each.name}" Type="{each.type}" Nullable="{null}"{more}/>'
