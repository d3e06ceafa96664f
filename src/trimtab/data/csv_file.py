"""CSV files as people have them: found separators, exact line numbers, and no row mended silently."""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from trimtab.data.columns import listed
from trimtab.data.table import Dropped
from trimtab.errors import DataError

SEPARATORS = (",", ";", "\t")
_MAGIC = {b"PAR1": "a Parquet file", b"PK\x03\x04": "a zip or Excel file", b"\x1f\x8b": "a gzip file"}


def read_csv_frame(path: Path) -> tuple[pd.DataFrame, tuple[Dropped, ...]]:
    """Reads a UTF-8 file with a header; the index holds the line on which each row begins.

    Raises:
        DataError: the file is no such text, is ragged, names a column twice or has no rows.
    """
    _refuse_binary(path)
    try:
        separator = max(SEPARATORS, key=lambda s: len(_header(path, s)))
        header = _checked_header(path, separator)
        lines = _lines(path, separator, len(header))
        frame = _parsed(path, separator, header)
    except UnicodeDecodeError as e:
        raise DataError(
            f"a CSV file must be encoded in UTF-8, but {str(path)!r} has the byte 0x{e.object[e.start]:02x} "
            f"({e.reason}); save it as UTF-8, e.g. `iconv -f latin1 -t utf-8 old.csv > new.csv`"
        ) from e
    except (csv.Error, pd.errors.ParserError) as e:
        raise DataError(f"{str(path)!r} cannot be read as CSV: {e}; mend the file") from e
    if len(frame) != len(lines):
        raise DataError(
            f"{str(path)!r} cannot be read as CSV: its {len(lines)} records read as {len(frame)} rows; "
            "look for stray quotes"
        )
    frame.index = pd.Index(lines, name="line")
    nameless = [name for name, given in zip(frame.columns, header, strict=True) if not given]
    dropped = tuple(Dropped(0, "no name in the header", (name,)) for name in nameless)
    return frame.drop(columns=nameless), dropped


def _refuse_binary(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(65536)
    if not head.strip(b"\xef\xbb\xbf \t\r\n"):
        raise DataError(f"a CSV file must have a header and rows, but {str(path)!r} is empty")
    magic = next((what for start, what in _MAGIC.items() if head.startswith(start)), None)
    if magic or b"\0" in head:
        hint = "use data=parquet" if magic == "a Parquet file" else "save it as CSV in UTF-8"
        raise DataError(
            f"a CSV file must be text, but {str(path)!r} is {magic or 'binary'}; {hint}, or name another file"
        )


def _records(path: Path, separator: str, *, strict: bool) -> Iterator[tuple[int, list[str]]]:
    """The records that are not blank, each with the line on which it begins."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=separator, strict=strict)
        line = 1
        try:
            for record in reader:
                if len(record) > 1 or (record and record[0].strip()):
                    yield line, record
                line = reader.line_num + 1
        except csv.Error as e:
            raise csv.Error(f"the record that begins on line {line}: {e}") from e


def _header(path: Path, separator: str) -> list[str]:
    return next(_records(path, separator, strict=False))[1]


def _checked_header(path: Path, separator: str) -> list[str]:
    header = _header(path, separator)
    if twice := [name for name, count in Counter(header).items() if name and count > 1]:
        raise DataError(
            f"column names must differ, but the header of {str(path)!r} has {listed(twice)} more than once; "
            "rename one of them"
        )
    return header


def _lines(path: Path, separator: str, fields: int) -> list[int]:
    """Where each row begins; refuses ragged rows, which pandas would fill up silently."""
    lines = []
    for line, record in _records(path, separator, strict=True):
        if len(record) != fields:
            raise DataError(
                f"every row must have as many fields as the header, but line {line} of {str(path)!r} has "
                f"{len(record)} instead of {fields}; mend that line (a text with {separator!r} in it needs quotes)"
            )
        lines.append(line)
    if len(lines) < 2:
        raise DataError(f"a table must have rows, but {str(path)!r} has only a header; add rows or name another file")
    return lines[1:]


def _parsed(path: Path, separator: str, header: list[str]) -> pd.DataFrame:
    names = [name or f"column {number}" for number, name in enumerate(header, start=1)]
    return pd.read_csv(
        path,
        sep=separator,
        header=0,
        names=names,
        index_col=False,
        encoding="utf-8-sig",
        low_memory=False,  # in chunks, a column's type would depend on the size of the file
    )
