"""Trials as jobs of a SLURM cluster, by submitit."""

import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from trimtab.errors import SweepError
from trimtab.sweep.executors import worker
from trimtab.sweep.executors.local import TimedOut, WorkerDied, needing

POLL_S = 0.2
JOBS = "jobs.txt"


class Submitit:
    """Runs each call as a job of its own, handed over by files in a folder that all nodes see.

    Jobs that a killed sweep left in the queue are cancelled before the next one begins: their trials are run again.

    Args:
        workers: jobs at once, queued ones included.
        timeout_s: seconds that a job may run; SLURM ends it in the minute after.
        folder: for scripts, logs and results of the jobs.
        cluster: slurm, or local for processes of this machine.
        parameters: of `submitit.AutoExecutor.update_parameters`, e.g. `{gpus_per_node: 1, slurm_partition: long}`.
        poll_s: seconds between two looks at what has ended.

    Raises:
        SweepError: submitit is not installed, there is no such cluster, or it has no such parameter.
    """

    def __init__(
        self,
        workers: int,
        timeout_s: float | None = None,
        folder: str = "submitit",
        cluster: str = "slurm",
        parameters: Mapping[str, Any] | None = None,
        poll_s: float | None = None,
    ) -> None:
        with needing("submitit", "slurm", "processes"):
            import cloudpickle
            import submitit
        self.workers = workers
        self._dumps = cloudpickle.dumps
        self._submitit: Any = submitit
        self._timeout_s, self._cluster = timeout_s, cluster
        self._folder = Path(folder)
        self._poll_s = poll_s or (POLL_S if cluster == "local" else 5.0)
        self._executor = self._made(dict(parameters or {}))
        self._fn: Callable[..., Any] | None = None
        self._payload = b""
        self._running: dict[Any, Future[Any]] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def _made(self, parameters: dict[str, Any]) -> Any:
        try:
            executor = self._submitit.AutoExecutor(self._folder, cluster=self._cluster)
            if self._timeout_s is not None:
                executor.update_parameters(timeout_min=max(1, round(self._timeout_s / 60 + 0.5)))
            executor.update_parameters(name="trimtab", **parameters)
        except (RuntimeError, ValueError, NameError, TypeError) as e:
            raise SweepError(
                f"hydra.sweeper.executor: submitit cannot run jobs on {self._cluster!r}: {e}; mend `cluster` and "
                "`parameters`, or take cluster=local"
            ) from e
        return executor

    def submit(self, fn: Callable[..., Any], /, *args: Any) -> "Future[Any]":
        """See `Executor`."""
        if fn is not self._fn:
            self._fn, self._payload = fn, worker.packed(fn)
        parent = os.getpid() if self._cluster == "local" else None
        job = self._executor.submit(_call, self._payload, self._dumps(args), parent, self._timeout_s)
        with (self._folder / JOBS).open("a") as file:
            file.write(f"{job.job_id}\n")
        future: Future[Any] = Future()
        with self._lock:
            self._running[job] = future
        return future

    def _watch(self) -> None:
        """Settles the futures of ended jobs; the only thread that asks SLURM."""
        while not self._ended.wait(self._poll_s):
            with self._lock:
                running = list(self._running)
            for job in running:
                if job.done():
                    with self._lock:
                        future = self._running.pop(job)
                    self._settle(job, future)

    def _settle(self, job: Any, future: "Future[Any]") -> None:
        try:
            if self._cluster == "local" and not job.paths.result_pickle.exists():
                raise self._submitit.core.utils.UncompletedJobError  # it would wait 15 s for a slow file system
            error, value = job.result()
        except self._submitit.core.utils.UncompletedJobError as e:
            error, value = self._death(job, e), None
        except Exception as e:
            error, value = e, None
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)

    def _death(self, job: Any, error: Exception) -> Exception:
        state = str(job.state)
        if state == "TIMEOUT":
            return TimedOut.after(self._timeout_s)
        crashed = isinstance(error, self._submitit.core.utils.FailedJobError) or state in ("FAILED", "NODE_FAIL")
        how = f"job {job.job_id} ended without a result ({state}); its log is {job.paths.stderr}"
        return WorkerDied(how, crashed=crashed, memory=state.startswith("OUT_OF_ME"))

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        left = self._folder / JOBS
        for job_id in left.read_text().split() if left.exists() else ():
            self._cancel(self._executor.job_class(self._folder, job_id))
        left.write_text("")
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def _cancel(self, job: Any) -> None:
        with suppress(Exception):  # it has ended, or belongs to another cluster
            job.cancel(check=False)

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        with self._lock:
            for job in self._running:
                self._cancel(job)


def _call(fn: bytes, args: bytes, parent: int | None, timeout_s: float | None) -> Any:
    """In the job: what the call raised, or None, and what it returned."""
    from trimtab.sweep.executors.local import Inline

    future = Inline(1, timeout_s).submit(worker.call_of, fn, args, parent)
    error = future.exception()
    return (error, None) if error is not None else (None, future.result())
