"""What runs in a worker process: the call that came with it, once per trial; ends with the sweeper."""

import gc
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from multiprocessing import connection, parent_process
from typing import Any

from trimtab.sweep.executors.machine import gpus, processors

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_MAX_THREADS")

_payload = b""
_loaded: Callable[..., Any] | None = None
_frozen = False


def share(slot: int, workers: int, threads: int | None = None) -> dict[str, str]:
    """Environment of the worker in `slot`: its part of the processors, and one GPU, so that workers don't fight.

    What the environment sets already stays.
    """
    number = threads or max(1, processors() // workers)
    env = {name: str(number) for name in THREADS if threads or name not in os.environ}
    if devices := gpus():
        env["CUDA_VISIBLE_DEVICES"] = devices[slot % len(devices)]
    return env


def begin(payload: bytes, env: Mapping[str, str]) -> None:
    """Prepares a worker process: what it will run, its share of the machine, and its end."""
    global _payload
    _payload = payload
    gc.freeze()  # what it was forked with, if it was, see uncollected.py
    gc.enable()
    os.environ.update(env)
    if "torch" in sys.modules and THREADS[0] in env:  # imported with the main module, before the environment was set
        sys.modules["torch"].set_num_threads(int(env[THREADS[0]]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # for processes that a trial starts
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # pebble would make it an exit of the worker's own
    threading.Thread(target=_end_with_parent, daemon=True).start()


def load() -> None:
    """Imports what the call needs, outside of the time that a trial may take."""
    global _loaded
    if _loaded is None:
        import cloudpickle

        _loaded = cloudpickle.loads(_payload)


def call(args: bytes) -> Any:
    """Runs the worker's function.

    What the first call has imported is left out of garbage collection, see `executors.Inline`.
    """
    global _frozen
    import cloudpickle

    load()
    assert _loaded is not None
    try:
        return _loaded(*cloudpickle.loads(args))
    finally:
        if not _frozen:
            gc.freeze()
            _frozen = True


def _end_with_parent() -> None:
    """Ends the worker when the sweeper's process is gone, so that no orphan writes any more."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def packed(fn: Callable[..., Any]) -> bytes:
    """A function for `call_of`, with the folders that its modules are imported from."""
    import cloudpickle

    return bytes(cloudpickle.dumps((sys.path, cloudpickle.dumps(fn))))


def call_of(fn: bytes, args: bytes, parent: int | None) -> Any:
    """Runs a call in a process that somebody else has started, and may use again.

    Args:
        fn: what `packed` made.
        args: the arguments, pickled.
        parent: the sweeper's process, if it is on this machine: the call's process ends with it.
    """
    global _packed, _payload, _loaded, _watched
    if fn != _packed:
        path, payload = pickle.loads(fn)
        sys.path += [folder for folder in path if folder not in sys.path]
        _packed, _payload, _loaded = fn, payload, None
    if parent is not None and parent != _watched:
        _watched = parent
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    return call(args)


_packed = b""
_watched: int | None = None


def _end_with(process: int) -> None:
    while True:
        time.sleep(0.5)
        try:
            os.kill(process, 0)
        except OSError:
            os._exit(1)
