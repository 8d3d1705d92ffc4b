"""Tables from .tsv, .csv, .jsonl (plain or .gz) and .parquet files, with the line of every row for error messages."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plmc.errors import DataError

FIELD = 2**31 - 1
"""Characters that a field of a .csv file may have; Python's own limit of 131,072 is below a long document."""
FORMATS = ".tsv, .csv, .jsonl (each also .gz) or .parquet"


@dataclass(frozen=True)
class Table:
    """Rows of one file. `columns` maps a name to its values; `lines[i]` is the line in the file where row i ends."""

    path: Path
    columns: dict[str, list[Any]]
    lines: Sequence[int]

    def __len__(self) -> int:
        return len(self.lines)

    def where(self, row: int) -> str:
        """`file, line n`, to begin an error message with."""
        return f"{self.path}, line {self.lines[row]}"

    def column(self, name: str, meant: str) -> list[Any]:
        """The values of column `name`; `meant` says what it was wanted for. Raises DataError if it is missing."""
        if name not in self.columns:
            found = ", ".join(map(repr, self.columns))
            raise DataError(f"{self.path} has no column {name!r} ({meant}). Its columns are: {found}.")
        return self.columns[name]


def read_table(path: Path) -> Table:
    """Reads a file by its ending. Raises DataError with file and line if it cannot be read.

    A .tsv file has a header and is never quoted (a quotation mark is text); quoted fields belong in a .csv file.
    """
    endings = [suffix.lower() for suffix in path.suffixes]
    kind = endings[-2] if endings[-1:] == [".gz"] and len(endings) > 1 else (endings or [""])[-1]
    if kind == ".parquet":
        return _parquet(path)
    readers = {".tsv": read_tsv, ".txt": read_tsv, ".csv": _csv, ".jsonl": _jsonl, ".json": _jsonl}
    if kind not in readers:
        raise DataError(f"{path}: cannot tell the format from the name. Use {FORMATS}.")
    return readers[kind](path)


def read_text(path: Path) -> str:
    """The whole file as text, unpacked if it ends in .gz: UTF-8, or UTF-16 that begins with its byte order mark."""
    if not path.is_file():
        raise DataError(f"{path} does not exist or is not a file.")
    data = path.read_bytes()
    if path.suffix == ".gz":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path} is not a whole gzip file ({error}). Fetch it again.") from error
    kind, name = (
        ("utf-16", "UTF-16") if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else ("utf-8-sig", "UTF-8")
    )
    try:
        text = data.decode(kind)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: byte 0x{data[error.start]:02x} is not {name}. Convert the file."
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(f"{path}, line {line}: a zero byte: no text, or UTF-16 without its mark. Convert the file.")
    if not text.strip():
        raise DataError(f"{path} is empty.")
    return text


def read_tsv(path: Path, header: Sequence[str] | None = None, skip_broken: bool = False) -> Table:
    """Unquoted tab-separated lines; `header` names the columns of a file without one.

    `skip_broken` drops rows with a wrong number of fields, if they are fewer than one in a thousand.
    """
    # Only LF ends a line: texts hold U+0085 and U+2028, where str.splitlines would cut.
    lines = [line.removesuffix("\r") for line in read_text(path).split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    first = 0 if header is not None else 1
    names = list(header) if header is not None else lines[0].split("\t")
    rows, numbers, broken = [], [], []
    for number, line in enumerate(lines[first:], start=first + 1):
        fields = line.split("\t")
        if len(fields) == len(names):
            rows.append(fields)
            numbers.append(number)
        else:
            broken.append((number, len(fields)))
    if broken and (not skip_broken or len(broken) * 1000 >= len(lines)):
        number, count = broken[0]
        raise DataError(
            f"{path}, line {number}: {count} fields where {len(names)} are expected ({', '.join(names)}). "
            "Fields are separated by single tabs and never quoted; a text must not hold a tab or a line break."
        )
    return _table(path, names, rows, numbers)


def _csv(path: Path) -> Table:
    csv.field_size_limit(FIELD)
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    names, rows, numbers = None, [], []
    try:
        for fields in reader:
            if names is None:
                names = fields
            elif fields:
                if len(fields) != len(names):
                    raise DataError(
                        f"{path}, line {reader.line_num}: {len(fields)} fields where {len(names)} are expected "
                        f"({', '.join(names)}). Put a text that holds a comma or a line break in double quotes."
                    )
                rows.append(fields)
                numbers.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not valid CSV ({error}).") from error
    return _table(path, names or [], rows, numbers)


def _jsonl(path: Path) -> Table:
    records, numbers = [], []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}, line {number}: not valid JSON ({error.msg} at column {error.colno}).") from error
        if not isinstance(record, dict):
            raise DataError(
                f'{path}, line {number}: expected one JSON object a line, such as {{"text": ..., "label": ...}}.'
            )
        records.append(record)
        numbers.append(number)
    names = list(dict.fromkeys(name for record in records for name in record))
    return _table(path, names, [[record.get(name) for name in names] for record in records], numbers)


def _parquet(path: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise DataError(f"{path} does not exist or is not a file.")
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} is not a parquet file that can be read ({error}).") from error
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    if not len(table):
        raise DataError(f"{path} holds no rows.")
    return Table(path, columns, range(1, len(table) + 1))


def _table(path: Path, names: Sequence[str], rows: Sequence[Sequence[Any]], lines: Sequence[int]) -> Table:
    if not rows:
        raise DataError(f"{path} holds no rows" + (f" below its header ({', '.join(names)})." if names else "."))
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{path} has more than one column named {', '.join(map(repr, twice))}. Rename them.")
    return Table(path, dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)), lines)
