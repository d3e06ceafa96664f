"""Where trials run. The seam is `submit(fn, *args) → Future`, as in concurrent.futures."""

import gc
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import connection, get_context, parent_process
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from trimtab.errors import SweepError

T = TypeVar("T")
R = TypeVar("R")


class WorkerDied(Exception):
    """The process that ran a call ended before the call did; says how."""


class Executor(Protocol):
    """Runs calls; as a context manager it stops its workers on leaving, whatever they do."""

    workers: int

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> "Future[Any]":
        """Runs `fn(*args)`; the future fails with WorkerDied if its process was killed."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class Inline:
    """Runs each call at once, here.

    What is in memory when it starts, above all imported libraries, is left out of garbage collection: one full
    collection of torch, Lightning and MLflow takes half a second.
    """

    def __init__(self, workers: int) -> None:
        self.workers = 1

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> "Future[Any]":
        """See `Executor`; an interrupt or exit inside the call goes through."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args))
        except Exception as e:
            future.set_exception(e)
        return future

    def __enter__(self) -> Self:
        gc.freeze()
        return self

    def __exit__(self, *_: object) -> None:
        gc.unfreeze()


class Processes:
    """Warm worker processes, each in a pool of its own.

    A pool that several workers share has locks that a killed one can take with it; here nothing is
    shared, and a dead worker's pool is replaced. Workers are spawned, import once, ignore SIGINT
    and end with the sweeper's process, even if that is killed.

    Raises:
        SweepError: pebble or cloudpickle is not installed.
    """

    def __init__(self, workers: int) -> None:
        try:
            import cloudpickle
            import pebble
        except ImportError as e:
            raise SweepError(
                f"hydra/sweeper/executor=processes needs {e.name}; run pip install 'trimtab[all]', "
                "or take hydra/sweeper/executor=inline"
            ) from e
        self.workers = workers
        self._dumps = cloudpickle.dumps
        self._pebble = pebble
        self._fn: Callable[..., Any] | None = None
        self._payload = b""
        self._idle: list[Any] = []
        self._pools: set[Any] = set()
        self._spent: list[Any] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> "Future[Any]":
        """See `Executor`. `fn` travels to a worker once, as long as it stays the same object."""
        if fn is not self._fn:
            self._fn, self._payload = fn, self._dumps(fn)
            self._spent += self._idle
            self._idle = []
        self._stop(self._spent)
        pool = self._idle.pop() if self._idle else self._pool()
        future: Future[Any] = Future()
        try:
            inner = pool.schedule(_call, args=(self._dumps(args),))
        except RuntimeError:  # its worker was killed while idle
            self._spent.append(pool)
            return self.submit(fn, *args)
        inner.add_done_callback(lambda done: self._finish(pool, fn, done, future))
        return future

    def _pool(self) -> Any:
        pool = self._pebble.ProcessPool(
            max_workers=1,
            context=get_context("spawn"),
            initializer=_begin,
            initargs=(self._payload,),
        )
        self._pools.add(pool)
        return pool

    def _finish(self, pool: Any, fn: Callable[..., Any], done: "Future[Any]", future: "Future[Any]") -> None:
        """Runs in the pool's thread, which must not stop its own pool."""
        error = CancelledError() if done.cancelled() else done.exception()
        died = isinstance(error, self._pebble.ProcessExpired | BrokenProcessPool)
        reusable = fn is self._fn and not died
        (self._idle if reusable else self._spent).append(pool)
        if error is None:
            future.set_result(done.result())
        else:
            future.set_exception(WorkerDied(_how(error)) if died else error)

    def _stop(self, pools: list[Any]) -> None:
        while pools:
            pool = pools.pop()
            self._pools.discard(pool)
            pool.stop()
            pool.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop(list(self._pools))


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


_payload = b""
_loaded: Callable[..., Any] | None = None


def _begin(payload: bytes) -> None:
    """In a worker: keeps the pickled function for the first call, so that its errors are the call's."""
    global _payload
    _payload = payload
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _call(args: bytes) -> Any:
    """In a worker: runs the function. The first call imports what it needs; see `Inline` for the freezing."""
    global _loaded
    import cloudpickle

    if _loaded is not None:
        return _loaded(*cloudpickle.loads(args))
    _loaded = cloudpickle.loads(_payload)
    assert _loaded is not None
    try:
        return _loaded(*cloudpickle.loads(args))
    finally:
        gc.freeze()


def _end_with_parent() -> None:
    """Ends the worker when the sweeper's process is gone, so that no orphan writes any more."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _how(error: BaseException) -> str:
    code = getattr(error, "exitcode", None)
    if isinstance(code, int) and code < 0:
        return f"killed by signal {-code}"
    return f"ended with exit code {code}" if code is not None else str(error)
