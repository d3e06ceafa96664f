"""One contract for every executor, and what only processes can do."""

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from pathlib import Path

import pytest

from trimtab.errors import SweepError
from trimtab.sweep.executors import worker
from trimtab.sweep.executors.local import Executor, Inline, Processes, TimedOut, WorkerDied
from trimtab.sweep.executors.machine import processors
from trimtab.sweep.executors.on_ray import Ray
from trimtab.sweep.executors.on_submitit import Submitit


def double(x: int) -> int:
    if x < 0:
        raise ValueError(f"negative: {x}")
    return 2 * x


def die(x: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return x


def crash(signal_number: int) -> None:
    os.kill(os.getpid(), signal_number)


def pid(_: int) -> int:
    return os.getpid()


def nap(seconds: float) -> float:
    """In steps of Python, as a task's loop is."""
    for _ in range(int(seconds * 100)):
        time.sleep(0.01)
    return seconds


def threads(_: int) -> dict[str, str]:
    return {name: os.environ[name] for name in worker.THREADS}


def collects(_: int) -> tuple[bool, bool]:
    return gc.isenabled(), gc.get_freeze_count() > 10_000


class ExecutorContract:
    """What the loop relies on."""

    @pytest.fixture
    def executor(self) -> Iterator[Executor]:
        raise NotImplementedError

    def test_results_come_back(self, executor: Executor) -> None:
        futures = [executor.submit(double, x) for x in range(executor.workers)]
        wait(futures, return_when=FIRST_COMPLETED)
        assert [f.result(30) for f in futures] == [2 * x for x in range(executor.workers)]

    def test_an_exception_is_the_futures(self, executor: Executor) -> None:
        with pytest.raises(ValueError, match="negative: -1"):
            executor.submit(double, -1).result(30)
        assert executor.submit(double, 1).result(30) == 2

    def test_closures_and_other_functions_can_follow(self, executor: Executor) -> None:
        assert executor.submit(double, 1).result(30) == 2
        offset = 5
        assert executor.submit(lambda x: x + offset, 1).result(30) == 6

    def test_a_call_that_takes_too_long_is_stopped_and_the_next_one_runs(self, executor: Executor) -> None:
        begun = time.monotonic()
        with pytest.raises(TimedOut, match="timed out after 2 s"):
            executor.submit(nap, 60).result(40)
        assert time.monotonic() - begun < 40
        assert executor.submit(double, 4).result(30) == 8


class WorkersContract(ExecutorContract):
    """What those that run calls in other processes do besides."""

    def test_calls_run_side_by_side(self, executor: Executor) -> None:
        futures = [executor.submit(pid, 0) for _ in range(2)]
        assert os.getpid() not in {f.result(30) for f in futures}
        begun = time.monotonic()
        futures = [executor.submit(nap, 0.5) for _ in range(2)]
        assert [f.result(30) for f in futures] == [0.5, 0.5]
        assert time.monotonic() - begun < 20

    def test_a_killed_worker_fails_its_call_only(self, executor: Executor) -> None:
        with pytest.raises(WorkerDied):
            executor.submit(die, 0).result(30)
        assert executor.submit(double, 4).result(30) == 8


class TestInline(ExecutorContract):
    @pytest.fixture
    def executor(self) -> Iterator[Executor]:
        with Inline(3, timeout_s=2) as executor:
            yield executor

    def test_there_is_one_worker(self) -> None:
        assert Inline(3).workers == 1


class TestProcesses(WorkersContract):
    @pytest.fixture
    def executor(self) -> Iterator[Executor]:
        with Processes(2, timeout_s=2) as executor:
            yield executor

    def test_workers_stay_warm(self, executor: Executor) -> None:
        assert len({executor.submit(pid, 0).result(30) for _ in range(4)}) == 1

    def test_a_worker_killed_while_idle_costs_at_most_its_next_call(self, executor: Executor) -> None:
        os.kill(executor.submit(pid, 0).result(30), signal.SIGKILL)
        time.sleep(0.5)
        assert executor.submit(pid, 0).result(30) != os.getpid()

    @pytest.mark.parametrize(
        ("call", "argument", "how", "crashed"),
        [
            (crash, signal.SIGKILL, "killed by signal 9", False),
            (crash, signal.SIGTERM, "killed by signal 15", False),
            (crash, signal.SIGSEGV, "killed by signal 11", True),
            (os._exit, 3, "exit code 3", True),
        ],
    )
    def test_a_crash_is_told_from_a_kill_from_outside(
        self, executor: Executor, call: Callable[[int], None], argument: int, how: str, crashed: bool
    ) -> None:
        with pytest.raises(WorkerDied, match=how) as caught:
            executor.submit(call, argument).result(30)
        assert (caught.value.crashed, caught.value.memory) == (crashed, False)

    def test_workers_share_the_processors(self, executor: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in worker.THREADS:
            monkeypatch.delenv(name, raising=False)
        assert set(executor.submit(threads, 0).result(30).values()) == {str(max(1, processors() // 2))}


@pytest.fixture(scope="module")
def ray() -> Iterator[Executor]:
    """Starting a cluster takes seconds."""
    pytest.importorskip("ray", reason="ray is not installed: pip install 'trimtab[ray]'")
    with Ray(2, timeout_s=4, cpus=0.5) as executor:
        wait([executor.submit(nap, 0.5) for _ in range(2)])  # its workers have started
        yield executor


@pytest.mark.slow
class TestRay(WorkersContract):
    @pytest.fixture
    def executor(self, ray: Executor) -> Executor:  # type: ignore[override]
        return ray

    def test_a_call_that_takes_too_long_is_stopped_and_the_next_one_runs(self, executor: Executor) -> None:
        with pytest.raises(TimedOut, match="timed out after 4 s"):
            executor.submit(nap, 60).result(40)
        assert executor.submit(double, 4).result(30) == 8

    def test_a_cluster_that_does_not_answer_is_said(self) -> None:
        pytest.importorskip("ray", reason="ray is not installed: pip install 'trimtab[ray]'")
        with pytest.raises(SweepError, match=r"no ray cluster answers"), Ray(1, address="127.0.0.1:1"):
            pass


class TestSubmitit(WorkersContract):
    @pytest.fixture
    def executor(self, tmp_path: Path) -> Iterator[Executor]:
        pytest.importorskip("submitit", reason="submitit is not installed: pip install 'trimtab[slurm]'")
        with Submitit(2, timeout_s=2, folder=str(tmp_path / "it's jobs"), cluster="local") as executor:
            yield executor

    def test_a_cluster_that_is_not_there_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(SweepError, match="submitit cannot run jobs on 'slurm'"):
            Submitit(1, folder=str(tmp_path))


@pytest.mark.parametrize(("slot", "gpu"), [(0, "2"), (1, "5"), (2, "2")])
def test_workers_take_turns_on_the_gpus(monkeypatch: pytest.MonkeyPatch, slot: int, gpu: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert worker.share(slot, 3)["CUDA_VISIBLE_DEVICES"] == gpu


def test_threads_asked_for_win_over_the_environment_and_that_over_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert "OMP_NUM_THREADS" not in worker.share(0, 2)
    assert worker.share(0, 2, threads=3)["OMP_NUM_THREADS"] == "3"


def test_forked_workers_collect_garbage_but_not_among_what_they_were_forked_with() -> None:
    with Processes(1, preload=["trimtab.paths"]) as executor:
        assert executor.submit(collects, 0).result() == (True, True)


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, time\n"
        "from trimtab.sweep.executors.local import Processes\n"
        "def slow(x):\n"
        "    print(os.getpid(), flush=True)\n"
        "    time.sleep(60)\n"
        "if __name__ == '__main__':\n"
        "    Processes(1).submit(slow, 1).result()\n"
    )
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 10
    while alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(worker)


def alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True
