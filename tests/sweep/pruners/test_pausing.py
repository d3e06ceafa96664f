"""Pause and promote: trials that stop at a rung and go on from there once they are among its best."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from curves_app import STEPS, train, train_on, write_curves_app
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from optuna.trial import FrozenTrial, TrialState
from sweep_app import App

import trimtab
from trimtab.errors import SweepError
from trimtab.sweep.store.journal import FILE
from trimtab.sweep.store.study import open_study, reason

Sweep = Callable[..., None]
KEY = "hydra.sweeper.pruner."
ASHA = ["hydra/sweeper/pruner=asha", f"{KEY}max_step={STEPS}", f"{KEY}pause=true"]
PAPER = [f"{KEY}reduction_factor=3", f"{KEY}brackets=null"]
HYPERBAND = ["hydra/sweeper/pruner=hyperband", "hydra.sweeper.pause=true", f"hydra.sweeper.max_step={STEPS}", *PAPER]


@pytest.fixture
def app(tmp_path: Path) -> App:
    return write_curves_app(tmp_path / 'it\'s "an" app')


def steps(app: App, trial: FrozenTrial) -> list[int]:
    return list(map(int, (app.out / str(trial.number) / "steps").read_text().split()))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    app = write_curves_app(tmp_path_factory.mktemp("undisturbed") / "app")
    done = app.run(*ASHA)
    assert done.returncode == 0, done.stderr
    return app.table()


def test_a_trial_goes_on_from_its_rung_and_no_step_is_taken_twice(app: App, sweep: Sweep) -> None:
    sweep(train_on, *ASHA)
    trials = open_study(app.out).trials
    for trial in trials:
        assert steps(app, trial) == list(trial.intermediate_values) == list(range(1, len(steps(app, trial)) + 1))
    ends = [len(t.intermediate_values) for t in trials]
    assert ends[0] == STEPS  # the baseline is left alone
    assert {*ends} == {1, 3, STEPS}
    assert [t.state == TrialState.COMPLETE for t in trials] == [end == STEPS for end in ends]


def test_the_best_third_of_each_rung_has_gone_on(app: App, sweep: Sweep) -> None:
    sweep(train_on, *ASHA)
    trials = open_study(app.out).trials
    for rung in (1, 3):
        there = sorted((t for t in trials if rung in t.intermediate_values), key=lambda t: t.intermediate_values[rung])
        assert all(len(t.intermediate_values) > rung for t in there[: len(there) // 3])
    left = next(t for t in trials if len(t.intermediate_values) == 1)
    assert reason(left) == "paused at step 1 and was not sent on"
    assert left.value == left.intermediate_values[1]


def test_it_takes_fewer_steps_than_judging_each_trial_once(app: App, sweep: Sweep) -> None:
    sweep(train_on, *ASHA)
    sweep(train_on, *ASHA[:-1], "hydra.sweep.dir=once")
    paused, once = (sum(len(t.intermediate_values) for t in open_study(app.folder / f).trials) for f in ("out", "once"))
    assert paused < once


def test_hyperband_pauses_too(app: App, sweep: Sweep) -> None:
    sweep(train_on, *HYPERBAND, "hydra.sweeper.n_trials=20")
    ends = [len(t.intermediate_values) for t in open_study(app.out).trials]
    assert {*ends} == {1, 3, STEPS}


@pytest.mark.slow
def test_cut_after_any_line_it_resumes_to_the_same_table(app: App, sweep: Sweep) -> None:
    """Between asking, pausing, sending on and ending."""
    few = [*ASHA, "hydra.sweeper.n_trials=7", "hydra.sweeper.lag=2"]
    sweep(train_on, *few)
    table, lines = app.table(), (app.out / FILE).read_text().splitlines()
    for kept in range(3, len(lines), 5):
        (app.out / FILE).write_text("".join(f"{line}\n" for line in lines[:kept]))
        sweep(train_on, *few)
        assert app.table() == table, kept


def test_the_last_trials_are_sent_on_in_the_same_turns_after_a_cut(app: App, sweep: Sweep) -> None:
    """With nothing new to start, everything is looked at: more than the lag would show again on resume."""
    wide = [*ASHA, "hydra.sweeper.n_trials=16", "hydra.sweeper.lag=9"]
    sweep(train_on, *wide)
    turns = [t.user_attrs["turns"] for t in open_study(app.out).trials]
    lines = (app.out / FILE).read_text().splitlines()
    sent_on = [i for i, line in enumerate(lines) if '"turns"' in line and '"op_code":8' in line]
    assert len(sent_on) > 4
    for kept in sent_on[-5:]:
        (app.out / FILE).write_text("".join(f"{line}\n" for line in lines[:kept]))
        sweep(train_on, *wide)
        assert [t.user_attrs["turns"] for t in open_study(app.out).trials] == turns, kept


@pytest.mark.slow
def test_workers_and_their_deaths_change_nothing(app: App, undisturbed: str) -> None:
    arguments = ["hydra/sweeper/executor=processes", "hydra.sweeper.n_jobs=3", "sleep=0.01", "fail=[4,9]"]
    done = app.run(*ASHA, *arguments)
    assert done.returncode == 0, done.stderr
    assert app.table() == undisturbed


def test_a_task_that_starts_from_zero_gives_the_same_table(app: App, sweep: Sweep, undisturbed: str) -> None:
    sweep(train, *ASHA)
    assert app.table() == undisturbed


@pytest.mark.slow
def test_a_stretch_that_was_cut_off_starts_again_from_the_last_pause(app: App, sweep: Sweep, undisturbed: str) -> None:
    """What a killed stretch had saved meanwhile is not gone on from: the steps before it were never told."""
    cut: list[int] = []

    def task(cfg: DictConfig) -> Any:
        folder, number = trimtab.checkpoint_dir(), HydraConfig.get().job.num
        if folder is not None and (folder / "step").exists() and number not in cut:
            assert (folder / "step").read_text() == "1" or cut
            (folder / "step").write_text("7")
            cut.append(number)
            raise KeyboardInterrupt
        return train_on(cfg)

    for _ in range(50):
        try:
            sweep(task, *ASHA)
            break
        except SystemExit:
            continue
    assert len(cut) > 2
    assert app.table() == undisturbed


def test_checkpoints_are_dropped_when_a_trial_has_ended(app: App, sweep: Sweep) -> None:
    sweep(train_on, *ASHA, "hydra.sweeper.n_trials=6")
    kept = {int(p.parent.name) for p in app.out.rglob("checkpoint*")}
    paused = {t.number for t in open_study(app.out).trials if t.state == TrialState.PRUNED}
    assert kept == paused  # a larger budget may send those on
    assert len(kept) < 6


@pytest.mark.parametrize("schedule", ["reproducible", "async"])
@pytest.mark.parametrize("pruner", [ASHA, HYPERBAND])
def test_a_small_study_finishes_somebody_beside_its_baseline(
    app: App, sweep: Sweep, pruner: list[str], schedule: str
) -> None:
    """A rung that fewer than three have reached lets nobody pass."""
    for n, baseline in [(2, "true"), (2, "false"), (6, "true"), (6, "false")]:
        settings = [f"hydra.sweeper.n_trials={n}", f"hydra.sweeper.{baseline=!s}"]
        sweep(train_on, *pruner, *settings, f"hydra.sweeper.{schedule=!s}", f"hydra.sweep.dir={n}{baseline}")
        trials = open_study(app.folder / f"{n}{baseline}").trials
        assert len(trials) == n
        assert any(t.state == TrialState.COMPLETE for t in trials if not t.user_attrs.get("baseline"))
        assert {t.state for t in trials} <= {TrialState.COMPLETE, TrialState.PRUNED}


def test_a_larger_budget_sends_on_what_a_smaller_one_left(app: App, sweep: Sweep) -> None:
    sweep(train_on, *ASHA, "hydra.sweeper.n_trials=4")
    table, left = app.table(), [t for t in open_study(app.out).trials if t.state == TrialState.PRUNED]
    assert [steps(app, t) for t in left] == [[1], [1]]
    sweep(train_on, *ASHA, "hydra.sweeper.n_trials=4")
    assert app.table() == table
    sweep(train_on, *ASHA, "hydra.sweeper.n_trials=14")
    trials = open_study(app.out).trials
    assert any(len(trials[t.number].intermediate_values) > 1 for t in left)
    for trial in trials:
        assert steps(app, trial) == list(trial.intermediate_values)
        assert trial.state.is_finished()
        assert bool(reason(trial)) == (trial.state == TrialState.PRUNED)


def test_without_pauses_there_is_no_folder_for_checkpoints(app: App, sweep: Sweep) -> None:
    seen: list[Path | None] = []

    def task(cfg: DictConfig) -> float:
        seen.append(trimtab.checkpoint_dir())
        return 1.0

    sweep(task, *ASHA[:-1], "hydra.sweeper.n_trials=2")
    assert [*seen, trimtab.checkpoint_dir()] == [None] * 3


def test_asynchronously_it_ends_with_nobody_waiting(app: App, sweep: Sweep) -> None:
    sweep(train_on, *ASHA, "hydra.sweeper.schedule=async")
    trials = open_study(app.out).trials
    assert len(trials) == 14
    assert {t.state for t in trials} == {TrialState.COMPLETE, TrialState.PRUNED}
    assert sum(len(t.intermediate_values) == STEPS for t in trials) > 1


def test_the_sampler_sees_how_far_a_trial_has_got(app: App, sweep: Sweep) -> None:
    tpe = ["hydra/sweeper/sampler=tpe", "hydra.sweeper.sampler.n_startup_trials=3", "hydra.sweeper.lag=1"]
    sweep(train_on, *ASHA, *tpe)
    assert {t.state for t in open_study(app.out).trials} == {TrialState.COMPLETE, TrialState.PRUNED}


def test_patience_cannot_wrap_a_pruner_that_pauses(app: App, sweep: Sweep) -> None:
    wrapped = ["+hydra/sweeper/pruner@hydra.sweeper.pruner.wrapped=asha", f"{KEY}wrapped.pause=true"]
    with pytest.raises(SweepError, match="set its `pause` to false"):
        sweep(train, "hydra/sweeper/pruner=patient", *wrapped)
