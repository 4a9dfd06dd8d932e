"""All rows of one company as JSON, NDJSON or CSV, streamed in flat memory."""

from __future__ import annotations

import csv
import io
import os
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import orjson
from sqlalchemy import Connection, Engine

from alxreport.database import reading
from alxreport.dialects import flavour
from alxreport.errors import AlxError, UsageError
from alxreport.listing import (
    Filter,
    field_columns,
    json_text,
    record_maker,
    rows_statement,
)
from alxreport.query import synced_company
from alxreport.schema import StoreTables

STREAM_ROWS = 2_000
# Slices of output, each with the number of records in it.
Chunks: TypeAlias = Generator[tuple[int, bytes], None, None]
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# A cell that begins like this is run as a formula by a spreadsheet.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def export(
    engine: Engine,
    tables: StoreTables,
    out: BinaryIO,
    *,
    company: str,
    form: str,
    fields: tuple[str, ...],
    wanted: Filter,
) -> int:
    """Write all live rows of a company to ``out``; return their number.

    ``form`` is json (one array), ndjson (one record a line) or csv (RFC 4180, with a header; no
    cell can run as a formula). Raises NotFoundError or NeverSyncedError before anything is written.
    """
    with reading(engine) as connection:
        state = synced_company(connection, tables, company)
        if form == "csv":
            chunks = _csv_chunks(_rows(connection, tables, state.id, fields, wanted), fields)
            return _write(out, chunks)
        texts = _json_texts(connection, tables, state.id, fields, wanted)
        if form == "ndjson":
            return _write(out, ((count, text + b"\n") for count, text in texts(b"\n")))
        return _write_array(out, texts(b",\n"))


def _rows(
    connection: Connection,
    tables: StoreTables,
    company: int,
    fields: tuple[str, ...],
    wanted: Filter,
) -> Iterator[list[Any]]:
    columns = field_columns(tables, fields)
    statement = rows_statement(tables, company=company, wanted=wanted, columns=columns)
    with connection.execute(statement.execution_options(yield_per=STREAM_ROWS)) as result:
        yield from map(list, result.partitions())


def _json_texts(
    connection: Connection,
    tables: StoreTables,
    company: int,
    fields: tuple[str, ...],
    wanted: Filter,
) -> Callable[[bytes], Chunks]:
    """Return a function that yields slices of records, joined by what it is given."""

    text = json_text(tables, fields, flavour(connection.dialect))

    def built(joint: bytes) -> Chunks:
        columns = [] if text is None else [text]
        statement = rows_statement(tables, company=company, wanted=wanted, columns=columns)
        glue = joint.decode()
        with connection.execute(statement.execution_options(yield_per=STREAM_ROWS)) as result:
            for part in result.scalars().partitions():
                yield len(part), glue.join(part).encode()

    def other(joint: bytes) -> Chunks:
        record = record_maker(fields)
        for part in _rows(connection, tables, company, fields, wanted):
            yield len(part), joint.join(orjson.dumps(record(row)) for row in part)

    return other if text is None else built


def _write(out: BinaryIO, chunks: Chunks) -> int:
    total = 0
    with closing(chunks):  # also when the reader goes: while the connection is still open
        for count, data in chunks:
            out.write(data)
            total += count
    return total


def _write_array(out: BinaryIO, chunks: Chunks) -> int:
    total = 0
    with closing(chunks):
        out.write(b"[")
        for count, data in chunks:
            out.write(b",\n" if total else b"\n")
            out.write(data)
            total += count
    out.write(b"\n]\n" if total else b"]\n")
    return total


def _csv_chunks(parts: Iterator[list[Any]], fields: tuple[str, ...]) -> Chunks:
    record = record_maker(fields)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(fields)
    for part in parts:
        writer.writerows([[cell(value) for value in record(row).values()] for row in part])
        yield len(part), text.getvalue().encode()
        text.seek(0)
        text.truncate()
    if text.tell():
        yield 0, text.getvalue().encode()


def csv_text(records: list[dict[str, Any]], fields: tuple[str, ...]) -> bytes:
    """Return records as CSV with a header, as ``export`` writes it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(fields)
    writer.writerows([[cell(value) for value in record.values()] for record in records])
    return text.getvalue().encode()


def cell(value: Any) -> Any:
    """Return a value as a cell that no spreadsheet runs: a text in front of it where needed."""
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return f"'{value}"
    return "" if value is None else value


@contextmanager
def whole_file(path: Path, *, mark: bytes = b"") -> Iterator[BinaryIO]:
    """Yield a file that appears as ``path`` when the block succeeds, or not at all; mode 0600.

    ``mark`` is written first, such as a byte order mark. Raises UsageError when the folder cannot
    be written to.
    """
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise UsageError(f"{path} is a directory.", "Name a file in --output.")
    if path.exists() and not path.is_file():
        # A device or a pipe: it is written to, not replaced.
        with path.open("wb") as file:
            file.write(mark)
            yield file
        return
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}.", "Name another file in --output."
        ) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(mark)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException as error:
        with suppress(FileNotFoundError):
            os.unlink(name)
        if isinstance(error, OSError):
            raise AlxError(
                f"{path} cannot be written: {error.strerror}.",
                "Nothing was left behind; make room, or name another file.",
            ) from error
        raise
