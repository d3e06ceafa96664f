"""Folds of a cross-validation: which row validates in which. The sealed test set has no part in them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from trimtab.data.arrays import Task
from trimtab.data.columns import listed
from trimtab.data.split import Duplicates, Ints, alike, by_class, by_group, leaking, numbered
from trimtab.errors import ConfigError, DataError

FEWEST = 2
"""Rows to validate on, as of any trial."""


@dataclass(frozen=True)
class Fold:
    """One fold of several, counted from 0."""

    number: int
    of: int

    def __post_init__(self) -> None:
        if not 0 <= self.number < self.of:
            raise ConfigError(
                f"validation.fold must be one of 0 to {self.of - 1}, since validation.folds is {self.of}, but is "
                f"{self.number}; choose one of them, or null for all"
            )


@dataclass(frozen=True, eq=False)
class Known:
    """All rows outside of the sealed test set, and what decides how they are shared out.

    Attributes:
        rows: features, target and, where the source names one, the group's number.
        duplicates: whether a row whose features a fold learns from may be validated on in it.
        seed: of the split.
    """

    rows: pd.DataFrame
    features: tuple[str, ...]
    target: str
    task: Task
    group: str | None
    time: str | None
    duplicates: Duplicates
    seed: int

    @cached_property
    def ids(self) -> Ints:
        """See `alike`."""
        return alike(self.rows, self.features)

    def numbers(self, folds: int) -> Ints:
        """(rows,) the fold of each row: each class, or else all rows, in equal shares; groups stay whole.

        Raises:
            DataError: the rows cannot be shared out among so many.
        """
        self._check(folds)
        shares, rng = [1 / folds] * folds, np.random.default_rng(self.seed)
        if self.group is not None:
            return by_group(self.rows[self.group], shares, rng)
        classes = self.rows[self.target] if self.task == "classification" else pd.Series(0, self.rows.index)
        return by_class(numbered(classes), shares, rng)

    def parts(self, fold: Fold) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Rows to learn from and rows to validate on.

        Rows of the fold whose features are learnt from are in neither, unless duplicates are kept: as in the split.

        Raises:
            DataError: the rows cannot be shared out, or this fold lacks rows or a class.
        """
        validates = self.numbers(fold.of) == fold.number
        leaks = (
            np.zeros(len(validates), bool) if self.duplicates == "keep" else leaking(self.ids, validates.astype(int))
        )
        train, val = self.rows[~validates], self.rows[validates & ~leaks]
        self._check_parts(fold, train, val, int(leaks.sum()))
        return train, val

    def _check(self, folds: int) -> None:
        if self.time is not None:
            raise DataError(
                f"folds mix old rows and new, but data.time {self.time!r} keeps newer rows for later parts, and a fold "
                f"would learn from the future of the rows that it is validated on; set validation.folds=1 (it is "
                f"{folds}), or data.time=null where the order of rows means nothing"
            )
        if self.group is not None:
            self._check_enough(folds, self.rows[self.group].nunique(), f"values of data.group {self.group!r}")
        elif self.task == "classification":
            counts = self.rows[self.target].value_counts()
            self._check_enough(folds, int(counts.iloc[-1]), f"rows of its rarest class, {counts.index.tolist()[-1]!r}")
        self._check_enough(folds, len(self.rows) // FEWEST, "pairs of rows")

    def _check_enough(self, folds: int, there: int, what: str) -> None:
        if folds > there:
            raise DataError(
                f"each fold needs its share to validate on, but validation.folds is {folds} and outside of the sealed "
                f"test set there are {there} {what}; set validation.folds={max(there, 1)} or less, or collect more"
            )

    def _check_parts(self, fold: Fold, train: pd.DataFrame, val: pd.DataFrame, leaks: int) -> None:
        if len(val) < FEWEST:
            why = f" ({leaks} are left out, since the same features are learnt from)" if leaks else ""
            remedy = "data.duplicates=keep keeps rows that are equal by nature" if leaks else "lower validation.folds"
            raise DataError(
                f"each fold must have {FEWEST} rows to validate on, but fold {fold.number} of {fold.of} has "
                f"{len(val)}{why}; {remedy}"
            )
        if self.task == "classification" and (unseen := sorted({*val[self.target]} - {*train[self.target]})):
            raise DataError(
                f"each class must occur in training, but outside of fold {fold.number} of {fold.of} (by data.group "
                f"{self.group!r}) class {listed(unseen)} does not; lower validation.folds, or set another "
                "data.split_seed"
            )
