"""How a sweep is run: tries, time-outs, budgets, schedules, interrupts, what it says of machine and other studies."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from sweep_app import App, objective, write_app
from test_kill import wait_for_trials

from trimtab.errors import Diverged, SweepError
from trimtab.sweep.executors import machine
from trimtab.sweep.executors.memory import ran_out
from trimtab.sweep.store.study import open_study, reason

Sweep = Callable[..., None]
FEW = "hydra.sweeper.n_trials=4"
RANDOM = "hydra/sweeper/sampler=random"
PROCESSES = ["hydra/sweeper/executor=processes", "hydra.sweeper.n_jobs=2"]


class OutOfMemoryError(RuntimeError):
    """As torch names it."""


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (RuntimeError("CUDA error: unknown"), 2),
        (ConnectionResetError(errno.ECONNRESET, "gone"), 2),
        (ValueError("always"), 1),
        (KeyError("always"), 1),
        (NotImplementedError("always"), 1),
        (Diverged("loss is nan"), 1),
        (MemoryError(), 1),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), 1),
        (SystemExit(3), 1),
    ],
)
def test_what_may_have_been_bad_luck_is_tried_once_more(
    app: App, sweep: Sweep, error: BaseException, calls: int
) -> None:
    numbers: list[int] = []

    def task(cfg: DictConfig) -> float:
        numbers.append(HydraConfig.get().job.num)
        if numbers[-1] == 2:
            raise error
        return 1.0

    sweep(task, FEW, RANDOM)
    assert numbers.count(2) == calls
    assert [t.state.name for t in open_study(app.out).trials] == ["COMPLETE", "COMPLETE", "FAIL", "COMPLETE"]


def test_nan_is_not_tried_again(app: App, sweep: Sweep) -> None:
    numbers: list[int] = []

    def task(cfg: DictConfig) -> float:
        numbers.append(HydraConfig.get().job.num)
        return float("nan") if numbers[-1] == 1 else 1.0

    sweep(task, FEW, RANDOM)
    assert numbers == [0, 1, 2, 3]


def test_a_second_try_that_succeeds_is_the_trials_outcome(app: App, sweep: Sweep) -> None:
    undisturbed = tables(app, sweep, objective)
    failed: list[int] = []

    def unlucky(cfg: DictConfig) -> float:
        number = HydraConfig.get().job.num
        if number not in failed:
            failed.append(number)
            raise RuntimeError("bad luck")
        return objective(cfg)

    sweep(unlucky, FEW, RANDOM, "hydra.sweep.dir=other")
    assert (app.folder / "other" / "trials.csv").read_text() == undisturbed


def tables(app: App, sweep: Sweep, task: Callable[[DictConfig], Any], *overrides: str) -> str:
    sweep(task, FEW, RANDOM, *overrides)
    return app.table()


def test_no_retries_if_none_are_wanted(app: App, sweep: Sweep) -> None:
    calls: list[int] = []

    def task(cfg: DictConfig) -> float:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("bad luck")
        return 1.0

    sweep(task, FEW, RANDOM, "hydra.sweeper.retries=0")
    assert len(calls) == 4


def test_want_of_memory_is_said_with_peak_and_batch_size(app: App, sweep: Sweep) -> None:
    def task(cfg: DictConfig) -> float:
        if HydraConfig.get().job.num == 1:
            raise MemoryError
        return 1.0

    sweep(task, FEW, RANDOM, "+training.batch_size=256")
    said = reason(open_study(app.out).trials[1])
    assert said.startswith("out of memory at a peak of ")
    assert "GiB with training.batch_size=256; take a smaller batch" in said
    assert float(said.split()[7]) > 0.01


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (MemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 8 bytes"), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (ValueError("out of memory of what?"), False),
        (RuntimeError("shape mismatch"), False),
    ],
)
def test_memory_errors_are_known(error: BaseException, answer: bool) -> None:
    assert ran_out(error) is answer


@pytest.mark.parametrize("executor", [[], PROCESSES])
def test_a_trial_that_takes_too_long_fails_after_a_second_try(app: App, executor: list[str]) -> None:
    script = app.folder / "app.py"
    slow = "    if number == 2:\n        [time.sleep(0.01) for _ in range(3000)]\n    time.sleep(cfg.sleep"
    script.write_text(script.read_text().replace("    time.sleep(cfg.sleep", slow))
    begun = time.monotonic()
    done = app.run(FEW, RANDOM, "hydra.sweeper.timeout_s=1", *executor)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - begun < 40
    trials = open_study(app.out).trials
    assert [t.state.name for t in trials] == ["COMPLETE", "COMPLETE", "FAIL", "COMPLETE"]
    assert reason(trials[2]) == "timed out after 1 s (hydra.sweeper.timeout_s)"
    assert trials[2].user_attrs["starts"] == 2


@pytest.mark.slow
def test_a_worker_that_crashes_by_itself_fails_its_trial_after_a_second_try(app: App) -> None:
    script = app.folder / "app.py"
    crash = "    if number == 2:\n        os.kill(os.getpid(), signal.SIGSEGV)\n    time.sleep(cfg.sleep"
    script.write_text(script.read_text().replace("    time.sleep(cfg.sleep", crash))
    done = app.run(FEW, RANDOM, *PROCESSES)
    assert done.returncode == 0, done.stderr
    trial = open_study(app.out).trials[2]
    assert reason(trial) == "the worker killed by signal 11"
    assert trial.user_attrs["starts"] == 2


def test_first_trials_that_all_fail_alike_end_the_sweep(app: App, sweep: Sweep) -> None:
    numbers: list[int] = []

    def task(cfg: DictConfig) -> float:
        numbers.append(HydraConfig.get().job.num)
        raise ValueError(f"shape {numbers[-1]} x 7 does not fit")

    alike = r"the first 5 trials all failed by the same error: ValueError: shape 0 x 7 does not fit; mend it"
    with pytest.raises(SweepError, match=alike):
        sweep(task, "hydra.sweeper.n_trials=50", RANDOM)
    assert numbers == [0, 1, 2, 3, 4]
    with pytest.raises(SweepError, match=alike):
        sweep(task, "hydra.sweeper.n_trials=50", RANDOM)
    assert len(numbers) == 5


@pytest.mark.parametrize(
    ("reasons", "override"),
    [(["a", "b", "a", "a", "a", "a"], ""), (["a"] * 6, "hydra.sweeper.give_up_after=0"), (["a"] * 4 + [""] * 2, "")],
)
def test_other_failures_do_not(app: App, sweep: Sweep, reasons: list[str], override: str) -> None:
    calls: list[int] = []

    def task(cfg: DictConfig) -> float:
        calls.append(1)
        if text := reasons[len(calls) - 1]:
            raise ValueError(text)
        return 1.0

    hopeless = all(reasons)
    with pytest.raises(SweepError, match="all 6 trials failed") if hopeless else nullcontext():
        sweep(task, "hydra.sweeper.n_trials=6", RANDOM, *([override] if override else []))
    assert len(calls) == 6


@pytest.mark.parametrize(
    ("direction", "target", "first", "schedule", "trials"),
    [
        ("minimize", 7.0, 3, "reproducible", 3 + 4),
        ("maximize", 3.0, 3, "reproducible", 3 + 4),
        ("minimize", 7.0, 3, "async", 3 + 1),
        ("minimize", -1.0, None, "async", 20),
    ],
)
def test_a_target_ends_the_study_once_a_trial_may_see_it(
    app: App,
    sweep: Sweep,
    capsys: pytest.CaptureFixture[str],
    direction: str,
    target: float,
    first: int | None,
    schedule: str,
    trials: int,
) -> None:
    def task(cfg: DictConfig) -> float:
        number = HydraConfig.get().job.num
        return float(number if direction == "maximize" else 10 - number)

    options = [f"hydra.sweeper.{k}={v}" for k, v in (("direction", direction), ("schedule", schedule), ("lag", 4))]
    floor = [] if first is None else ["hydra.sweeper.n_trials=20"]
    sweep(task, RANDOM, *options, *floor, f"hydra.sweeper.target={target if first is not None else -99}")
    assert len(open_study(app.out).trials) == trials
    said = capsys.readouterr().out
    assert (f"trial {first} has reached the target" in said) == (first is not None)


@pytest.mark.slow
def test_the_table_with_a_target_does_not_depend_on_the_workers(app: App, tmp_path: Path) -> None:
    options = ["hydra.sweeper.n_trials=30", RANDOM, "hydra.sweeper.lag=3", "hydra.sweeper.target=2.6", "sleep=0.01"]
    assert app.run(*options).returncode == 0
    other = write_app(tmp_path / "other")
    assert other.run(*options, "hydra/sweeper/executor=processes", "hydra.sweeper.n_jobs=3").returncode == 0
    assert other.table() == app.table()
    assert len(open_study(app.out).trials) < 30


@pytest.mark.slow
def test_minutes_are_of_the_study_and_not_of_the_call(
    app: App, sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[int] = []

    def task(cfg: DictConfig) -> float:
        calls.append(1)
        time.sleep(0.3)
        return 1.0

    minutes = f"hydra.sweeper.minutes={1.0 / 60}"
    sweep(task, "hydra.sweeper.n_trials=50", RANDOM, minutes)
    assert 1 <= len(calls) <= 4
    assert "minutes are spent: no further trials" in capsys.readouterr().out
    before = len(calls)
    sweep(task, "hydra.sweeper.n_trials=50", RANDOM, minutes)
    assert len(calls) == before
    sweep(task, "hydra.sweeper.n_trials=50", RANDOM, f"hydra.sweeper.minutes={2.0 / 60}")
    assert len(calls) > before


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("hydra.sweeper.minutes=0", "minutes must be positive but is 0"),
        ("hydra.sweeper.timeout_s=-1", "timeout_s must be positive"),
        ("hydra.sweeper.retries=-1", "retries cannot be negative"),
        ("hydra.sweeper.schedule=fast", "it can be reproducible, async"),
        ("hydra.sweeper.storage=mysql://u:secret@h/d", r"mysql://u@h/d.*it can be postgresql://"),
        ("hydra.sweeper.storage=study.db", "it can be postgresql://"),
    ],
)
def test_bad_settings_are_refused(app: App, sweep: Sweep, override: str, said: str) -> None:
    with pytest.raises(SweepError, match=said):
        sweep(objective, RANDOM, override)
    assert not (app.out / "study.journal").exists()


def test_under_async_more_workers_than_the_lag_are_welcome_and_the_sampler_sees_all(app: App) -> None:
    done = app.run(
        "hydra.sweeper.n_trials=12",
        "hydra.sweeper.schedule=async",
        "hydra.sweeper.lag=1",
        "hydra/sweeper/executor=processes",
        "hydra.sweeper.n_jobs=2",
        "sleep=0.02",
    )
    assert done.returncode == 0, done.stderr
    assert "workers instead of" not in done.stdout
    study = open_study(app.out)
    assert [t.state.name for t in study.trials] == ["COMPLETE"] * 12
    assert len({tuple(sorted(t.params.items())) for t in study.trials[1:]}) == 11
    assert overlapping(study.trials) > 2


def overlapping(trials: list[Any]) -> int:
    """How many trials began before the one before had ended."""
    return sum(b.datetime_start < a.datetime_complete for a, b in pairwise(trials))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("executor", "options"),
    [("submitit", ["hydra.sweeper.executor.cluster=local"]), ("ray", ["hydra.sweeper.executor.cpus=0.5"])],
)
def test_the_table_does_not_depend_on_the_executor(app: App, tmp_path: Path, executor: str, options: list[str]) -> None:
    pytest.importorskip(executor, reason=f"{executor} is not installed")
    other = write_app(tmp_path / "other")
    assert other.run(FEW).returncode == 0
    done = app.run(FEW, f"hydra/sweeper/executor={executor}", "hydra.sweeper.n_jobs=2", *options, "fail=[2]")
    assert done.returncode == 0, done.stderr
    assert app.table() == other.table()
    assert "[app][INFO] - opt" in (app.out / "1" / "console.log").read_text()
    assert open_study(app.out).trials[2].user_attrs["starts"] == 2


def test_the_schedule_is_part_of_the_study(app: App, sweep: Sweep) -> None:
    sweep(objective, FEW, RANDOM)
    with pytest.raises(SweepError, match=r"schedule: absent → \"async\""):
        sweep(objective, FEW, RANDOM, "hydra.sweeper.schedule=async")


@pytest.mark.slow
@pytest.mark.parametrize("executor", [[], PROCESSES])
def test_the_first_interrupt_lets_the_running_trials_finish(app: App, executor: list[str]) -> None:
    arguments = ["hydra.sweeper.n_trials=40", RANDOM, "sleep=0.2", *executor]
    with app.start(*arguments) as process:
        wait_for_trials(app, 4)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "the running ones finish (Ctrl-C again drops them)" in err
    assert "the same command goes on" in out
    assert "Traceback" not in err
    trials = open_study(app.out).trials
    assert 4 <= len(trials) < 40
    assert {t.state.name for t in trials} == {"COMPLETE"}


@pytest.mark.parametrize("executor", [[], PROCESSES])
def test_the_second_interrupt_drops_them(app: App, executor: list[str]) -> None:
    with app.start("hydra.sweeper.n_trials=40", RANDOM, "sleep=4", *executor) as process:
        wait_for_trials(app, 1)
        time.sleep(0.5)
        for _ in range(2):
            os.killpg(process.pid, signal.SIGINT)
            time.sleep(0.3)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "the same command goes on" in out
    trials = open_study(app.out).trials
    assert "RUNNING" in {t.state.name for t in trials}
    assert all(t.user_attrs["starts"] == 0 for t in trials if t.state.name == "RUNNING")


def test_a_resume_on_another_machine_says_so(
    app: App, sweep: Sweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep(objective, FEW, RANDOM)
    recorded = open_study(app.out).attributes["machine"]
    assert recorded["processors"] == str(machine.processors())
    assert {"system", "processor", "gpu", "blas"} <= recorded.keys()
    sweep(objective, FEW, RANDOM)
    assert "another machine" not in capsys.readouterr().out
    monkeypatch.setenv("MKL_CBWR", "AVX2")
    sweep(objective, FEW, RANDOM)
    assert "begun on another machine (blas: defaults → MKL_CBWR=AVX2)" in capsys.readouterr().out


def test_a_new_study_beside_an_old_one_says_what_changed(
    app: App, sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep(objective, FEW, RANDOM, "hydra.sweep.dir=runs/a")
    assert "a new study" not in capsys.readouterr().out
    sweep(objective, FEW, RANDOM, "hydra.sweep.dir=runs/b", "deep.leaf=2")
    assert "a new study, other than runs/a: deep.leaf: 1 → 2" in capsys.readouterr().out


def test_only_the_best_keep_their_directories(app: App, sweep: Sweep) -> None:
    def task(cfg: DictConfig) -> float:
        return [3.0, 1.0, 5.0, 0.0, 4.0, float("nan"), 2.0][HydraConfig.get().job.num]

    sweep(task, "hydra.sweeper.n_trials=7", RANDOM, "hydra.sweeper.keep_trials=2")
    assert sorted(p.name for p in app.out.iterdir() if p.name.isdigit()) == ["0", "1", "3"]
    assert len(open_study(app.out).finished) == 7


def test_cost_of_a_trial_does_not_grow_with_the_study(app: App, sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    """No pass over all trials while one is asked and told: counted, since times on a shared machine say little."""
    from optuna.storages import JournalStorage

    passes: list[int] = []
    real = JournalStorage.get_all_trials

    def counted(self: JournalStorage, *args: Any, **kwargs: Any) -> Any:
        passes.append(1)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(JournalStorage, "get_all_trials", counted)
    sweep(lambda cfg: 1.0, "hydra.sweeper.n_trials=12", RANDOM)
    few = len(passes)
    sweep(lambda cfg: 1.0, "hydra.sweeper.n_trials=40", RANDOM)
    assert len(passes) - few <= few


def status(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "trimtab.tools.status", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_status_of_a_running_and_of_a_stopped_study(app: App) -> None:
    arguments = ["hydra.sweeper.n_trials=60", RANDOM, "sleep=0.1"]
    with app.start(*arguments) as process:
        wait_for_trials(app, 3)
        shown = status("out", cwd=app.folder).stdout
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert f"running, process {process.pid}; " in shown
    assert " of 60 trials done (" in shown
    assert "  trial " in shown
    assert "about" in shown
    before = sorted((p, p.stat().st_mtime_ns) for p in app.out.rglob("*"))
    stopped = status(".", cwd=app.folder)
    assert "stopped; the same command goes on; " in stopped.stdout
    assert "best " in stopped.stdout
    assert ", baseline " in stopped.stdout
    assert sorted((p, p.stat().st_mtime_ns) for p in app.out.rglob("*")) == before


def test_status_lists_failures_and_says_when_all_is_done(app: App, sweep: Sweep) -> None:
    def task(cfg: DictConfig) -> float:
        if HydraConfig.get().job.num in (1, 2):
            raise ValueError("no such layer")
        return 1.0

    sweep(task, FEW, RANDOM)
    shown = status("out", cwd=app.folder).stdout
    assert "complete; 4 of 4 trials done (2 complete, 2 fail)" in shown
    assert "2 ×" in shown
    assert "ValueError: no such layer" in shown


def test_status_where_there_is_nothing_is_one_line(tmp_path: Path) -> None:
    done = status(str(tmp_path), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path} holds no study")
    assert done.stderr.count("\n") == 1
