"""The names of what trials can be compared by. Light: the configuration needs them before torch is imported."""

import difflib
from dataclasses import dataclass
from typing import Literal

from trimtab.errors import ConfigError

Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True)
class Objective:
    """Which way is better, and for which tasks it is defined."""

    direction: Direction
    tasks: tuple[str, ...]


OBJECTIVES = {
    "val/loss": Objective("minimize", ("classification", "regression")),
    "val/accuracy": Objective("maximize", ("classification",)),
    "val/balanced_accuracy": Objective("maximize", ("classification",)),
    "val/f1": Objective("maximize", ("classification",)),
    "val/auroc": Objective("maximize", ("classification",)),
    "val/r2": Objective("maximize", ("regression",)),
    "val/mae": Objective("minimize", ("regression",)),
}


def objective(metric: str, task: str | None = None) -> Objective:
    """What is known of a metric.

    Raises:
        ConfigError: the metric is unknown, or not defined for the task.
    """
    if metric not in OBJECTIVES:
        close = difflib.get_close_matches(metric, OBJECTIVES, n=1, cutoff=0.0)[0]
        raise ConfigError(
            f"objective.metric={metric} is unknown; did you mean '{close}'? There are: {', '.join(OBJECTIVES)}"
        )
    found = OBJECTIVES[metric]
    if task is not None and task not in found.tasks:
        fitting = ", ".join(name for name, o in OBJECTIVES.items() if task in o.tasks)
        raise ConfigError(f"objective.metric={metric} is not defined for {task}; take one of {fitting}")
    return found


def direction(metric: str) -> Direction:
    """Whether less or more of a metric is better."""
    return objective(metric).direction
