"""Sweeps of trimtab by its real door, in a throwaway project, as the comparisons read them."""

import json
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.projects import python
from trimtab.sweep.store.study import open_study

ENGINES = Path("conf") / "engine"


@dataclass(frozen=True)
class Swept:
    """What a sweep did.

    Attributes:
        begun: when its command was typed, in seconds since 1970.
        seconds: until the command ended.
        ended: (end of the trial in seconds since 1970, value) by number; NaN where it failed.
        facts: `population.json` of the study, if it has one.
        knobs: what was searched, as study.json has it.
        params: of each trial, as Optuna has them.
        engine: what `engine=auto` came to and why, as the sweep says it; empty where the engine was named.
    """

    begun: float
    seconds: float
    ended: tuple[tuple[float, float], ...]
    facts: dict[str, float]
    knobs: dict[str, dict[str, Any]]
    params: tuple[dict[str, Any], ...]
    engine: str


def sweep(root: Path, overrides: Sequence[str], anew: bool = True) -> Swept:
    """Runs `python -m trimtab.stages.sweep` in a project whose data are prepared.

    Args:
        root: the project.
        overrides: what is typed.
        anew: without earlier studies and MLflow database; else the study is continued.
    """
    runs = root / "runs"
    if anew:
        shutil.rmtree(runs, ignore_errors=True)
    begun = time.time()
    said = python(root, "trimtab.stages.sweep", *overrides)
    seconds = time.time() - begun
    (folder,) = (table.parent for table in runs.glob("*/trials.csv"))
    trials = open_study(folder).trials
    done = [(t.datetime_complete, t.value) for t in trials]
    ended = [(at.timestamp(), math.nan if value is None else value) for at, value in done if at is not None]
    facts = folder / "population.json"
    return Swept(
        begun,
        seconds,
        tuple(ended),
        json.loads(facts.read_text()) if facts.exists() else {},
        json.loads((root / "results" / "sweep" / "study.json").read_text())["knobs"],
        tuple(t.params for t in trials),
        next((line for line in said.splitlines() if line.startswith("engine ")), ""),
    )


def lacks(root: Path, engine: str) -> bool:
    """Whether conf/engine of the checkout has no such option."""
    return not (root / ENGINES / f"{engine}.yaml").exists()
