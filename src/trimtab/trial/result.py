"""What a trial returns, and its files."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import TrimtabError
from trimtab.paths import atomic, read_json, write_json

if TYPE_CHECKING:
    from torch import Tensor

RESULT, CLOCK, EXAMPLES, WEIGHTS = "result.json", "timing.json", "validation.npz", "weights.pt"
"""A trial's files."""

_PLAIN = ("value", "best_epoch", "epochs", "curves", "best", "parameters", "batch_size", "steps")
_CLOCK = ("seconds", "peak_memory_mb", "stack_epochs")


@dataclass(frozen=True, eq=False)
class TrialResult:
    """One trained trial.

    Attributes:
        value: the objective at the best epoch.
        best_epoch: counted from 1; of equal epochs the first.
        epochs: epochs run.
        curves: a row per epoch: epoch (from 1), train/loss (what was trained on, during the epoch), val/loss,
            val/accuracy or val/mae, the objective, lr (at the epoch's first step).
        best: every metric of the task at the best epoch.
        per_example: validation results: (epochs, ceil(rows / 8)) uint8, hits packed by `np.packbits`; for
            regression (epochs, rows) float16, squared errors of the standardised target, at most 65504.
        parameters: numbers that were trained.
        batch_size: rows of a full batch: what `all` and `auto` came to.
        steps: optimizer steps.
        weights: the network's state_dict at the best epoch, on the CPU; empty when loaded.
        seconds: wall time.
        stack_epochs: its share of the epochs of the stacks that it was in; its epochs, if it was alone.
        peak_memory_mb: MiB, on CUDA of the device by this trial, else the most that the process ever had.
    """

    value: float
    best_epoch: int
    epochs: int
    curves: tuple[dict[str, float], ...]
    best: dict[str, float]
    per_example: NDArray[Any]
    parameters: int
    batch_size: int
    steps: int
    weights: dict[str, "Tensor"] = field(repr=False)
    seconds: float
    peak_memory_mb: float
    stack_epochs: float = 0.0


def save_result(folder: Path, result: TrialResult) -> None:
    """Writes result.json, timing.json, validation.npz and weights.pt.

    Equal results give equal bytes, but for timing.json. result.json comes last: where it is, the rest is.
    """
    import torch  # here and not above: readers do without

    # From open files: from a path, torch would write its name into the file, and numpy append a suffix to it.
    with atomic(folder / WEIGHTS) as path, path.open("wb") as file:
        torch.save(result.weights, file)
    with atomic(folder / EXAMPLES) as path, path.open("wb") as file:
        np.savez_compressed(file, per_example=result.per_example)
    write_json(folder / CLOCK, {name: getattr(result, name) for name in _CLOCK})
    write_json(folder / RESULT, {name: getattr(result, name) for name in _PLAIN})


def load_result(folder: Path) -> TrialResult:
    """Reads what `save_result` wrote, but for the weights, which may have been dropped since.

    Raises:
        TrimtabError: a file is missing or damaged.
    """
    plain = read_json(folder / RESULT)
    plain["curves"] = tuple(plain["curves"])
    return TrialResult(**plain, **read_json(folder / CLOCK), per_example=_per_example(folder / EXAMPLES), weights={})


def _per_example(path: Path) -> NDArray[Any]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            found: NDArray[Any] = stored["per_example"]
            return found
    except (OSError, EOFError, ValueError, KeyError, BadZipFile) as e:
        raise TrimtabError(f"{path} is missing or damaged ({e}); delete its folder and run the trial again") from e
