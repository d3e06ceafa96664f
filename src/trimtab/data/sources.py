"""Where tables come from. Every reader takes the same settings, so that one door serves them all."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict, Unpack

from trimtab.data.csv_file import read_csv_frame
from trimtab.data.files import readable
from trimtab.data.parquet_file import read_parquet_frame
from trimtab.data.table import Table, Task, make_table


class Columns(TypedDict, total=False):
    """Which column plays which part; what is not given or None is found."""

    target: str | None
    group: str | None
    time: str | None
    numeric: Sequence[str] | None
    categorical: Sequence[str] | None
    task: Task | None


def read_digits(**columns: Unpack[Columns]) -> Table:
    """1,797 handwritten digits, 8 × 8 pixels from 0 to 16; the target is `digit`.

    Source: scikit-learn's `load_digits`, the test set of UCI's Optical Recognition of Handwritten Digits.
    """
    from sklearn.datasets import load_digits

    frame = load_digits(as_frame=True).frame.rename(columns={"target": "digit"})
    columns["target"] = columns.get("target") or "digit"
    return make_table(frame, **columns)


def read_csv(path: str | Path, **columns: Unpack[Columns]) -> Table:
    """A CSV file in UTF-8 with a header; the separator `,`, `;` or tab is found."""
    frame, dropped = read_csv_frame(readable(path))
    return make_table(frame, **_with_target(columns), dropped=dropped)


def read_parquet(path: str | Path, **columns: Unpack[Columns]) -> Table:
    """A Parquet file of plain columns."""
    frame, dropped = read_parquet_frame(readable(path))
    return make_table(frame, **_with_target(columns), dropped=dropped)


def _with_target(columns: Columns) -> Columns:
    return {"target": None, **columns}
