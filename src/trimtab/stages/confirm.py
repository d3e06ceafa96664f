"""One recipe on one fresh seed, in a worker process; what an earlier, killed call finished is found on disk."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimtab.data.prepared import load_prepared
from trimtab.errors import Diverged
from trimtab.stages.train import summary
from trimtab.tracking.runs import Parent, Settings, opened_run
from trimtab.trial.train import Device, Recipe, load_result, save_result, train


@dataclass(frozen=True)
class Training:
    """One entrant on one seed, as it travels to a worker."""

    entrant: str
    recipe: Recipe
    device: Device
    prepared: Path
    folder: Path
    seed: int
    tracking: Settings
    data: str
    name: str
    key: dict[str, str]
    tags: dict[str, str]
    params: dict[str, Any]
    parent: Parent | None


@dataclass(frozen=True)
class Confirmed:
    """What one training found; NaN and 0 where it diverged."""

    value: float
    best_epoch: int


def confirm(training: Training) -> Confirmed:
    """One entrant on one seed; runs in a worker."""
    t = training
    if not (t.folder / "result.json").exists():
        data = load_prepared(t.prepared)
        with opened_run(t.tracking, t.data, t.name, t.key, tags=t.tags, params=t.params, parent=t.parent) as run:
            try:
                result = train(t.recipe, data.train, data.val, data.problem, t.seed, t.device, run.epoch)
            except Diverged as e:
                run.write(tags={"state": "failed", "reason": str(e)})
                return Confirmed(math.nan, 0)
            run.write(summary(result), tags={"state": "complete"})
        save_result(t.folder, result)
        (t.folder / "weights.pt").unlink(missing_ok=True)  # evaluate trains the champion on more rows
    saved = load_result(t.folder)
    return Confirmed(saved.value, saved.best_epoch)
