"""What `task.population` is given: trials that are run together."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from trimtab.sweep.context import Notes, noting


@dataclass(frozen=True)
class Trial:
    """One of the trials that `task.population` is given.

    Attributes:
        number: the trial's.
        seed: the trial's own.
        cfg: what the task would get, interpolations resolved.
        directory: the trial's.
        job: the whole configuration, `hydra` included.
        notes: what the trial has told.
    """

    number: int
    seed: int
    cfg: DictConfig
    directory: Path
    job: DictConfig
    notes: Notes

    def report(self, step: int, value: float) -> None:
        """See `trimtab.report`."""
        with self.active():
            self.notes.report(int(step), float(value))

    @contextmanager
    def active(self) -> Iterator[None]:
        """Inside, `trimtab.report`, `record`, `constraint` and `HydraConfig` are this trial's."""
        instance = HydraConfig.instance()
        before, instance.cfg = instance.cfg, self.job  # type: ignore[assignment]
        try:
            with noting(self.notes):
                yield
        finally:
            instance.cfg = before


class PopulationTask(Protocol):
    """What a task function carries as its attribute `population`."""

    def __call__(self, trials: Sequence[Trial]) -> Iterable[tuple[int, Any]]:
        """Runs trials together; yields the position of each in `trials` with what the task would return for it.

        An exception in its place is what the task would raise.
        """
