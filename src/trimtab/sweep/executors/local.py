"""Where trials run. The seam is `submit(fn, *args) → Future`, as in concurrent.futures."""

import gc
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import forkserver, get_all_start_methods, get_context, resource_tracker, set_forkserver_preload
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from hydra.core.utils import env_override

from trimtab.errors import SweepError
from trimtab.sweep.executors import worker
from trimtab.sweep.executors.machine import memory_kills

T = TypeVar("T")
R = TypeVar("R")


class WorkerDied(Exception):
    """The process that ran a call ended before the call did; says how.

    Attributes:
        crashed: it ended by itself (segmentation fault, exit); False if it was killed from outside.
        memory: the kernel killed it for want of memory.
    """

    def __init__(self, how: str, *, crashed: bool = False, memory: bool = False) -> None:
        super().__init__(how)
        self.crashed, self.memory = crashed, memory


class TimedOut(Exception):
    """A call took longer than it may; says how long that is."""

    @classmethod
    def after(cls, timeout_s: float | None) -> "TimedOut":
        """The error of a call that was stopped after so many seconds."""
        return cls(f"timed out after {timeout_s:g} s (hydra.sweeper.timeout_s)")


class Executor(Protocol):
    """Runs calls; as a context manager it stops its workers on leaving, whatever they do."""

    workers: int

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> "Future[Any]":
        """Runs `fn(*args)`; the future fails with WorkerDied if its process ended, with TimedOut if time was up."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


@contextmanager
def needing(executor: str, extra: str, instead: str) -> Iterator[None]:
    """Around the imports of an executor's libraries: says what to install where one is missing."""
    try:
        yield
    except ImportError as e:
        raise SweepError(
            f"hydra/sweeper/executor={executor} needs {e.name}; run pip install 'trimtab[{extra}]', or take "
            f"hydra/sweeper/executor={instead}"
        ) from e


class Inline:
    """Runs each call at once, here.

    What is in memory when it starts, above all imported libraries, is left out of garbage collection: one full
    collection of torch, Lightning and MLflow takes half a second.

    Args:
        workers: there is always one.
        timeout_s: seconds that a call may take, kept by an alarm between two steps of Python: native code that does not
            return is not stopped, other than in processes. Without effect outside the main thread.
    """

    def __init__(self, workers: int, timeout_s: float | None = None) -> None:
        self.workers = 1
        self._timeout_s = timeout_s

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> "Future[Any]":
        """See `Executor`; an interrupt or exit inside the call goes through."""
        future: Future[Any] = Future()
        try:
            with _alarm(self._timeout_s):
                future.set_result(fn(*args))
        except _Alarm:
            future.set_exception(TimedOut.after(self._timeout_s))
        except Exception as e:
            future.set_exception(e)
        return future

    def __enter__(self) -> Self:
        gc.freeze()
        return self

    def __exit__(self, *_: object) -> None:
        gc.unfreeze()


class _Alarm(BaseException):
    """Time is up; no Exception, so that no task takes it for one of its own."""


@contextmanager
def _alarm(timeout_s: float | None) -> Iterator[None]:
    if timeout_s is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_: object) -> None:
        raise _Alarm

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, timeout_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _deaf() -> Iterator[None]:
    """Threads and processes started inside do not hear SIGINT: a worker that still imports would die of a Ctrl-C."""
    resource_tracker.ensure_running()  # where it is started on the way, it opens the ears again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Processes:
    """Warm worker processes, each in a pool of its own.

    A pool that several workers share has locks that a killed one can take with it; here nothing is
    shared, and a dead worker's pool is replaced. Workers are spawned, import once, ignore SIGINT
    and end with the sweeper's process, even if that is killed.

    Args:
        workers: how many.
        timeout_s: seconds that a call may take; its worker is then killed and replaced. Imports don't count.
        preload: modules to import once, in a process that workers are forked from, which saves each its imports;
            without any, workers are spawned.
        threads: of each worker; null shares the processors out among them. Results that hang on the number of threads
            (large matrix products) need it fixed to be the same under other worker counts.

    Raises:
        SweepError: pebble or cloudpickle is not installed.
    """

    def __init__(
        self, workers: int, timeout_s: float | None = None, threads: int | None = None, preload: Sequence[str] = ()
    ) -> None:
        with needing("processes", "all", "inline"):
            import cloudpickle
            import pebble
        self.workers = workers
        self._timeout_s, self._threads, self._preload = timeout_s, threads, preload
        self._dumps = cloudpickle.dumps
        self._pebble = pebble
        self._fn: Callable[..., Any] | None = None
        self._payload = b""
        self._idle: list[Any] = []
        self._spent: list[Any] = []
        self._slots: dict[Any, int] = {}

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> "Future[Any]":
        """See `Executor`. `fn` travels to a worker once, as long as it stays the same object."""
        if fn is not self._fn:
            self._fn, self._payload = fn, self._dumps(fn)
            self._spent += self._idle
            self._idle = []
        self._stop(self._spent)
        pool = self._idle.pop() if self._idle else self._pool()
        future: Future[Any] = Future()
        memory = memory_kills()
        try:
            with _deaf():
                inner = pool.schedule(worker.call, args=(self._dumps(args),), timeout=self._timeout_s)
        except RuntimeError:  # its worker was killed while idle
            self._spent.append(pool)
            return self.submit(fn, *args)
        inner.add_done_callback(lambda done: self._finish(pool, fn, done, future, memory))
        return future

    def _pool(self) -> Any:
        slot = min(set(range(self.workers + len(self._slots))) - set(self._slots.values()))
        share = worker.share(slot, self.workers, self._threads)
        pool = self._pebble.ProcessPool(
            max_workers=1,
            context=get_context("forkserver" if preloading(self._preload, share) else "spawn"),
            initializer=worker.begin,
            initargs=(self._payload, share),
        )
        self._slots[pool] = slot
        if self._timeout_s is not None:
            with _deaf():
                pool.schedule(worker.load)
        return pool

    def _finish(
        self, pool: Any, fn: Callable[..., Any], done: "Future[Any]", future: "Future[Any]", memory: int
    ) -> None:
        """Runs in the pool's thread, which must not stop its own pool.

        Args:
            pool: where the call ran.
            fn: what ran.
            done: pebble's future.
            future: ours.
            memory: `memory_kills` when the call began.
        """
        error = CancelledError() if done.cancelled() else done.exception()
        died = isinstance(error, self._pebble.ProcessExpired | BrokenProcessPool)
        late = self._timeout_s is not None and isinstance(error, TimeoutError) and "Task timeout" in error.args
        reusable = fn is self._fn and not died and not late
        (self._idle if reusable else self._spent).append(pool)
        if error is None:
            future.set_result(done.result())
        elif late:
            future.set_exception(TimedOut.after(self._timeout_s))
        else:
            future.set_exception(_death(error, memory) if died else error)

    def _stop(self, pools: list[Any]) -> None:
        while pools:
            pool = pools.pop()
            self._slots.pop(pool, None)
            pool.stop()
            pool.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop(list(self._slots))


def preloading(modules: Sequence[str], env: dict[str, str]) -> bool:
    """Starts the process that imports modules for workers to come, unless it runs; early, it imports beside the caller.

    Args:
        modules: what it imports; none starts none.
        env: of the workers: libraries read their number of threads when they are imported.

    Returns:
        Whether there is one; some systems have none.
    """
    if not modules or "forkserver" not in get_all_start_methods():
        return False
    set_forkserver_preload(["trimtab.sweep.executors.uncollected", *modules])
    with env_override({k: v for k, v in env.items() if k in worker.THREADS}), _deaf():
        forkserver.ensure_running()
    return True


def completed(executor: Executor, fn: Callable[[T], R], items: Iterable[T]) -> Iterator[tuple[T, R]]:
    """Runs `fn` on each item, no more at once than there are workers; pairs in the order in which they end."""
    waiting = iter(items)
    running: dict[Future[R], T] = {executor.submit(fn, item): item for item in islice(waiting, executor.workers)}
    while running:
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            item = running.pop(future)
            for following in islice(waiting, 1):
                running[executor.submit(fn, following)] = following
            yield item, future.result()


def _death(error: BaseException, memory: int) -> WorkerDied:
    """How a worker ended; SIGKILL and SIGTERM come from outside, the other signals from the worker itself."""
    code = getattr(error, "exitcode", None)
    if not isinstance(code, int):
        return WorkerDied(str(error))
    if code >= 0:
        return WorkerDied(f"ended with exit code {code}", crashed=True)
    outside = -code in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    for_memory = -code == signal.SIGKILL and memory_kills() > memory
    return WorkerDied(f"killed by signal {-code}", crashed=not outside, memory=for_memory)
