"""What a source returns: a frame, and the part that each column plays, found or named."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from pandas.api import types

from trimtab.data.arrays import Task as Task
from trimtab.data.columns import (
    as_numbers,
    as_text,
    as_times,
    kind,
    listed,
    names_rows,
    plain,
    refuse_almost_numbers,
    suggestion,
)
from trimtab.errors import DataError

MOST_CLASSES = 20  # integers with more distinct values are a quantity
ROWS_PER_CLASS = 5  # … and so are integers that hardly repeat


@dataclass(frozen=True)
class Dropped:
    """Rows or columns that are not used, and why."""

    rows: int
    reason: str
    columns: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.said if self.columns else f"{self.rows} row{'s' * (self.rows > 1)} dropped: {self.said}"

    @property
    def said(self) -> str:
        """The reason, which names the columns if any."""
        if not self.columns:
            return self.reason
        return f"column{'s' * (len(self.columns) > 1)} {listed(self.columns)} dropped: {self.reason}"


@dataclass(frozen=True)
class Table:
    """Plain columns and their parts; the index of `frame` tells where a row stands in its source.

    Attributes:
        shape: of the features of one row, in their order, e.g. (channels, length); None for a table, whose columns
            have no neighbours.
        held_out: a boolean column, true in the rows that the source itself keeps for the test; None leaves the choice
            to the split.
        remarks: about features that were found and may be none.
    """

    frame: pd.DataFrame
    target: str
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    group: str | None
    time: str | None
    task: Task
    dropped: tuple[Dropped, ...] = ()
    shape: tuple[int, ...] | None = None
    held_out: str | None = None
    remarks: tuple[str, ...] = ()

    @property
    def features(self) -> tuple[str, ...]:
        """All columns that the networks see, numeric ones first."""
        return self.numeric + self.categorical


def make_table(
    frame: pd.DataFrame,
    *,
    target: str | None,
    group: str | None = None,
    time: str | None = None,
    numeric: Sequence[str] | None = None,
    categorical: Sequence[str] | None = None,
    task: Task | None = None,
    shape: Sequence[int] | None = None,
    held_out: str | None = None,
    dropped: tuple[Dropped, ...] = (),
) -> Table:
    """Finds what is not named: numbers and booleans are numeric, text is categorical.

    A list that is named is the whole list of its kind; columns in neither list are left out, and said to be.

    Raises:
        DataError: a named column is absent or named twice; a column holds dates, or what no column may hold;
            the features do not make the shape.
    """
    columns = [str(name) for name in frame.columns]
    target = _named_once(columns, target, group, time, numeric, categorical)
    frame = pd.DataFrame({name: plain(frame[name]) for name in columns}, index=frame.index)
    taken = {target, group, time, held_out, *(numeric or ()), *(categorical or ())}
    kinds = {name: kind(frame[name]) for name in columns if name not in taken}
    found: list[str] = []
    if numeric is None:
        numeric = [name for name in kinds if kinds[name] == "number"]
        found += numeric if shape is None else []
    if categorical is None:
        _refuse_dates([name for name in kinds if kinds[name] == "date"])
        categorical = [name for name in kinds if kinds[name] == "text"]
        for name in categorical:
            refuse_almost_numbers(frame[name])
        found += categorical
    remarks = tuple(_remark(frame[name]) for name in found if names_rows(frame[name]))
    task = task or find_task(frame[target])
    for name in numeric:
        if not types.is_numeric_dtype(frame[name].dtype):
            frame[name] = as_numbers(frame[name], "numeric column")
    for name in categorical:
        frame[name] = as_text(frame[name])
    if time is not None:
        frame[time] = as_times(frame[time])
    frame[target] = _target(frame[target], task)
    if unused := tuple(name for name in kinds if name not in {*numeric, *categorical}):
        reason = "not named in data.numeric or data.categorical"
        dropped += (Dropped(0, reason, unused),)
    if shape is not None:
        _check_shape(shape, numeric, categorical)
    grid = None if shape is None else tuple(shape)
    features = (tuple(numeric), tuple(categorical))
    return Table(frame, target, *features, group, time, task, dropped, grid, held_out, remarks)


def find_task(target: pd.Series) -> Task:
    """Text, booleans, and integers with few distinct values are classes; other numbers are quantities."""
    if not types.is_numeric_dtype(target.dtype) or types.is_bool_dtype(target.dtype):
        return "classification"
    distinct = target.nunique()
    few = distinct <= MOST_CLASSES and distinct * ROWS_PER_CLASS <= len(target)
    return "classification" if types.is_integer_dtype(target.dtype) and few else "regression"


def _target(column: pd.Series, task: Task) -> pd.Series:
    """Labels as they are (whole floats as integers), quantities as float64; gaps are checked later."""
    if kind(column) == "date":
        raise DataError(
            f"the target must be classes or a quantity, but data.target {column.name!r} holds dates; "
            "turn it into a number, or name another column"
        )
    if task == "regression":
        return column if column.isna().any() else _quantity(column)
    if types.is_float_dtype(column.dtype) and (column % 1 == 0).all():
        return column.astype("int64")
    return column


def _quantity(column: pd.Series) -> pd.Series:
    try:
        return as_numbers(column, "the target of a regression")
    except DataError as e:
        raise DataError(f"{e} (or set data.task=classification)") from e


def _named_once(
    columns: list[str],
    target: str | None,
    group: str | None,
    time: str | None,
    numeric: Sequence[str] | None,
    categorical: Sequence[str] | None,
) -> str:
    """Holds every column that a setting names to exist and to play one part; returns the target."""
    if target is None:
        raise DataError(
            f"data.target must name the column to predict, but is null; set it to one of the columns: {listed(columns)}"
        )
    parts = [("data.target", target), ("data.group", group), ("data.time", time)]
    parts += [("data.numeric", name) for name in numeric or ()]
    parts += [("data.categorical", name) for name in categorical or ()]
    part_of: dict[str, str] = {}
    for setting, name in parts:
        if name is None:
            continue
        if name not in columns:
            raise DataError(
                f"{setting} names {name!r}, which is no column{suggestion(name, columns)}"
                f" the columns are {listed(columns)}"
            )
        if name in part_of:
            raise DataError(
                f"a column plays one part, but {name!r} is named in {part_of[name]} and in {setting}; "
                f"remove it from one of them"
            )
        part_of[name] = setting
    return target


def _check_shape(shape: Sequence[int], numeric: Sequence[str], categorical: Sequence[str]) -> None:
    """Holds the features to be the values of a sequence or an image, each of them once."""
    if categorical or len(numeric) != math.prod(shape):
        size = " x ".join(map(str, shape))
        raise DataError(
            f"rows of shape {size} need just as many numeric features, but there are {len(numeric)} numeric and "
            f"{len(categorical)} categorical ones; name all values of a row in data.numeric, or set data.shape=null"
        )


def _refuse_dates(names: list[str]) -> None:
    if names:
        raise DataError(
            f"features must be numbers or text, but {listed(names)} holds dates; name it in data.time to split by it "
            "(there dates are written as 2024-03-31), turn it into numbers (year, month, …), or name the features in "
            "data.numeric and data.categorical"
        )


def _remark(column: pd.Series) -> str:
    """What to say of a feature that `names_rows`."""
    known = column.dropna()
    if types.is_numeric_dtype(column.dtype):
        return (
            f"column {column.name!r} seems to number the rows, {known.min()} to {known.max()} without repeats, but is "
            "used as a feature; to leave it out, name the other numeric columns in data.numeric"
        )
    return (
        f"column {column.name!r} seems to name the rows, {known.nunique()} of {len(known)} values differ, but is used "
        "as a feature; to leave it out, name the other text columns in data.categorical ([] if there are none)"
    )
