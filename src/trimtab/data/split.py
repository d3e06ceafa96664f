"""Which row goes where: by class, by group or by time; and no row in two parts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trimtab.data.columns import listed
from trimtab.data.table import Dropped, Table
from trimtab.errors import DataError

TRAIN, VAL, TEST = 0, 1, 2
NAMES = ("train", "val", "test")

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Duplicates = Literal["drop", "keep"]
Fractions = tuple[float, float, float]


@dataclass(frozen=True)
class Parts:
    """Features and target of the rows of each part, in the order of the source.

    Attributes:
        test_groups: number of each test row's group, where the source names a group column: rows of one group
            are not independent, and intervals must know.
    """

    train: pd.DataFrame
    val: pd.DataFrame
    test: pd.DataFrame
    test_groups: Ints | None = None
    dropped: tuple[Dropped, ...] = ()


def check_fractions(fractions: Fractions) -> None:
    """Holds the three fractions to be positive and to make a whole.

    Raises:
        DataError: they are not.
    """
    if min(fractions) <= 0 or not abs(sum(fractions) - 1) < 1e-6:
        given = ", ".join(f"{name}={f:g}" for name, f in zip(NAMES, fractions, strict=True))
        raise DataError(
            f"the fractions of the split must be positive and sum to 1, but are {given}; "
            "set data.split.train, .val and .test, e.g. to 0.6, 0.2 and 0.2"
        )


def split(table: Table, fractions: Fractions, seed: int, duplicates: Duplicates = "drop") -> Parts:
    """Splits a checked table, then takes rows that stand in two parts out of the later ones (or keeps them).

    Raises:
        DataError: a part is left empty, or a class does not occur in training.
    """
    check_fractions(fractions)
    rng = np.random.default_rng(seed)
    frame = table.frame
    if table.time is not None:
        part = by_time(frame[table.time], fractions)
    elif table.group is not None:
        part = by_group(frame[table.group], fractions, rng)
    else:
        classes = frame[table.target] if table.task == "classification" else None
        part = by_class(_codes(classes) if classes is not None else np.zeros(len(frame), int), fractions, rng)
    ids: Ints = frame.groupby(list(table.features), dropna=False, sort=False).ngroup().to_numpy().astype(np.int64)
    leaks = {VAL: leaking(ids, part, VAL), TEST: leaking(ids, part, TEST)}
    if duplicates == "keep":
        leaks = {p: np.zeros(len(frame), bool) for p in leaks}
    kept = ~(leaks[VAL] | leaks[TEST])
    columns = [*table.features, table.target]
    train, val, test = (frame.loc[kept & (part == p), columns] for p in (TRAIN, VAL, TEST))
    groups = None if table.group is None else _codes(frame[table.group])[kept & (part == TEST)]
    parts = Parts(train, val, test, groups, _dropped(leaks, ids, part))
    _check_parts(parts, table)
    return parts


def by_class(classes: Ints, fractions: Fractions, rng: np.random.Generator) -> Ints:
    """A part per row; each class has less than one row more or less than its share, and one row at least.

    scikit-learn's stratified splits leave rare classes out of small parts. What rounding takes from
    a part in one class is given back to it in the next, so that the whole keeps the fractions too.
    """
    part = np.empty(len(classes), np.int64)
    debt = np.zeros(len(fractions))
    by_label = np.split(np.argsort(classes, kind="stable"), np.cumsum(np.bincount(classes))[:-1])
    for rows in map(rng.permutation, by_label):
        share = len(rows) * np.array(fractions)
        given = np.floor(share + 1e-9).astype(int)
        debt += share - given
        for p in np.argsort(-debt, kind="stable")[: len(rows) - given.sum()]:
            given[p] += 1
            debt[p] -= 1
        for p in np.flatnonzero(given == 0):
            given[p] += 1
            given[np.argmax(given)] -= 1
        part[rows] = np.repeat(np.arange(len(fractions)), given)
    return part


def by_group(groups: pd.Series, fractions: Fractions, rng: np.random.Generator) -> Ints:
    """A part per row; whole groups, in random order, to the part that lacks most rows."""
    codes = _codes(groups)
    sizes = np.bincount(codes)
    lacking = len(codes) * np.array(fractions)
    empty = set(range(len(fractions)))
    part_of = np.empty(len(sizes), np.int64)
    for left, group in zip(range(len(sizes), 0, -1), rng.permutation(len(sizes)), strict=True):
        among = sorted(empty) if left <= len(empty) else range(len(fractions))
        p = max(among, key=lambda candidate: lacking[candidate])
        part_of[group] = p
        lacking[p] -= sizes[group]
        empty.discard(p)
    return part_of[codes]


def by_time(times: pd.Series, fractions: Fractions) -> Ints:
    """A part per row, oldest first; rows of the same time stay together."""
    codes = _codes(times)
    rows_until = np.cumsum(np.bincount(codes))
    first = _nearest(rows_until[:-2], len(codes) * fractions[TRAIN])
    second = _nearest(rows_until[first + 1 : -1], len(codes) * (fractions[TRAIN] + fractions[VAL]))
    return np.searchsorted([first, first + 1 + second], codes, side="left").astype(np.int64)


def leaking(ids: Ints, part: Ints, of: int) -> Mask:
    """Rows of one part whose features, numbered by `ids`, also stand in a part with precedence.

    Training rows have it over all, test rows over validation rows. Labels play no role.
    """
    over = part == TRAIN if of == TEST else part != VAL
    leaks: Mask = np.isin(ids, ids[over]) & (part == of)
    return leaks


def _codes(values: pd.Series) -> Ints:
    """Numbers distinct values in their order, so that labels of any type split alike."""
    return pd.factorize(values, sort=True)[0].astype(np.int64)


def _nearest(rows_until: Ints, wanted: float) -> int:
    return int(np.argmin(np.abs(rows_until - wanted)))


def _dropped(leaks: dict[int, Mask], ids: Ints, part: Ints) -> tuple[Dropped, ...]:
    in_train = np.isin(ids, ids[part == TRAIN])
    counts = (
        ("val", "train", int((leaks[VAL] & in_train).sum())),
        ("test", "train", int(leaks[TEST].sum())),
        ("val", "test", int((leaks[VAL] & ~in_train).sum())),
    )
    return tuple(
        Dropped(rows, f"leakage from {other} into {name}, the same features stand in both")
        for name, other, rows in counts
        if rows
    )


def _check_parts(parts: Parts, table: Table) -> None:
    frames: Sequence[pd.DataFrame] = (parts.train, parts.val, parts.test)
    for name, rows in zip(NAMES, frames, strict=True):
        if rows.empty:
            why = "; ".join(str(d) for d in parts.dropped) or "the table is too small"
            remedy = f"collect more rows, or raise data.split.{name}"
            if parts.dropped:
                remedy = "data.duplicates=keep keeps rows that are equal by nature (few columns of few values)"
            raise DataError(f"each part must have rows, but {name} has none ({why}); {remedy}")
    if table.task == "classification":
        seen = set(parts.train[table.target])
        later = {label for rows in frames[1:] for label in rows[table.target]}
        if unseen := sorted(later - seen):
            by = table.time or table.group
            raise DataError(
                f"each class must occur in training, but split by {by!r} class {listed(unseen)} does not; "
                "name another column to split by, another data.split_seed, or remove those rows"
            )
