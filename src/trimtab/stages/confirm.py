"""One recipe on fresh seeds, in a worker process; what an earlier, killed call finished is found on disk."""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimtab.data.folds import Fold
from trimtab.data.prepared import load_prepared
from trimtab.errors import Diverged
from trimtab.population.members import Member
from trimtab.population.train import train_each
from trimtab.stages.train import complete
from trimtab.tracking.runs import Parent, RunWriter, Settings, opened_run
from trimtab.trial.result import RESULT, WEIGHTS
from trimtab.trial.train import Device, Recipe, TrialResult, load_result, save_result, train


@dataclass(frozen=True)
class Training:
    """One entrant on one seed, and one fold if there are folds, as it travels to a worker."""

    entrant: str
    recipe: Recipe
    device: Device
    prepared: Path
    folder: Path
    seed: int
    fold: Fold | None
    tracking: Settings
    data: str
    name: str
    key: dict[str, str]
    tags: dict[str, str]
    params: dict[str, Any]
    parent: Parent | None
    together: bool


@dataclass(frozen=True)
class Confirmed:
    """What one training found; NaN and 0 where it diverged."""

    value: float
    best_epoch: int


def confirm(trainings: Sequence[Training]) -> list[Confirmed]:
    """One entrant on its seeds and folds, together where the study's trials were; runs in a worker."""
    if all((t.folder / RESULT).exists() for t in trainings):
        return [_saved(t) for t in trainings]
    with ExitStack() as opened:
        runs = [
            opened.enter_context(
                opened_run(t.tracking, t.data, t.name, t.key, tags=t.tags, params=t.params, parent=t.parent)
            )
            for t in trainings
        ]
        confirmed: dict[int, Confirmed] = {}
        for place, found in _trained(trainings, runs):
            confirmed[place] = _kept(trainings[place], runs[place], found)
    return [confirmed[place] for place in range(len(trainings))]


def _trained(trainings: Sequence[Training], runs: Sequence[RunWriter]) -> Iterator[tuple[int, TrialResult | Exception]]:
    data = {fold: load_prepared(trainings[0].prepared, fold) for fold in {t.fold for t in trainings}}
    if trainings[0].together:
        members = [Member(place, t.recipe, t.seed, runs[place].epoch) for place, t in enumerate(trainings)]
        rows = [data[t.fold] for t in trainings]
        yield from train_each([*zip(members, rows, strict=True)], trainings[0].device)
        return
    for place, t in enumerate(trainings):
        own = data[t.fold]
        try:
            yield place, train(t.recipe, own.train, own.val, own.problem, t.seed, t.device, runs[place].epoch)
        except Diverged as e:
            yield place, e


def _kept(training: Training, run: RunWriter, found: TrialResult | Exception) -> Confirmed:
    if isinstance(found, Diverged):
        run.write(tags={"state": "failed", "reason": str(found)})
        return Confirmed(math.nan, 0)
    if isinstance(found, Exception):
        raise found
    complete(run, found)
    save_result(training.folder, found)
    (training.folder / WEIGHTS).unlink(missing_ok=True)  # evaluate trains the champion on more rows
    return Confirmed(found.value, found.best_epoch)


def _saved(training: Training) -> Confirmed:
    saved = load_result(training.folder)
    return Confirmed(saved.value, saved.best_epoch)
