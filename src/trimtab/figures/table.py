"""A finished study as the figures see it: what the sweep wrote into results/sweep."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from trimtab.errors import SweepError
from trimtab.paths import read_json
from trimtab.selection.choose import Direction, best_trials, completed

Value = bool | int | float | str | None


@dataclass(frozen=True)
class Knob:
    """One dimension of a search space.

    Attributes:
        kind: "float", "int" or "choice".
        when: values of other knobs that bring this one into play; empty: always there.
    """

    name: str
    kind: str
    log: bool = False
    low: float = math.nan
    high: float = math.nan
    choices: tuple[Value, ...] = ()
    role: str = ""
    when: tuple[tuple[str, Value], ...] = ()

    @classmethod
    def read(cls, name: str, entry: Mapping[str, Any]) -> "Knob":
        """One entry of study.json's `knobs`; what it leaves out is null."""
        given = {k: v for k, v in entry.items() if v is not None}
        return cls(
            name,
            str(given["kind"]),
            bool(given.get("log", False)),
            float(given.get("low", math.nan)),
            float(given.get("high", math.nan)),
            tuple(given.get("choices", ())),
            str(given.get("role", "")),
            tuple(sorted(given.get("when", {}).items())),
        )

    @property
    def column(self) -> str:
        """Its column in the table of trials."""
        return f"params.{self.name}"

    @property
    def condition(self) -> str:
        """When it is in play, in words; empty if always."""
        return " and ".join(f"{name} = {value}" for name, value in self.when)

    def holds(self, value: Value) -> bool:
        """Whether a value lies in the space."""
        if self.kind == "choice":
            return value in self.choices
        return isinstance(value, int | float) and self.low <= value <= self.high

    def parse(self, cell: str) -> Value:
        """A cell of trials.csv; None where it is empty or, for a choice, none of the choices.

        A whole number may have become 32.0 on its way through a table.
        """
        if not cell:
            return None
        if self.kind == "choice":
            return next((c for c in self.choices if _same(cell, c)), None)
        return float(cell)


@dataclass(frozen=True)
class Study:
    """A study and its trials.

    Attributes:
        trials: trials.csv, sorted by number: number, state, value (NaN without one), epochs, seed, and a
            column `params.<knob>` per knob: floats (NaN where absent), or choices (None where absent).
        baseline: number of the trial without overrides.
        folds: what a value is the mean of; 1 is one part of the rows.
    """

    name: str
    data: str
    model: str
    metric: str
    direction: Direction
    sampler: str
    seed: int
    baseline: int
    counts: dict[str, int]
    failures: dict[str, int]
    knobs: tuple[Knob, ...]
    trials: pd.DataFrame
    folds: int = 1

    @classmethod
    def read(cls, folder: Path) -> "Study":
        """Reads study.json and trials.csv.

        Raises:
            TrimtabError: one of them is not there or damaged.
        """
        entry = read_json(folder / "study.json")
        knobs = tuple(Knob.read(name, knob) for name, knob in entry["knobs"].items())
        return cls(
            name=entry["name"],
            data=entry["data"],
            model=entry["model"],
            metric=entry["metric"],
            direction=entry["direction"],
            sampler=entry["sampler"],
            seed=entry["seed"],
            baseline=(entry.get("baseline") or {}).get("number", 0),
            counts=entry["counts"],
            failures=entry["failures"],
            knobs=knobs,
            trials=read_trials(folder / "trials.csv", knobs),
            folds=entry.get("folds", 1),
        )

    @property
    def completed(self) -> pd.DataFrame:
        """The trials with a finite value."""
        return completed(self.trials)

    def best(self, count: int) -> list[int]:
        """Numbers of the best trials, best first."""
        return best_trials(self.trials, count, self.direction)

    @property
    def values(self) -> dict[int, float]:
        """Objective by number, completed trials only."""
        return {int(n): float(v) for n, v in self.completed[["number", "value"]].to_numpy()}

    def row(self, number: int) -> dict[str, Value]:
        """Knob values of one trial that are in play."""
        row = self.trials[self.trials["number"] == number].iloc[0]
        types = {"int": int, "float": float}
        return {
            knob.name: types[knob.kind](row[knob.column]) if knob.kind in types else row[knob.column]
            for knob in self.knobs
            if not pd.isna(row[knob.column])
        }


def read_trials(path: Path, knobs: tuple[Knob, ...]) -> pd.DataFrame:
    """Reads trials.csv with each knob's own types.

    Raises:
        SweepError: the file is not there.
    """
    try:
        cells = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (FileNotFoundError, pd.errors.EmptyDataError) as e:
        raise SweepError(f"{path} is not there; run `make sweep` (or `dvc repro`) first") from e
    blank = pd.Series("", index=cells.index)
    columns: dict[str, pd.Series] = {
        "number": pd.to_numeric(cells["number"]).astype(int),
        "state": cells["state"],
        **{c: pd.to_numeric(cells.get(c, blank)).astype(float) for c in ("value", "epochs", "seed")},
    }
    for knob in knobs:
        parsed = [knob.parse(cell) for cell in _cells(cells, knob, blank)]
        kind = object if knob.kind == "choice" else float
        columns[knob.column] = pd.Series(parsed, index=cells.index, dtype=kind)
    return pd.DataFrame(columns).sort_values("number", ignore_index=True)


def _cells(cells: pd.DataFrame, knob: Knob, blank: pd.Series) -> pd.Series:
    """A knob's column. One with several ranges (`lr if opt=sgd`) shares it; here it has the rows of its own range."""
    key, _, case = knob.name.partition(" if ")
    column = cells.get(f"params.{key}", blank)
    for name, allowed in knob.when if case else ():
        wanted = allowed if isinstance(allowed, list) else [allowed]
        held = [any(_same(cell, choice) for choice in wanted) for cell in cells.get(f"params.{name}", blank)]
        column = column.where(pd.Series(held, index=cells.index), "")
    return column


def _same(cell: str, choice: Value) -> bool:
    if isinstance(choice, bool) or choice is None:
        return cell.casefold() == str(choice).casefold()
    if isinstance(choice, int | float):
        try:
            return float(cell) == float(choice)
        except ValueError:
            return False
    return cell == str(choice)
