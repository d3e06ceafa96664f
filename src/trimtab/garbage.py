"""Python looks through all that was imported for garbage: after torch, Lightning and MLflow half a second each time."""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache


@contextmanager
def uncollected() -> Iterator[None]:
    """Around long imports: they are a sixth quicker; all that is in memory then is looked through no more."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collects:
            gc.enable()


@cache
def leave_quickly() -> None:
    """Has the process end without a last look: a second less."""
    atexit.register(gc.freeze)
