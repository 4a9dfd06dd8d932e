"""What the OData feed offers: its one entity type, as names, types and documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from alxreport.company_options import CompanyOptions
from alxreport.errors import UnsupportedError
from alxreport.listing import COLUMNS, KEYS, TEXTS, TIMES

SET, NAMESPACE = "Progress", "alxreport"
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
    return {name: Property(name, _type(name), COLUMNS.get(name, name)) for name in names}


def _type(name: str) -> str:
    if name in TIMES:
        return TIME
    if name == "percentage":
        return DECIMAL
    return TEXT if name in TEXTS else INTEGER


def service_document() -> bytes:
    """Return the list of entity sets: one."""
    entry = {"name": SET, "kind": "EntitySet", "url": SET}
    return orjson.dumps({"@odata.context": "$metadata", "value": [entry]})


def metadata(properties: Properties) -> bytes:
    """Return the schema as CSDL XML (OData Common Schema Definition Language 4.0)."""
    declared = "".join(_declared(each) for each in properties.values())
    functions = "".join(f"<String>{name}</String>" for name in FUNCTIONS)
    keys = "".join(f'<PropertyRef Name="{name}"/>' for name in KEYS)
    off = "".join(
        f'<Annotation Term="Org.OData.Capabilities.V1.{term}"><Record>'
        f'<PropertyValue Property="{name}" Bool="false"/></Record></Annotation>'
        for term, name in _OFF
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx">'
        '<edmx:Reference Uri="https://oasis-tcs.github.io/odata-vocabularies/vocabularies/'
        'Org.OData.Capabilities.V1.xml">'
        '<edmx:Include Namespace="Org.OData.Capabilities.V1"/></edmx:Reference>'
        "<edmx:DataServices>"
        f'<Schema Namespace="{NAMESPACE}" xmlns="http://docs.oasis-open.org/odata/ns/edm">'
        f'<EntityType Name="{SET}"><Key>{keys}</Key>{declared}</EntityType>'
        '<EntityContainer Name="Container">'
        f'<EntitySet Name="{SET}" EntityType="{NAMESPACE}.{SET}">'
        f"{off}{_ON}"
        "</EntitySet>"
        '<Annotation Term="Org.OData.Capabilities.V1.FilterFunctions">'
        f"<Collection>{functions}</Collection></Annotation>"
        '<Annotation Term="Org.OData.Capabilities.V1.BatchSupported" Bool="false"/>'
        "</EntityContainer></Schema></edmx:DataServices></edmx:Edmx>\n"
    ).encode()


_OFF = (
    ("ExpandRestrictions", "Expandable"),
    ("SearchRestrictions", "Searchable"),
    ("InsertRestrictions", "Insertable"),
    ("UpdateRestrictions", "Updatable"),
    ("DeleteRestrictions", "Deletable"),
)
_ON = (
    '<Annotation Term="Org.OData.Capabilities.V1.CountRestrictions"><Record>'
    '<PropertyValue Property="Countable" Bool="true"/></Record></Annotation>'
    '<Annotation Term="Org.OData.Capabilities.V1.TopSupported" Bool="true"/>'
    '<Annotation Term="Org.OData.Capabilities.V1.SkipSupported" Bool="true"/>'
)


def _declared(each: Property) -> str:
    more = ' Precision="5" Scale="2"' if each.type == DECIMAL else ""
    more += ' Precision="0"' if each.type == TIME else ""
    null = "true" if each.type == TIME else "false"
    return f'<Property Name="{each.name}" Type="{each.type}" Nullable="{null}"{more}/>'
