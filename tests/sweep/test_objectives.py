"""Several objectives, and constraints: outcomes, Pareto front, files."""

import csv
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from optuna.trial import create_trial
from sweep_app import App

import trimtab
from trimtab.errors import SweepError
from trimtab.sweep.settings import Direction
from trimtab.sweep.store.pareto import join, layers
from trimtab.sweep.store.study import open_study, reason

Sweep = Callable[..., None]
TWO = ["hydra.sweeper.direction=[minimize,maximize]", "hydra/sweeper/sampler=random"]


def rows(app: App) -> list[dict[str, str]]:
    return list(csv.DictReader(app.table().splitlines()))


@pytest.mark.parametrize(
    ("values", "directions", "front"),
    [
        ([(1, 1), (2, 2), (0, 3)], ["minimize", "minimize"], [0, 2]),
        ([(1, 1), (2, 2), (0, 3)], ["minimize", "maximize"], [2]),
        ([(1, 1), (1, 1), (2, 0)], ["minimize", "minimize"], [0, 1, 2]),
        ([(1, 1), (1, 0)], ["minimize", "minimize"], [1]),
        ([(1,), (0,), (0,)], ["minimize"], [1, 2]),
        ([], ["minimize", "minimize"], []),
    ],
)
def test_the_front_is_what_no_other_beats(
    values: list[tuple[float, ...]], directions: list[Direction], front: list[int]
) -> None:
    trials = [create_trial(values=v) for v in values]
    joined: list[Any] = []
    for trial in trials:
        joined = join(joined, trial, directions)
    assert [i for i, rank in enumerate(layers(trials, directions)) if rank == 0] == front
    assert [trials.index(t) for t in joined if t in trials] == [trials.index(trials[i]) for i in front]


def test_every_objective_is_a_column_and_the_front_a_file(app: App, sweep: Sweep) -> None:
    values = [(2.0, 2.0), (1.0, 1.0), (1.5, 3.0), (3.0, 2.5)]
    sweep(lambda cfg: values[HydraConfig.get().job.num], *TWO, "hydra.sweeper.n_trials=4")
    assert [(r["values.0"], r["values.1"]) for r in rows(app)] == [(repr(a), repr(b)) for a, b in values]
    study = open_study(app.out)
    assert study.best is None
    assert [t.number for t in study.front] == [1, 2]
    assert [t.number for t in study.ranked] == [1, 2, 0, 3]
    assert "Pareto front" in (app.out / "pareto.html").read_text()
    written = yaml.safe_load((app.out / "optimization_results.yaml").read_text())
    assert written == {
        "name": "optuna",
        "solutions": [{"params": t.params, "values": list(values[t.number])} for t in study.front],
    }


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (1.0, "a float"),
        ([1.0], "1 values"),
        ([1.0, None], "returned None"),
        ((1.0, float("nan")), "returned nan"),
        ("ab", "a str"),
    ],
)
def test_what_is_not_one_number_per_objective_fails_its_trial(app: App, sweep: Sweep, returned: Any, said: str) -> None:
    sweep(lambda cfg: returned if HydraConfig.get().job.num == 1 else (1.0, 2.0), *TWO, "hydra.sweeper.n_trials=3")
    failed = open_study(app.out).trials[1]
    assert failed.state.name == "FAIL"
    assert said in reason(failed)


@pytest.mark.parametrize("direction", ["up", "[minimize,up]", "[]"])
def test_a_direction_that_does_not_exist_is_refused(app: App, sweep: Sweep, direction: str) -> None:
    with pytest.raises(SweepError, match=r"hydra\.sweeper\.direction"):
        sweep(lambda cfg: 1.0, f"hydra.sweeper.direction={direction}")


def test_progress_counts_the_front(app: App, sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    sweep(lambda cfg: (cfg.opt.lr, cfg.opt.lr), *TWO, "hydra.sweeper.n_trials=3", "hydra.sweeper.progress=quiet")
    assert "3 trials on the Pareto front" in capsys.readouterr().out


def limited(cfg: DictConfig) -> float:
    number = HydraConfig.get().job.num
    trimtab.constraint("parameters", [300, 100, 200, 90][number], at_most=100)
    return float([1.0, 3.0, 2.0, 4.0][number])


def test_a_trial_that_breaks_a_constraint_is_never_the_best(app: App, sweep: Sweep) -> None:
    sweep(limited, "hydra.sweeper.n_trials=4")
    study = open_study(app.out)
    assert [r["constraint.parameters"] for r in rows(app)] == ["200.0", "0.0", "100.0", "-10.0"]
    assert [t.number for t in study.ranked] == [1, 3, 2, 0]
    assert study.best is not None
    assert study.best.number == 1


def test_if_no_trial_keeps_the_constraints_there_is_no_best(app: App, sweep: Sweep) -> None:
    def task(cfg: DictConfig) -> float:
        trimtab.constraint("size", 2.0)
        return 1.0

    sweep(task, "hydra.sweeper.n_trials=3")
    assert open_study(app.out).best is None
    assert not (app.out / "optimization_results.yaml").exists()


def test_a_constraint_that_is_no_number_fails_its_trial(app: App, sweep: Sweep) -> None:
    def task(cfg: DictConfig) -> float:
        trimtab.constraint("size", float("nan") if HydraConfig.get().job.num == 1 else 0.0)
        return 1.0

    sweep(task, "hydra.sweeper.n_trials=3")
    assert "constraint('size')" in reason(open_study(app.out).trials[1])
