"""One contract for every executor, and what only processes can do."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from pathlib import Path

import pytest

from trimtab.sweep.executors import Executor, Inline, Processes, WorkerDied


def double(x: int) -> int:
    if x < 0:
        raise ValueError(f"negative: {x}")
    return 2 * x


def die(x: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return x


def pid(_: int) -> int:
    return os.getpid()


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


class TestInline(ExecutorContract):
    @pytest.fixture
    def executor(self) -> Iterator[Executor]:
        with Inline(3) as executor:
            yield executor

    def test_there_is_one_worker(self) -> None:
        assert Inline(3).workers == 1


class TestProcesses(ExecutorContract):
    @pytest.fixture
    def executor(self) -> Iterator[Executor]:
        with Processes(2) as executor:
            yield executor

    def test_workers_stay_warm(self, executor: Executor) -> None:
        assert len({executor.submit(pid, 0).result(30) for _ in range(4)}) == 1

    def test_a_killed_worker_fails_its_call_only(self, executor: Executor) -> None:
        with pytest.raises(WorkerDied, match="killed by signal 9"):
            executor.submit(die, 0).result(30)
        assert executor.submit(double, 4).result(30) == 8

    def test_a_worker_killed_while_idle_costs_at_most_its_next_call(self, executor: Executor) -> None:
        os.kill(executor.submit(pid, 0).result(30), signal.SIGKILL)
        time.sleep(0.5)
        assert executor.submit(pid, 0).result(30) != os.getpid()


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, time\n"
        "from trimtab.sweep.executors import Processes\n"
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
