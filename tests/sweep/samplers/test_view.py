"""The schedule `reproducible`: what trial n may know."""

from collections.abc import Callable
from typing import Any

import optuna
import pytest
from omegaconf import DictConfig
from optuna.trial import TrialState
from sweep_app import App

from trimtab.sweep.samplers.sampler import Proposal
from trimtab.sweep.samplers.view import View
from trimtab.sweep.space.knobs import Space
from trimtab.sweep.store.study import open_study


class Witness:
    """Notes what it is shown, and proposes nothing."""

    def __init__(self) -> None:
        self.states: list[TrialState] = []

    def propose(self, space: Space, view: optuna.Study, study_seed: int, index: int) -> Proposal:
        self.states = [t.state for t in view.get_trials(deepcopy=False)]
        return Proposal({}, {})

    def points(self, space: Space) -> int | None:
        return None


def finished(number: int) -> optuna.trial.FrozenTrial:
    trial = optuna.trial.create_trial(value=float(number))
    trial.number = number
    return trial


@pytest.mark.parametrize(
    ("lag", "number", "complete", "running"),
    [(1, 5, 5, 0), (2, 5, 4, 1), (4, 5, 2, 3), (8, 5, 0, 5), (8, 0, 0, 0)],
)
def test_the_last_outcomes_are_hidden_even_if_they_are_known(
    lag: int, number: int, complete: int, running: int
) -> None:
    view, witness = View(["minimize"]), Witness()
    trials = [finished(n) for n in range(number)]
    for trial in trials:
        view.show(trial)
    for trial in trials[: max(0, number + 1 - lag)]:
        view.tell(trial)
    view.propose(witness, Space(()), 0, number, number)
    assert witness.states == [TrialState.COMPLETE] * complete + [TrialState.RUNNING] * running


@pytest.mark.parametrize(("changed", "first_different"), [(3, 3 + 4), (6, 6 + 4)])
def test_an_outcome_is_felt_from_lag_trials_later(
    app: App, sweep: Callable[..., None], changed: int, first_different: int
) -> None:
    """TPE, lag 4: trial n sees up to n - 4."""

    def proposals(folder: str, surprise: int | None) -> list[dict[str, Any]]:
        calls: list[int] = []

        def task(cfg: DictConfig) -> float:
            calls.append(1)
            return -100.0 if len(calls) - 1 == surprise else float(cfg.n + cfg.opt.lr)

        learning = ["hydra.sweeper.sampler.n_startup_trials=1", "hydra.sweeper.lag=4", "hydra.sweeper.n_trials=14"]
        sweep(task, *learning, f"hydra.sweep.dir={folder}")
        return [t.params for t in open_study(app.folder / folder).trials]

    usual, surprised = proposals("usual", None), proposals("surprised", changed)
    different = [n for n, (a, b) in enumerate(zip(usual, surprised, strict=True)) if a != b]
    assert different[0] == first_different
