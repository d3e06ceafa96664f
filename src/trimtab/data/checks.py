"""What a table must fulfil before it is split. Everything here sees the whole table, as its owner does."""

from dataclasses import replace
from typing import Literal

import pandas as pd
from pandas.api import types

from trimtab.data.columns import as_numbers, listed, place
from trimtab.data.table import Dropped, Table
from trimtab.errors import DataError

PARTS = 3
FEWEST_ROWS = 10

Missing = Literal["impute", "refuse"]


def check(table: Table, *, missing: Missing) -> Table:
    """Returns the table without the features that say nothing.

    Raises:
        DataError: rows, target, features or the column to split by do not allow a fair experiment.
    """
    if len(table.frame) < FEWEST_ROWS:
        raise DataError(
            f"a table must have at least {FEWEST_ROWS} rows, but this one has {len(table.frame)}; collect more"
        )
    _check_target(table)
    _check_groups(table)
    if table.shape is None:  # a pixel that is always dark keeps its place among its neighbours
        table = _without_empty_features(table)
    for name in table.numeric:
        as_numbers(table.frame[name], "feature")
    if missing == "refuse":
        refuse_missing(table.frame[list(table.features)])
    return table


def refuse_missing(features: pd.DataFrame) -> None:
    """Holds the columns to be complete.

    Raises:
        DataError: names the columns and how many values each lacks.
    """
    counts = features.isna().sum()
    if gaps := {str(name): int(count) for name, count in counts.items() if count}:
        named = ", ".join(f"{name!r} ({count})" for name, count in gaps.items())
        raise DataError(
            f"data.missing=refuse forbids missing values, but there are some in {named}; "
            "fill them in or set data.missing=impute"
        )


def _check_target(table: Table) -> None:
    target, name = table.frame[table.target], table.target
    if (gaps := target.isna()).any():
        raise DataError(
            f"the target must be known in every row, but {name!r} is missing (empty, NA or NaN) in "
            f"{int(gaps.sum())} of {len(gaps)} rows, first on {place(target, gaps)}; fill it in or remove those rows"
        )
    if types.is_float_dtype(target.dtype):
        as_numbers(target, "the target")
    counts = target.value_counts()
    if len(counts) == 1:
        raise DataError(
            f"the target must vary, but {name!r} is {counts.index.tolist()[0]!r} in every row; name another column"
        )
    if table.task == "classification" and counts.iloc[-1] < PARTS:
        rare = [
            f"{label!r} ({count})" for label, count in zip(counts.index.tolist(), counts, strict=True) if count < PARTS
        ]
        raise DataError(
            f"each class needs at least {PARTS} rows, one for each part, but data.target {name!r} has fewer of "
            f"{', '.join(rare[:10])}; merge or remove rare classes, or set data.task=regression for a quantity"
        )


def _check_groups(table: Table) -> None:
    if table.held_out is not None and (name := table.group or table.time) is not None:
        raise DataError(
            f"the test rows of these data are given, but {name!r} is named to split by; set data.group and data.time "
            "to null"
        )
    if table.group is not None and table.time is not None:
        raise DataError(
            f"rows are split by group or by time, but data.group is {table.group!r} and data.time is "
            f"{table.time!r}; set one of them to null"
        )
    if table.group is not None:
        if (gaps := table.frame[table.group].isna()).any():
            raise DataError(
                f"the group must be known in every row, but {table.group!r} is missing on "
                f"{place(table.frame[table.group], gaps)}; fill it in"
            )
        _check_distinct(table, table.group, "group", "groups")
    if table.time is not None:
        _check_distinct(table, table.time, "time", "points in time")


def _check_distinct(table: Table, name: str, setting: str, what: str) -> None:
    if (distinct := table.frame[name].nunique()) < PARTS:
        raise DataError(
            f"splitting needs at least {PARTS} {what}, one for each part, but data.{setting} {name!r} has "
            f"{distinct}; name another column, or set data.{setting}=null"
        )


def _without_empty_features(table: Table) -> Table:
    known = table.frame[list(table.features)].nunique(dropna=False)
    empty = tuple(n for n in table.features if table.frame[n].isna().all())
    constant = tuple(n for n in table.features if known[n] == 1 and n not in empty)
    gone = {*empty, *constant}
    numeric = tuple(n for n in table.numeric if n not in gone)
    categorical = tuple(n for n in table.categorical if n not in gone)
    if not numeric + categorical:
        why = f"; empty: {listed(empty)}; constant: {listed(constant)}" if gone else ""
        raise DataError(
            f"a table must have features beside the target {table.target!r}, but there is none{why}; "
            "add columns, or look whether the separator was understood"
        )
    dropped = table.dropped
    dropped += (Dropped(0, "no value in any row", empty),) if empty else ()
    dropped += (Dropped(0, "the same value in every row", constant),) if constant else ()
    return replace(table, numeric=numeric, categorical=categorical, dropped=dropped)
