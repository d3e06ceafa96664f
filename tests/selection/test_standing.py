"""How the champion stands, by which metric, and what is said first of one that has learnt nothing."""

import pytest

from trimtab.selection.bootstrap import Interval
from trimtab.selection.standing import Standing, headline_metric, reproach, standing, standings


@pytest.mark.parametrize(
    ("objective", "known", "expected"),
    [
        ("val/loss", ["loss", "accuracy"], "accuracy"),
        ("val/f1", ["loss", "accuracy", "f1"], "f1"),
        ("val/loss", ["loss", "mae", "r2"], "r2"),
        ("val/mae", ["loss", "mae", "r2"], "mae"),
        ("val/auroc", ["loss", "accuracy"], "accuracy"),
        ("val/r2", ["mae", "loss"], "loss"),
        ("val/r2", ["mae"], "mae"),
    ],
)
def test_headline_metric(objective: str, known: list[str], expected: str) -> None:
    assert headline_metric(objective, known) == expected


@pytest.mark.parametrize(
    ("low", "high", "metric", "expected"),
    [
        (0.1, 0.2, "accuracy", "better"),
        (-0.2, -0.1, "accuracy", "worse"),
        (0.1, 0.2, "loss", "worse"),
        (-0.2, -0.1, "mae", "better"),
        (-0.1, 0.1, "r2", "undecided"),
        (0.0, 0.2, "f1", "undecided"),
    ],
)
def test_standing(low: float, high: float, metric: str, expected: str) -> None:
    assert standing(Interval((low + high) / 2, low, high), metric) == expected


def test_recipes_without_the_metric_have_no_standing() -> None:
    better, lost = Interval(0.2, 0.1, 0.3), Interval(-0.2, -0.3, -0.1)
    found = standings({"default": {"r2": better}, "ridge": {"r2": lost, "mae": lost}, "boosting": {"mae": lost}}, "r2")
    assert found == {"default": "better", "ridge": "worse"}


@pytest.mark.parametrize(
    ("stands", "said"),
    [
        ({}, ""),
        ({"default": "worse", "constant": "better"}, ""),
        ({"default": "better", "constant": "undecided"}, "no better than always answering the same"),
        ({"default": "better", "constant": "worse"}, "clearly worse than always answering the same"),
    ],
)
def test_only_a_constant_that_is_not_beaten_is_a_reproach(stands: dict[str, Standing], said: str) -> None:
    assert reproach(stands) == said
