"""All rows of one company as JSON, NDJSON, CSV or Parquet, streamed in flat memory."""

from __future__ import annotations

import csv
import io
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeAlias

import orjson

from alxreport import reporting_table
from alxreport.admission import Ask, Caller, Visit, admitted
from alxreport.errors import ConfigError
from alxreport.extras import install_hint
from alxreport.listing import (
    IS_DELETED,
    TEXTS,
    TIMES,
    Listing,
    cell,
    cells_maker,
    conditions,
    order,
    raw_columns,
    record_maker,
    sqlite_cells,
    sqlite_json,
)
from alxreport.marks import write_delta
from alxreport.rate_limit import Budget
from alxreport.sessions import Session, Store
from alxreport.settings import Settings

STREAM_ROWS = 2_000
PARQUET_ROWS = 20_000  # a row group: what is held in memory at once
FORMATS = ("json", "ndjson", "csv", "parquet")
# Slices of output, each with the number of records in it.
Chunks: TypeAlias = Generator[tuple[int, bytes], None, None]
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Exported:
    """What an export wrote; ``delta`` is what the next one may begin with."""

    rows: int
    mode: str
    delta: str
    budget: Budget | None
    warnings: tuple[str, ...] = ()


def export(
    store: Store,
    settings: Settings,
    caller: Caller,
    ask: Ask,
    out: BinaryIO,
    *,
    form: str,
    now: int,
) -> Exported:
    """Write all rows that are asked for to ``out``.

    ``form`` is json (one array), ndjson (one record a line), csv (RFC 4180, with a header; no
    cell can run as a formula) or parquet. Whatever the way in refuses is raised before anything
    is written; see ``admission.admitted``.
    """
    writer = parquet_writer() if form == "parquet" else None
    with admitted(store, settings, caller, ask, now) as visit:
        # Closed also when the reader goes, and while the transaction is still open.
        with store.reading() as session, closing(_chunks(session, visit, form, writer)) as chunks:
            for count, data in chunks:
                out.write(data)
                visit.rows += count
        out.flush()
    delta = write_delta(visit.key, visit.plan.begun)
    return Exported(visit.rows, visit.plan.mode, delta, visit.budget, tuple(visit.warnings))


def _chunks(session: Session, visit: Visit, form: str, parquet: Any) -> Chunks:
    listing = visit.plan.listing
    if form == "csv":
        return _csv(session, listing)
    if form == "parquet":
        return _parquet(session, listing, *parquet)
    if form == "ndjson":
        return ((count, text + b"\n") for count, text in _texts(session, listing, b"\n"))
    return _array(_texts(session, listing, b",\n"))


def _rows(
    session: Session, listing: Listing, columns: Sequence[str], size: int = STREAM_ROWS
) -> Iterator[Sequence[Sequence[Any]]]:
    walk = True
    if listing.since is not None:
        rows = reporting_table.still_told(session, listing)
        changed = reporting_table.count_rows(session, listing)
        walk = reporting_table.walks(listing, changed, rows.rows if rows else 0)
    where, values = conditions(listing, walk=walk, kind=session.kind)
    sql = (
        f"SELECT {', '.join(columns)} FROM {reporting_table.rows_table(session, walk=walk)}"  # noqa: S608
        f" WHERE {where} {order(listing, walk=walk)}"
    )
    return session.stream(sql, values, size)


def _texts(session: Session, listing: Listing, joint: bytes) -> Chunks:
    """Yield slices of JSON records, joined by what is given."""
    if session.kind == "sqlite":
        glue = joint.decode()
        for part in _rows(session, listing, [sqlite_json(listing)]):
            yield len(part), glue.join([row[0] for row in part]).encode()
        return
    record = record_maker(listing)
    for part in _rows(session, listing, raw_columns(listing)):
        yield len(part), joint.join([orjson.dumps(record(row)) for row in part])


def _array(texts: Chunks) -> Chunks:
    with closing(texts):
        joint = b"[\n"  # written with the first slice: what is refused there leaves no output
        for count, data in texts:
            yield count, joint + data
            joint = b",\n"
        yield 0, b"[]\n" if joint == b"[\n" else b"\n]\n"


def _csv(session: Session, listing: Listing) -> Chunks:
    written = session.kind == "sqlite"
    columns = sqlite_cells(listing) if written else raw_columns(listing)
    cells = cells_maker(listing)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(listing.names)
    for part in _rows(session, listing, columns):
        writer.writerows(part if written else [cells(row) for row in part])
        yield len(part), text.getvalue().encode()
        text.seek(0)
        text.truncate()
    if text.tell():
        yield 0, text.getvalue().encode()


def csv_text(records: list[dict[str, Any]], names: Sequence[str]) -> bytes:
    """Return records as CSV with a header, as ``export`` writes it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(names)
    writer.writerows([[cell(value) for value in record.values()] for record in records])
    return text.getvalue().encode()


def parquet_writer() -> tuple[Any, Any]:
    """Return the two modules that write Parquet; ConfigError where they are not installed."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ConfigError("Parquet needs the package pyarrow.", install_hint("parquet")) from error
    return pyarrow, parquet


def _parquet(session: Session, listing: Listing, pyarrow: Any, parquet: Any) -> Chunks:
    moment = pyarrow.timestamp("ms", tz="UTC")
    schema = pyarrow.schema([(name, _parquet_type(name, pyarrow)) for name in listing.names])
    sink = _Sink()
    with parquet.ParquetWriter(sink, schema, compression="zstd") as writer:
        for part in _rows(session, listing, raw_columns(listing), PARQUET_ROWS):
            arrays = []
            for name, column in zip(listing.names, zip(*part, strict=True), strict=True):
                values: Any = column
                if name in TIMES:
                    values = [_milliseconds(value) for value in column]
                elif name == "percentage":
                    values = [float(value) for value in column]
                elif name == IS_DELETED:
                    values = [bool(value) for value in column]
                kind = moment if name in TIMES else schema.field(name).type
                arrays.append(pyarrow.array(values, type=kind))
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
            yield len(part), sink.taken()
    yield 0, sink.taken()


# 1 January of the year 1 and the last second of 9999: what the other formats can write, too.
_FIRST_TIME, _LAST_TIME = -62_135_596_800, 253_402_300_799


def _milliseconds(seconds: int) -> int | None:
    return seconds * 1000 if seconds and _FIRST_TIME <= seconds <= _LAST_TIME else None


def _parquet_type(name: str, pyarrow: Any) -> Any:
    if name in TIMES:
        return pyarrow.timestamp("ms", tz="UTC")
    if name in TEXTS:
        return pyarrow.string()
    kinds = {"percentage": pyarrow.float64(), IS_DELETED: pyarrow.bool_()}
    return kinds.get(name, pyarrow.int64())


class _Sink:
    """A file for Parquet's writer, whose content is taken away while it grows."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: Any) -> int:
        """Take a part of the file."""
        part = bytes(data)
        self._parts.append(part)
        self._size += len(part)
        return len(part)

    def tell(self) -> int:
        """Return how much was written in all."""
        return self._size

    def flush(self) -> None:
        """Do nothing: what is written can be taken at once."""

    def close(self) -> None:
        """Do nothing: there is nothing to close."""

    def taken(self) -> bytes:
        """Return what was written since the last time."""
        data = b"".join(self._parts)
        self._parts.clear()
        return data
