"""What a trial alone keeps to go on from after a pause or a kill: bit for bit where it was, on the same machine."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint

from trimtab.errors import Outage, Pruned
from trimtab.paths import atomic
from trimtab.trial.recorder import Notes, OnEpoch, Recorder

log = logging.getLogger(__name__)
EVERY = 60.0
"""Seconds between two checkpoints: what a kill costs at most, beside the epoch that it cuts."""


@dataclass(frozen=True)
class Kept:
    """Where a trial keeps its state.

    Attributes:
        paused: written when whoever watches the trial ends it by `Pruned`: it may be sent on. None: it never is.
        going: written every minute, removed at the end. None: the trial is run alone, and a kill ends it.
    """

    paused: Path | None = None
    going: Path | None = None

    @classmethod
    def of(cls, pauses: Path | None, trial: Path | None) -> "Kept":
        """Files in these folders: one that outlives pauses, and the trial's own."""
        return cls(pauses and pauses / "trial.ckpt", trial and trial / "going.ckpt")


class Keeper(Checkpoint):
    """Writes Lightning's checkpoints, and adds to them what Lightning doesn't know.

    It is a `Checkpoint` because Lightning calls these after the module, whose epoch is noted by then.

    Args:
        kept: where to.
        recorder: its notes go along.
        on_epoch: told again what it was told after the last pause, which a kill has made it forget.

    Attributes:
        streams: gives the trial's generators by name, from the start of its training on.
    """

    def __init__(self, kept: Kept, recorder: Recorder, on_epoch: OnEpoch | None) -> None:
        self.streams: Callable[[], dict[str, torch.Generator]] = dict
        self._kept, self._recorder, self._on_epoch = kept, recorder, on_epoch
        self._state: dict[str, Any] | None = None
        self._told = 0
        self._seconds_before = 0.0
        self._begun = self._saved = time.monotonic()

    @property
    def start(self) -> Path | None:
        """The latest checkpoint that can be read; None where the trial begins."""
        there = (path for path in (self._kept.going, self._kept.paused) if path is not None and path.exists())
        return next(filter(_readable, there), None)

    @property
    def seconds(self) -> float:
        """That the trial has trained, before its last pause too."""
        return self._seconds_before + time.monotonic() - self._begun

    def state_dict(self) -> dict[str, Any]:
        """Goes into the checkpoint."""
        return {
            "notes": vars(self._recorder.notes()),
            "told": self._told,
            "seconds": self.seconds,
            "streams": {name: generator.get_state() for name, generator in self.streams().items()},
            "global": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Waits for `on_train_start`: the module makes its generators after this."""
        self._state = state_dict

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Puts everything back where it was."""
        if (state := self._state) is None:
            return
        self._recorder.resume(Notes(**state["notes"]))
        for name, generator in self.streams().items():
            generator.set_state(state["streams"][name])
        torch.set_rng_state(state["global"])
        if state["cuda"]:
            torch.cuda.set_rng_state_all(state["cuda"])
        self._told, self._seconds_before = state["told"], state["seconds"]
        if self._on_epoch is not None:
            for row in self._recorder.curves[self._told :]:
                self._on_epoch(int(row["epoch"]), dict(row))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Saves, unless it has lately."""
        if self._kept.going is not None and time.monotonic() - self._saved >= EVERY:
            self._save(trainer, self._kept.going)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Saves a trial that is paused. What ended by itself is not gone on with, unlike what was cut off."""
        if isinstance(exception, Pruned) and self._kept.paused is not None:
            self._told = len(self._recorder.curves)
            self._save(trainer, self._kept.paused)
        if isinstance(exception, Exception) and not isinstance(exception, Outage):
            self.over()

    def over(self) -> None:
        """Drops what only a kill would have needed."""
        if self._kept.going is not None:
            self._kept.going.unlink(missing_ok=True)

    def _save(self, trainer: pl.Trainer, path: Path) -> None:
        with atomic(path) as new:
            trainer.save_checkpoint(new)
        self._saved = time.monotonic()


def _readable(path: Path) -> bool:
    """Whether a checkpoint is whole. It is our own file, and a user's module may keep anything in it."""
    try:
        torch.load(path, map_location="cpu", weights_only=False)
    except Exception as e:  # whatever reading half a file may raise
        log.warning("%s is damaged (%s): the trial goes on from before it", path, type(e).__name__)
        return False
    return True
