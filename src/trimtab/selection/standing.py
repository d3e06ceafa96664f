"""How the champion stands against the other recipes: one rule for the line that `evaluate` prints and for the page."""

from collections.abc import Collection, Mapping
from typing import Literal

from trimtab.selection.bootstrap import Interval
from trimtab.selection.choose import Direction

Standing = Literal["better", "worse", "undecided"]
CONSTANT = "constant"
"""The recipe that looks at no feature: the mean of the training rows, or the shares of their classes."""
ALWAYS = "always answering the same"
LOWER_IS_BETTER = frozenset({"loss", "mae"})


def metric_direction(metric: str) -> Direction:
    """Which way a metric of the test is good."""
    return "minimize" if metric in LOWER_IS_BETTER else "maximize"


def headline_metric(objective: str, known: Collection[str]) -> str:
    """The metric that decides: the objective itself, or the readable stand-in for a loss.

    Accuracy stands in for classification, R² for regression.
    """
    name = objective.rpartition("/")[2]
    wished = (*(() if name == "loss" else (name,)), "accuracy", "r2", "loss")
    return next((metric for metric in wished if metric in known), next(iter(known)))


def standing(difference: Interval, metric: str) -> Standing:
    """How the champion stands: decided only if the paired interval excludes 0."""
    if difference.low <= 0 <= difference.high:
        return "undecided"
    good = difference.low > 0
    return "better" if good == (metric_direction(metric) == "maximize") else "worse"


def standings(differences: Mapping[str, Mapping[str, Interval]], metric: str) -> dict[str, Standing]:
    """How the champion stands against every recipe that has the metric."""
    return {name: standing(found[metric], metric) for name, found in differences.items() if metric in found}


def reproach(stands: Mapping[str, Standing]) -> str:
    """What must be said first of a champion that does not clearly beat the constant; empty if it does."""
    words: dict[Standing, str] = {
        "better": "",
        "undecided": f"no better than {ALWAYS}",
        "worse": f"clearly worse than {ALWAYS}",
    }
    return words[stands.get(CONSTANT, "better")]
