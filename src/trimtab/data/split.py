"""Which row goes where: by class, by group or by time; and no row in two parts."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
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

# Whose rows stay if their features stand in two parts. A test part that is given stays as it was given.
CHOSEN = (TRAIN, TEST, VAL)
GIVEN = (TEST, TRAIN, VAL)


@dataclass(frozen=True)
class Parts:
    """Features and target of the rows of each part, in the order of the source.

    Attributes:
        groups: number of each row's group, in the order train, val, test, where the source names a group column: rows
            of one group are not independent, and folds and intervals must know.
    """

    train: pd.DataFrame
    val: pd.DataFrame
    test: pd.DataFrame
    groups: tuple[Ints, Ints, Ints] | None = None
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
    frame = table.frame
    part = _parts(table, fractions, np.random.default_rng(seed))
    ids = alike(frame, table.features)
    precedence = CHOSEN if table.held_out is None else GIVEN
    leaks = np.zeros(len(frame), bool) if duplicates == "keep" else leaking(ids, part, precedence)
    columns = [*table.features, table.target]
    kept = [~leaks & (part == p) for p in (TRAIN, VAL, TEST)]
    train, val, test = (frame.loc[rows, columns] for rows in kept)
    parts = Parts(train, val, test, _groups(table, kept), _dropped(leaks, ids, part, precedence))
    _check_parts(parts, table)
    return parts


def _parts(table: Table, fractions: Fractions, rng: np.random.Generator) -> Ints:
    frame = table.frame
    if table.time is not None:
        return by_time(frame[table.time], fractions)
    if table.group is not None:
        return by_group(frame[table.group], fractions, rng)
    classes = frame[table.target] if table.task == "classification" else pd.Series(0, frame.index)
    if table.held_out is None:
        return by_class(numbered(classes), fractions, rng)
    held_out = frame[table.held_out].to_numpy(bool)
    part = np.full(len(frame), TEST)
    known = fractions[TRAIN] + fractions[VAL]
    shares = (fractions[TRAIN] / known, fractions[VAL] / known)
    part[~held_out] = by_class(numbered(classes[~held_out]), shares, rng)  # blind to the labels of the test rows
    return part


def by_class(classes: Ints, fractions: Sequence[float], rng: np.random.Generator) -> Ints:
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


def by_group(groups: pd.Series, fractions: Sequence[float], rng: np.random.Generator) -> Ints:
    """A part per row; whole groups, in random order, to the part that lacks most rows."""
    codes = numbered(groups)
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
    codes = numbered(times)
    rows_until = np.cumsum(np.bincount(codes))
    first = _nearest(rows_until[:-2], len(codes) * fractions[TRAIN])
    second = _nearest(rows_until[first + 1 : -1], len(codes) * (fractions[TRAIN] + fractions[VAL]))
    return np.searchsorted([first, first + 1 + second], codes, side="left").astype(np.int64)


def alike(rows: pd.DataFrame, features: Sequence[str]) -> Ints:
    """(rows,) numbers that are equal where all features are."""
    return rows.groupby(list(features), dropna=False, sort=False).ngroup().to_numpy().astype(np.int64)


def leaking(ids: Ints, part: Ints, precedence: Sequence[int] = CHOSEN) -> Mask:
    """Rows whose features, numbered by `ids`, also stand in a part with precedence. Labels play no role."""
    leaks = np.zeros(len(ids), bool)
    for i, p in enumerate(precedence):
        leaks |= (part == p) & np.isin(ids, ids[np.isin(part, precedence[:i])])
    return leaks


def _groups(table: Table, kept: Sequence[Mask]) -> tuple[Ints, Ints, Ints] | None:
    if table.group is None:
        return None
    train, val, test = (numbered(table.frame[table.group])[rows] for rows in kept)
    return train, val, test


def numbered(values: pd.Series) -> Ints:
    """Numbers distinct values in their order, so that labels of any type split alike."""
    return pd.factorize(values, sort=True)[0].astype(np.int64)


def _nearest(rows_until: Ints, wanted: float) -> int:
    return int(np.argmin(np.abs(rows_until - wanted)))


def _dropped(leaks: Mask, ids: Ints, part: Ints, precedence: Sequence[int]) -> tuple[Dropped, ...]:
    """One entry per pair of parts; a row counts for the first part that has its features."""
    found = []
    for other, name in combinations(precedence, 2):
        both = leaks & (part == name) & np.isin(ids, ids[part == other])
        leaks = leaks & ~both
        reason = f"leakage from {NAMES[other]} into {NAMES[name]}, the same features stand in both"
        found.append(Dropped(int(both.sum()), reason))
    return tuple(d for d in found if d.rows)


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
            by = table.time or table.group or table.held_out
            raise DataError(
                f"each class must occur in training, but split by {by!r} class {listed(unseen)} does not; "
                "name another column to split by, another data.split_seed, or remove those rows"
            )
