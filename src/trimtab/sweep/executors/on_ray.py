"""Trials on a ray cluster: an existing one by its address, or one that is started here and ends with the sweep."""

import os
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Self

from trimtab.errors import Outage, SweepError
from trimtab.sweep.executors import worker
from trimtab.sweep.executors.local import TimedOut, WorkerDied, needing
from trimtab.sweep.executors.machine import processors


class Ray:
    """Runs each call as a ray task.

    Ray keeps its worker processes, so that they import once, and gives each the GPUs that it has asked for.

    Args:
        workers: calls at once.
        timeout_s: seconds that a call may take from being handed over to ray; waiting for a free node counts.
        address: of a cluster (`auto`, `ray://host:10001`); null starts one here.
        cpus: processors per trial.
        gpus: GPUs per trial; 0.5 puts two trials on one.
        resources: others by name, as the cluster's nodes offer them.

    Raises:
        SweepError: ray is not installed, or the cluster cannot be reached.
    """

    def __init__(
        self,
        workers: int,
        timeout_s: float | None = None,
        address: str | None = None,
        cpus: float = 1,
        gpus: float = 0,
        resources: Mapping[str, float] | None = None,
    ) -> None:
        with needing("ray", "ray", "processes"):
            import cloudpickle
            import ray
        self.workers = workers
        self._timeout_s, self._address = timeout_s, address
        self._ray: Any = ray
        self._dumps = cloudpickle.dumps
        self._options = {"num_cpus": cpus, "num_gpus": gpus, "resources": dict(resources or {}), "max_retries": 0}
        self._fn: Callable[..., Any] | None = None
        self._payload: Any = None
        self._running: set[Any] = set()

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> "Future[Any]":
        """See `Executor`. `fn` goes to the cluster's object store once, as long as it stays the same object."""
        if fn is not self._fn:
            self._fn, self._payload = fn, self._ray.put(worker.packed(fn))
        remote = self._ray.remote(_call).options(**self._options)
        reference = remote.remote(self._payload, self._dumps(args), os.getpid() if self._address is None else None)
        self._running.add(reference)
        future: Future[Any] = Future()
        late = threading.Event()
        timer = threading.Timer(self._timeout_s or 0, self._stop, (reference, late))
        timer.daemon = True
        if self._timeout_s is not None:
            timer.start()
        reference.future().add_done_callback(lambda done: self._finish(reference, done, future, timer, late))
        return future

    def _stop(self, reference: Any, late: threading.Event) -> None:
        late.set()
        self._ray.cancel(reference, force=True)

    def _finish(
        self,
        reference: Any,
        done: "Future[Any]",
        future: "Future[Any]",
        timer: threading.Timer,
        late: threading.Event,
    ) -> None:
        timer.cancel()
        self._running.discard(reference)
        error = done.exception()
        if error is None:
            future.set_result(done.result())
        elif late.is_set():
            future.set_exception(TimedOut.after(self._timeout_s))
        else:
            future.set_exception(self._translated(error))

    def _translated(self, error: BaseException) -> BaseException:
        known = self._ray.exceptions
        if isinstance(error, known.RayTaskError):
            cause: BaseException = error.cause
            return cause
        if isinstance(error, known.OutOfMemoryError):
            return WorkerDied("killed by ray for want of memory", memory=True)
        if isinstance(error, known.WorkerCrashedError | known.NodeDiedError | known.TaskCancelledError):
            return WorkerDied("its ray worker died")
        return Outage(
            f"ray does not answer ({type(error).__name__}); start the cluster, then run the same command again"
        )

    def __enter__(self) -> Self:
        own = {"num_cpus": processors(), "include_dashboard": False} if self._address is None else {}
        try:
            _knock(self._address)
            self._ray.init(address=self._address or "local", log_to_driver=False, logging_level="ERROR", **own)
        except (OSError, RuntimeError, ValueError) as e:
            raise SweepError(
                f"hydra.sweeper.executor.address={self._address}: no ray cluster answers ({e}); start it, or leave the "
                "address null for one on this machine"
            ) from e
        return self

    def __exit__(self, *_: object) -> None:
        for reference in list(self._running):
            self._ray.cancel(reference, force=True)
        self._ray.shutdown()


def _knock(address: str | None) -> None:
    """Ray itself would knock for minutes at a port where nobody listens.

    Raises:
        OSError: nobody does.
    """
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if port.isdigit():
        with socket.create_connection((host, int(port)), timeout=10):
            pass


def _call(fn: bytes, args: bytes, parent: int | None) -> Any:
    """In ray's worker."""
    return worker.call_of(fn, args, parent)
