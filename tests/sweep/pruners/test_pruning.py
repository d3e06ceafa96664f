"""Sweeps that prune: the same decisions whatever happens, and what becomes of a pruned trial."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from curves_app import STEPS, curve, train, write_curves_app
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from optuna.trial import TrialState
from sweep_app import App

import trimtab
from trimtab.errors import SweepError
from trimtab.sweep.store.journal import FILE
from trimtab.sweep.store.study import open_study, reason

Sweep = Callable[..., None]
GROUP = "hydra/sweeper/pruner="
KEY = "hydra.sweeper.pruner."
PRUNERS: dict[str, list[str]] = {
    "median": [f"{GROUP}median", f"{KEY}startup_trials=2"],
    "patient": [f"{GROUP}patient", f"{KEY}patience=0", "+hydra/sweeper/pruner@hydra.sweeper.pruner.wrapped=asha"],
    "threshold": [f"{GROUP}threshold", f"{KEY}upper=1.6", f"{KEY}warmup_steps=2"],
    "asha": [f"{GROUP}asha", f"{KEY}max_step={STEPS}"],
    "hyperband": [f"{GROUP}hyperband", f"{KEY}max_step={STEPS}"],
}
PROCESSES = "hydra/sweeper/executor=processes"


@pytest.fixture
def app(tmp_path: Path) -> App:
    return write_curves_app(tmp_path / 'it\'s "an" app')


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Tables by pruner, each made once, inline, in a process of its own."""
    tables: dict[str, str] = {}

    def table(pruner: str) -> str:
        if pruner not in tables:
            app = write_curves_app(tmp_path_factory.mktemp("undisturbed") / pruner)
            done = app.run(*PRUNERS[pruner])
            assert done.returncode == 0, done.stderr
            tables[pruner] = app.table()
        return tables[pruner]

    return table


@pytest.mark.parametrize("pruner", PRUNERS)
class TestContract:
    def test_it_prunes_but_not_the_baseline(self, app: App, sweep: Sweep, pruner: str) -> None:
        sweep(train, *PRUNERS[pruner])
        trials = open_study(app.out).trials
        states = [t.state for t in trials]
        assert states[0] == TrialState.COMPLETE
        assert {*states} == {TrialState.COMPLETE, TrialState.PRUNED}
        for trial in trials:
            seen = curve(trial.params["x"], trial.user_attrs["seed"])[: len(trial.intermediate_values)]
            assert list(trial.intermediate_values.values()) == seen
            assert trial.value == seen[-1]
        assert all(len(t.intermediate_values) < STEPS or t.state == TrialState.COMPLETE for t in trials)

    @pytest.mark.slow
    def test_cut_after_any_line_it_decides_the_same(self, app: App, sweep: Sweep, pruner: str) -> None:
        few = [*PRUNERS[pruner], "hydra.sweeper.n_trials=8"]
        sweep(train, *few)
        table, lines = app.table(), (app.out / FILE).read_text().splitlines()
        for kept in range(3, len(lines), len(lines) // 6):
            (app.out / FILE).write_text("".join(f"{line}\n" for line in lines[:kept]))
            sweep(train, *few)
            assert app.table() == table, kept

    @pytest.mark.slow
    def test_workers_and_their_deaths_change_nothing(
        self, app: App, undisturbed: Callable[[str], str], pruner: str
    ) -> None:
        done = app.run(*PRUNERS[pruner], PROCESSES, "hydra.sweeper.n_jobs=3", "sleep=0.01", "fail=[4,9]")
        assert done.returncode == 0, done.stderr
        assert app.table() == undisturbed(pruner)
        assert open_study(app.out).trials[4].user_attrs["starts"] == 2

    def test_a_raised_budget_gives_what_the_larger_one_gives_at_once(
        self, app: App, undisturbed: Callable[[str], str], sweep: Sweep, pruner: str
    ) -> None:
        sweep(train, *PRUNERS[pruner], "hydra.sweeper.n_trials=6")
        sweep(train, *PRUNERS[pruner])
        assert app.table() == undisturbed(pruner)


def test_the_baseline_is_pruned_if_asked(app: App, sweep: Sweep) -> None:
    strict = [f"{GROUP}threshold", f"{KEY}upper=-1"]
    sweep(train, *strict, "hydra.sweeper.n_trials=2")
    assert [t.state.name for t in open_study(app.out).trials] == ["COMPLETE", "PRUNED"]
    with pytest.raises(SweepError, match="all 2 trials were pruned"):
        sweep(train, *strict, "hydra.sweeper.n_trials=2", "hydra.sweeper.prune_baseline=true", "hydra.sweep.dir=other")
    assert [t.state.name for t in open_study(app.folder / "other").trials] == ["PRUNED", "PRUNED"]


def test_without_a_pruner_everything_runs_to_its_end(app: App, sweep: Sweep) -> None:
    sweep(train, "hydra.sweeper.n_trials=4")
    assert [len(t.intermediate_values) for t in open_study(app.out).trials] == [STEPS] * 4


def swallows(cfg: DictConfig) -> float:
    try:
        return train(cfg)
    except Exception:
        return 99.0


def wraps(cfg: DictConfig) -> float:
    try:
        return train(cfg)
    except trimtab.Pruned as e:
        raise RuntimeError("training was interrupted") from e


def fails_tidying(cfg: DictConfig) -> float:
    try:
        return train(cfg)
    finally:
        if HydraConfig.get().job.num != 0:
            raise OSError("no such file")


@pytest.mark.parametrize("task", [train, swallows, wraps, fails_tidying])
def test_what_the_task_does_about_it_changes_nothing(app: App, sweep: Sweep, task: Callable[..., Any]) -> None:
    sweep(task, f"{GROUP}threshold", f"{KEY}upper=-1", "hydra.sweeper.n_trials=3")
    trials = open_study(app.out).trials
    assert [t.state.name for t in trials] == ["COMPLETE", "PRUNED", "PRUNED"]
    assert [reason(t) for t in trials] == ["", "pruned at step 1", "pruned at step 1"]
    log = (app.out / "1" / "app.log").read_text() if (app.out / "1" / "app.log").exists() else ""
    assert "Traceback" not in log


def test_a_task_may_prune_itself(app: App, sweep: Sweep) -> None:
    def task(cfg: DictConfig) -> float:
        trimtab.record(parameters=7)
        if HydraConfig.get().job.num == 1:
            raise trimtab.Pruned("too many parameters")
        return float(cfg.x)

    sweep(task, "hydra.sweeper.n_trials=3")
    trial = open_study(app.out).trials[1]
    assert (trial.state, trial.value, reason(trial)) == (TrialState.PRUNED, None, "too many parameters")
    assert app.table().splitlines()[2].startswith("1,PRUNED,,7,")


def test_a_report_of_nan_prunes_and_leaves_no_value(app: App, sweep: Sweep) -> None:
    def task(cfg: DictConfig) -> float:
        trimtab.report(1, float("nan") if HydraConfig.get().job.num else 0.5)
        return float(cfg.x)

    sweep(task, f"{GROUP}asha", "hydra.sweeper.n_trials=3")
    assert [line.split(",")[1:3] for line in app.table().splitlines()[2:]] == [["PRUNED", ""]] * 2


def test_pruned_trials_are_counted_and_never_the_best(
    app: App, sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    def task(cfg: DictConfig) -> float:
        trimtab.report(1, -5.0 if HydraConfig.get().job.num else 0.0)
        return 1.0

    sweep(task, f"{GROUP}threshold", f"{KEY}lower=-1", "hydra.sweeper.n_trials=3", "hydra.sweeper.progress=quiet")
    assert "3 of 3 trials done, 2 pruned; best 1 (trial 0" in capsys.readouterr().out
    study = open_study(app.out)
    assert [t.number for t in study.ranked] == [0]
    assert yaml.safe_load((app.out / "optimization_results.yaml").read_text())["best_value"] == 1.0


def test_the_sampler_learns_from_pruned_trials(app: App, sweep: Sweep) -> None:
    """TPE ranks them by their last report: without it, these would all be alike."""
    tpe = ["hydra/sweeper/sampler=tpe", "hydra.sweeper.sampler.n_startup_trials=4", "hydra.sweeper.lag=1"]
    asked: list[list[float]] = []
    for sign in (1, -1):

        def task(cfg: DictConfig, sign: int = sign) -> float:
            trimtab.report(1, sign * cfg.x if HydraConfig.get().job.num else -9.0)
            return 0.0

        sweep(task, *tpe, f"{GROUP}threshold", f"{KEY}upper=-8", f"hydra.sweep.dir=out{sign}")
        asked.append([t.params["x"] for t in open_study(app.folder / f"out{sign}").trials])
    assert asked[0][:5] == asked[1][:5]
    assert asked[0][5:] != asked[1][5:]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([f"{GROUP}hyperband"], r"set hydra\.sweeper\.pruner\.max_step"),
        ([f"{GROUP}threshold"], "Either lower or upper must be specified; correct that setting"),
        ([f"{GROUP}asha", "hydra.sweeper.direction=[minimize,maximize]"], "take hydra/sweeper/pruner=none"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_written(
    app: App, sweep: Sweep, overrides: list[str], said: str
) -> None:
    with pytest.raises(SweepError, match=said):
        sweep(train, *overrides)
    assert not app.out.exists()


def test_another_pruner_is_another_study(app: App, sweep: Sweep) -> None:
    sweep(train, f"{GROUP}asha", "hydra.sweeper.n_trials=2")
    with pytest.raises(SweepError, match=r"pruner\.reduction_factor: 3 → 4"):
        sweep(train, f"{GROUP}asha", f"{KEY}reduction_factor=4", "hydra.sweeper.n_trials=2")
