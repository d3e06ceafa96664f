"""Ctrl-C: once, no further trial is started and the running ones finish; twice, they are dropped."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Interrupt:
    """Whether somebody has asked for the end.

    Attributes:
        asked: once.
    """

    def __init__(self) -> None:
        self.asked = False

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Catches SIGINT inside; without effect outside the main thread, where Python delivers no signals."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGINT, self._ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _ask(self, *_: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        os.write(2, b"\nno further trial is started; the running ones finish (Ctrl-C again drops them)\n")
