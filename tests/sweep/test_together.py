"""Trials that are run together: who with whom, and that nothing else changes."""

import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import hydra
import pytest
import yaml
from curves_app import STEPS, train_on, write_curves_app
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig
from optuna.trial import TrialState
from sweep_app import App
from together_app import population, train, write_together_app

import trimtab
from trimtab.errors import SweepError
from trimtab.sweep.jobs.trial import Trial
from trimtab.sweep.store.study import open_study, reason
from trimtab.sweep.together import Together, Units

Sweep = Callable[..., None]
EARLY = "hydra.sweeper.sampler.n_startup_trials=5"  # so that few trials suffice to learn
SIZE = "hydra.sweeper.population.size="
MUST = "it must return its objective as a number"
PROCESSES = ["hydra/sweeper/executor=processes", "hydra.sweeper.n_jobs=2"]


@pytest.fixture
def app(tmp_path: Path) -> App:
    return write_together_app(tmp_path / 'it\'s "an" app')


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    app = write_together_app(tmp_path_factory.mktemp("undisturbed") / "app")
    done = app.run(EARLY)
    assert done.returncode == 0, done.stderr
    return app.table()


def together(wrapped: Callable[[Sequence[Trial]], Iterator[tuple[int, Any]]]) -> Callable[[DictConfig], float]:
    """A task that runs trials together by `wrapped`."""

    def task(cfg: DictConfig) -> float:
        raise AssertionError("a population was asked for")

    task.population = wrapped  # type: ignore[attr-defined]
    return task


@pytest.mark.parametrize("units", [Units(1, 1, 1), Units(11, 4, 2), Units(16, 16, 8), Units(3, 4, 2)])
def test_units_leave_no_turn_out(units: Units) -> None:
    for before, turn in pairwise(range(100)):
        unit = units.of(turn)
        assert turn in unit
        assert unit in (units.of(before), range(units.of(before).stop, unit.stop))
        assert len(unit) == (units.first if turn < units.first else units.length)


def test_how_many_are_asked_at_once_and_share_a_stack() -> None:
    """While nothing is known many, then what is learnt from: so few that two workers have a stack each."""
    assert Together(16, at_once=8).units(True, 11) == Units(16, 8, 16)
    assert Together(4, at_once=8).units(True, 11) == Units(11, 8, 4)
    assert Together(3).units(True, 1) == Units(6, 6, 3)
    assert Together(16, at_once=8).units(False, 11) == Units(64, 64, 16)
    assert Together(1, at_once=8).units(True, 11) == Units(1, 1, 1)
    assert [Units(16, 8, 16).stack(unit) for unit in (16, 8)] == [8, 4]
    assert [Units(64, 64, 16).stack(unit) for unit in (64, 5)] == [16, 3]


@pytest.mark.parametrize(
    ("shapes", "size", "stacks"),
    [
        ([{}] * 5, 3, [[0, 1, 2], [3, 4]]),
        ([{"b": 8}, {"b": 16}, {"b": 8}, {}], 3, [[0, 2], [1], [3]]),
        ([{}] * 10, 4, [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9]]),
    ],
)
def test_stacks_share_their_shapes_and_are_of_like_size(
    shapes: list[dict[str, int]], size: int, stacks: list[list[int]]
) -> None:
    assert Together().stacks(shapes, size) == stacks


def test_every_trial_is_a_job_of_its_own(app: App, sweep: Sweep) -> None:
    sweep(together(population))
    study = open_study(app.out)
    assert [t.state for t in study.trials] == [TrialState.COMPLETE] * 22
    for trial in study.trials:
        folder = app.out / str(trial.number)
        assert (folder / "app.log").is_file()
        overrides = yaml.safe_load((folder / ".hydra" / "overrides.yaml").read_text())
        assert f"seed={trial.user_attrs['seed']}" in overrides
        assert trial.user_attrs["facts"] == {"epochs": 2, "name": f"app-{trial.number}"}
        assert list(trial.intermediate_values) == [1, 2]
        assert trial.constraints == {"x": pytest.approx(trial.params.get("x", 0.5) - 0.9)}
        shared = [int(n) for n in (folder / "company").read_text().split()]
        assert trial.number in shared
        assert len(shared) <= 3
        assert len({study.trials[n].params.get("shape", 8) for n in shared}) == 1
    assert max(len((app.out / str(n) / "company").read_text().split()) for n in range(22)) == 3


def test_a_budget_below_a_unit_makes_two_stacks_for_two_workers(app: App, sweep: Sweep) -> None:
    sweep(together(population), "hydra/sweeper/sampler=random", f"{SIZE}16", "hydra.sweeper.n_trials=8", "shape=8")
    companies = {(app.out / str(n) / "company").read_text() for n in range(8)}
    assert sorted(len(shared.split()) for shared in companies) == [4, 4]


def test_values_are_those_of_trials_alone(app: App, sweep: Sweep) -> None:
    sampler = "hydra/sweeper/sampler=random"
    sweep(together(population), sampler)
    sweep(train, sampler, f"{SIZE}1", "hydra.sweep.dir=alone")
    assert app.table() == (app.folder / "alone" / "trials.csv").read_text()


@pytest.mark.parametrize("schedule", ["reproducible", "async"])
def test_workers_and_their_deaths_change_nothing(app: App, undisturbed: str, schedule: str) -> None:
    done = app.run(EARLY, *PROCESSES, "fail=[1,9]", "sleep=0.01", f"hydra.sweeper.schedule={schedule}")
    assert done.returncode == 0, done.stderr
    assert [t.state for t in open_study(app.out).trials] == [TrialState.COMPLETE] * 22
    assert open_study(app.out).trials[9].user_attrs["starts"] == 2
    if schedule == "reproducible":
        assert app.table() == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_killed_at_random_moments_it_resumes_to_the_same_table(app: App, undisturbed: str, executor: str) -> None:
    moments = random.Random(executor)
    arguments = [EARLY, f"hydra/sweeper/executor={executor}", "hydra.sweeper.n_jobs=2", "sleep=0.2"]
    for _ in range(8):
        with app.start(*arguments) as process:
            time.sleep(moments.uniform(0.8, 5.0))
            process.kill()
    done = app.run(*arguments)
    assert done.returncode == 0, done.stderr
    assert app.table() == undisturbed
    assert [t.number for t in open_study(app.out).trials] == list(range(22))


@pytest.mark.slow
def test_cut_after_any_line_it_resumes_to_the_same_table(app: App, sweep: Sweep, undisturbed: str) -> None:
    """Where a kill between two writes of the journal leaves it."""
    sweep(together(population), EARLY)
    lines = (app.out / "study.journal").read_bytes().splitlines(keepends=True)
    for end in range(5, len(lines), 23):
        (app.out / "study.journal").write_bytes(b"".join(lines[:end]))
        sweep(together(population), EARLY)
        assert app.table() == undisturbed, end


def test_one_that_raises_or_is_pruned_leaves_the_others_alone(app: App, sweep: Sweep) -> None:
    returned: dict[int, Any] = {}

    def some_fail(trials: Sequence[Trial]) -> Iterator[tuple[int, Any]]:
        odd = iter((ValueError("no"), None, "text"))
        for place, value in population(trials):
            kept = value is None or trials[place].number == 0  # pruned, or the baseline
            returned[trials[place].number] = value if kept else next(odd, value)
            yield place, returned[trials[place].number]

    pruner = ["hydra/sweeper/pruner=threshold", "hydra.sweeper.pruner.upper=0.8", "hydra.sweeper.pruner.warmup_steps=2"]
    sweep(together(some_fail), "hydra/sweeper/sampler=random", *pruner)
    trials = open_study(app.out).trials
    failed = {reason(t) for t in trials if t.state == TrialState.FAIL}
    assert failed == {"ValueError: no", *(f"the task returned {x}; {MUST}" for x in ("None", "'text'"))}
    for trial in trials[1:]:
        if trial.state != TrialState.FAIL:
            assert (trial.state == TrialState.PRUNED) == (trial.intermediate_values[2] > 0.8)
        assert (trial.state == TrialState.COMPLETE) == isinstance(returned[trial.number], float)
    assert {t.state for t in trials} == {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}


def test_a_population_that_breaks_fails_those_it_had_not_finished(app: App, sweep: Sweep) -> None:
    def breaks(trials: Sequence[Trial]) -> Iterator[tuple[int, Any]]:
        yield 0, 1.0
        if len(trials) > 1:
            raise ValueError("broken")

    sweep(together(breaks))
    study = open_study(app.out)
    failed = [t for t in study.trials if t.state == TrialState.FAIL]
    assert failed
    assert {reason(t) for t in failed} == {"ValueError: broken"}
    assert len(study.ranked) + len(failed) == 22


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([f"{SIZE}0"], "population.size must be at least 1 but is 0"),
        (["hydra.sweeper.timeout_s=5"], "timeout_s is kept for trials that run alone"),
    ],
)
def test_what_cannot_be_is_refused(app: App, sweep: Sweep, arguments: list[str], said: str) -> None:
    with pytest.raises(SweepError, match=said):
        sweep(together(population), *arguments)
    assert not (app.out / "trials.csv").exists()


def test_a_task_without_population_is_refused(sweep: Sweep) -> None:
    def task(cfg: DictConfig) -> float:
        return 1.0

    with pytest.raises(SweepError, match="the task has no attribute population"):
        sweep(task)


@pytest.mark.parametrize("what", ["seed", "fold"])
def test_seeds_and_folds_are_members_too(app: App, sweep: Sweep, what: str) -> None:
    repeats = [f"hydra.sweeper.{what}s=3", f"hydra.sweeper.{what}_key={what}", "hydra/sweeper/sampler=random"]
    sweep(together(population), *repeats)
    sweep(train, *repeats, f"{SIZE}1", "hydra.sweep.dir=alone")
    found, alone = (
        {t.number: t.user_attrs["by_seed"] for t in open_study(folder).ranked}
        for folder in (app.out, app.folder / "alone")
    )
    both = found.keys() & alone.keys()  # by which rival one is dropped between seeds hangs on what it may see
    assert len(both) >= 5
    assert {n: found[n] for n in both} == {n: alone[n] for n in both}
    assert (app.out / "0" / f"{what}-2" / "company").read_text().count("0") == 3


def stretches(trials: Sequence[Trial]) -> Iterator[tuple[int, Any]]:
    """Each goes on from where it paused."""
    for place, trial in enumerate(trials):
        with trial.active(), (trial.directory / "company").open("a") as file:
            file.write(" ".join(str(t.number) for t in trials) + "\n")
            try:
                found: Any = train_on(trial.cfg)
            except trimtab.Pruned as e:
                found = e
        yield place, found


@pytest.fixture
def curves(tmp_path: Path) -> App:
    return write_curves_app(tmp_path / "curves")


@pytest.fixture
def asha(curves: App, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Sweeps with trials that pause, in stacks."""

    def run(*overrides: str) -> None:
        GlobalHydra.instance().clear()
        key = "hydra.sweeper.pruner."
        pauses = ["hydra/sweeper/pruner=asha", f"{key}max_step={STEPS}", f"{key}pause=true", f"{SIZE}3"]
        monkeypatch.setattr(sys, "argv", ["app.py", "--multirun", *pauses, *overrides])
        task = together(stretches)
        hydra.main(config_path=str(curves.folder / "conf"), config_name="config", version_base="1.3")(task)()

    monkeypatch.chdir(curves.folder)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    yield run
    GlobalHydra.instance().clear()


def test_members_pause_and_are_sent_on_together(curves: App, asha: Callable[..., None]) -> None:
    asha("hydra.sweeper.n_trials=24")
    trials = open_study(curves.out).trials
    for trial in trials:
        steps = [*map(int, (curves.out / str(trial.number) / "steps").read_text().split())]
        assert steps == list(trial.intermediate_values)  # each taken once
    assert {len(t.intermediate_values) for t in trials} == {1, 3, STEPS}
    companies = [(curves.out / str(t.number) / "company").read_text().splitlines() for t in trials]
    assert all(len(c) == len(t.user_attrs["turns"]) for c, t in zip(companies, trials, strict=True))
    assert any(len(stack.split()) > 1 for company in companies for stack in company[1:])


@pytest.mark.slow
def test_cut_after_any_line_those_that_pause_resume_to_the_same_table(curves: App, asha: Callable[..., None]) -> None:
    few = ("hydra.sweeper.n_trials=14", "hydra.sweeper.population.at_once=4")
    asha(*few)
    table, journal = curves.table(), curves.out / "study.journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    for end in range(5, len(lines), 11):
        journal.write_bytes(b"".join(lines[:end]))
        asha(*few)
        assert curves.table() == table, end
