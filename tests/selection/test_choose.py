"""Rules of choosing, one row each."""

import math

import pandas as pd
import pytest

from trimtab.errors import SweepError
from trimtab.selection.choose import Candidate, Direction, best_trials, champion, median_epoch, seeds_in_words

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("values", "states", "direction", "expected"),
    [
        ([3.0, 1.0, 2.0], "CCC", "minimize", [1, 2]),
        ([3.0, 1.0, 2.0], "CCC", "maximize", [0, 2]),
        ([1.0, 1.0, 1.0], "CCC", "maximize", [0, 1]),
        ([0.0, 1.0, 2.0], "FCP", "minimize", [1]),
        ([NAN, 1.0, INF], "CCC", "minimize", [1]),
        ([INF, 1.0, 2.0], "CCC", "maximize", [2, 1]),
        ([NAN, NAN, NAN], "FFF", "minimize", []),
    ],
    ids=["minimize", "maximize", "ties", "states", "nan", "inf", "none"],
)
def test_best_trials(values: list[float], states: str, direction: Direction, expected: list[int]) -> None:
    names = {"C": "COMPLETE", "F": "FAIL", "P": "PRUNED"}
    table = pd.DataFrame({"number": [2, 1, 0], "state": [names[s] for s in states[::-1]], "value": values[::-1]})
    assert best_trials(table, 2, direction) == expected


def _candidate(name: str, trial: int | None, *values: float, eligible: bool = True) -> Candidate:
    return Candidate(name, trial, eligible, values)


@pytest.mark.parametrize(
    ("candidates", "direction", "expected"),
    [
        ([_candidate("a", 3, 1, 4), _candidate("b", 7, 2, 2)], "minimize", "b"),
        ([_candidate("a", 3, 1, 4), _candidate("b", 7, 2, 2)], "maximize", "a"),
        ([_candidate("a", 7, 2), _candidate("b", 3, 2)], "minimize", "b"),
        ([_candidate("a", 3, 2), _candidate("b", None, 1, eligible=False)], "minimize", "a"),
        ([_candidate("a", 3, 2), _candidate("b", 4, 1, NAN)], "minimize", "a"),
    ],
    ids=["minimize", "maximize", "ties", "ineligible", "failed seed"],
)
def test_champion(candidates: list[Candidate], direction: Direction, expected: str) -> None:
    assert champion(candidates, direction).name == expected


def test_no_champion_names_who_failed() -> None:
    with pytest.raises(SweepError, match="trial 3"):
        champion([_candidate("trial 3", 3, NAN)], "minimize")


@pytest.mark.parametrize(("values", "std"), [((2.0,), NAN), ((1.0, 3.0), math.sqrt(2))])
def test_mean_and_spread(values: tuple[float, ...], std: float) -> None:
    candidate = _candidate("a", 1, *values)
    assert candidate.mean == 2.0
    assert candidate.std == pytest.approx(std, nan_ok=True)


@pytest.mark.parametrize(
    ("seeds", "folds", "said"),
    [
        (1, 1, "one fresh seed"),
        (3, 1, "3 fresh seeds"),
        (1, 5, "one fresh seed of 5 folds"),
        (3, 5, "3 fresh seeds of 5 folds each"),
    ],
)
def test_seeds_in_words(seeds: int, folds: int, said: str) -> None:
    assert seeds_in_words(seeds, folds) == said


@pytest.mark.parametrize(("epochs", "median"), [([5], 5), ([9, 1, 4], 4), ([4, 8], 4), ([1, 2, 8, 9], 2)])
def test_median_epoch_is_an_epoch_that_was(epochs: list[int], median: int) -> None:
    assert median_epoch(epochs) == median
