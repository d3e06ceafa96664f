"""What the stages left in results/, read into frozen dataclasses."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from trimtab.errors import TrimtabError
from trimtab.figures.forest import RECIPES
from trimtab.figures.style import NAMES
from trimtab.figures.table import Study, Value
from trimtab.paths import read_json
from trimtab.selection.bootstrap import Interval
from trimtab.selection.choose import Candidate

Intervals = dict[str, dict[str, Interval]]


@dataclass(frozen=True)
class Data:
    """Facts about the prepared data.

    Attributes:
        rows: by part.
        counts: rows of train and val by class; empty for regression.
        dropped: (rows, reason).
        imputed: filled cells by column.
    """

    name: str
    data_hash: str
    task: str
    target: str
    features: int
    classes: tuple[str, ...]
    rows: dict[str, int]
    counts: dict[str, dict[str, int]]
    dropped: tuple[tuple[int, str], ...]
    imputed: dict[str, int]


@dataclass(frozen=True)
class Recipe:
    """A configuration that was confirmed over seeds.

    Attributes:
        overrides: knob → value as typed on a command line.
        epochs: how long its refit trains; None if it failed on every seed.
        config: the resolved configuration.
    """

    candidate: Candidate
    overrides: dict[str, str]
    epochs: int | None
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Selection:
    """What select decided."""

    id: str
    champion: Recipe
    recipes: tuple[Recipe, ...]
    seeds: tuple[int, ...]

    def named(self, name: str) -> Recipe | None:
        """The recipe of this name, if it was confirmed."""
        return next((r for r in self.recipes if r.candidate.name == name), None)


@dataclass(frozen=True)
class Evaluation:
    """What the opened seal showed.

    Attributes:
        look: number of this look at these test data, from 1.
        exploratory: whether an earlier look had another champion.
        resampled: what the bootstrap drew: "rows" or "groups of <column>".
        estimates: "model" or "recipe".
        differences: champion − recipe.
        predictions: target and `<recipe>/prediction`, a row per test row.
    """

    look: int
    exploratory: bool
    rows: int
    resampled: str
    estimates: str
    scores: Intervals
    differences: Intervals
    predictions: pd.DataFrame

    @property
    def label(self) -> str:
        """What must stand wherever the score stands; empty for the first look."""
        return f"Exploratory: look number {self.look} at this test set" if self.exploratory else ""


@dataclass(frozen=True)
class Results:
    """Everything the page is made of.

    Attributes:
        untested: why there is no evaluation; empty if there is one.
    """

    data: Data
    study: Study
    curves: pd.DataFrame
    selection: Selection
    evaluation: Evaluation | None
    untested: str


def read_results(folder: Path) -> Results:
    """Reads the results of prepare, sweep, select and, if the seal was opened, evaluate.

    Raises:
        TrimtabError: a stage before evaluate has not run, or a file is damaged.
    """
    evaluation, untested = _evaluation(folder / "evaluate")
    return Results(
        data=_data(read_json(folder / "prepare" / "manifest.json")),
        study=Study.read(folder / "sweep"),
        curves=_parquet(folder / "sweep" / "curves.parquet"),
        selection=_selection(read_json(folder / "select" / "champion.json")),
        evaluation=evaluation,
        untested=untested,
    )


def _data(manifest: Mapping[str, Any]) -> Data:
    counts = manifest.get("class_counts") or {}
    return Data(
        name=manifest["name"],
        data_hash=manifest["data_hash"],
        task=manifest["task"],
        target=manifest["target"],
        features=_count(manifest["features"]),
        classes=tuple(str(c) for c in manifest.get("classes") or ()),
        rows=dict(manifest["rows"]),
        counts={part: dict(by_class) for part, by_class in counts.items() if by_class},
        dropped=tuple((entry["rows"], entry["reason"]) for entry in manifest["dropped"]),
        imputed=dict(manifest["imputed"]),
    )


def _count(features: Any) -> int:
    """The manifest may hold their number or their names."""
    return features if isinstance(features, int) else len(features)


def _selection(entry: Mapping[str, Any]) -> Selection:
    recipes = tuple(_recipe(candidate) for candidate in entry["candidates"])
    (champion,) = (r for r in recipes if r.candidate.name == entry["champion"])
    return Selection(entry["id"], champion, recipes, tuple(entry["seeds"]))


def _recipe(entry: Mapping[str, Any]) -> Recipe:
    values = tuple(math.nan if v is None else float(v) for v in entry["values"])
    overrides = (text.lstrip("+~").partition("=") for text in entry["overrides"])
    return Recipe(
        Candidate(entry["name"], entry["trial"], entry["eligible"], values),
        {key: value for key, _, value in overrides},
        entry["epochs"],
        entry["config"],
    )


def _evaluation(folder: Path) -> tuple[Evaluation | None, str]:
    if not (folder / "metrics.json").exists():
        return None, "The stage evaluate has not run yet."
    entry = read_json(folder / "metrics.json")
    if entry["sealed"]:
        return None, entry.get("note") or "The test set is still sealed."
    look = entry["look"]
    return Evaluation(
        look=look["number"],
        exploratory=look["verdict"] != "first",
        rows=entry["rows"],
        resampled=entry.get("resampled", "rows"),
        estimates=entry["estimates"],
        scores=_intervals(entry["scores"]),
        differences=_intervals(entry["differences"]),
        predictions=_parquet(folder / "predictions.parquet"),
    ), ""


def _intervals(entry: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Intervals:
    return {
        recipe: {metric: Interval(**entry[recipe][metric]) for metric in _ordered(entry[recipe], NAMES)}
        for recipe in _ordered(entry, RECIPES)
    }


def _ordered(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """The names in our order (JSON sorts them by letter), unknown ones last."""
    given, ours = list(names), list(known)
    return [name for name in ours if name in given] + [name for name in given if name not in ours]


def _parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as e:
        raise TrimtabError(
            f"{path} cannot be read ({e}); run `python -m trimtab.stages.{path.parent.name}` again"
        ) from e


def setting(results: Results, recipe: Recipe, knob: str) -> Value:
    """A knob's value in a recipe: as overridden, as the trial had it, or as configured; None: absent."""
    if knob in recipe.overrides:
        return recipe.overrides[knob]
    number = recipe.candidate.trial
    if number is None and recipe.candidate.name == "default":
        number = results.study.baseline
    if number in set(results.study.trials["number"]) and number is not None:
        asked = results.study.row(number)
        if asked:
            return asked.get(knob)
    return _configured(recipe.config, knob, results.study)


def _configured(config: Mapping[str, Any], knob: str, study: Study) -> Value:
    """The leaf at a dotted path; for a chosen group, the choice that its `_target_` is named after."""
    node: Any = config
    for key in knob.split("."):
        node = node.get(key) if isinstance(node, Mapping) else None
    if not isinstance(node, Mapping):
        return node if isinstance(node, bool | int | float | str) else None
    target = str(node.get("_target_", "")).rpartition(".")[2]
    choices = next((k.choices for k in study.knobs if k.name == knob), ())
    return next((c for c in choices if str(c).casefold() == target.casefold()), target or None)
