"""What a network is trained on: arrays, and the facts about the data that a model must know. numpy only."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Task = Literal["classification", "regression"]


@dataclass(frozen=True)
class Problem:
    """What a model must know of the data.

    Attributes:
        features: columns of the preprocessed input.
        outputs: number of classes, or 1.
        classes: names of the classes in the order of the outputs; empty for regression.
        target_mean: of the training rows; 0.0 for classification.
        target_std: of the training rows; regression targets are standardised with it; 1.0 for classification.
        class_weights: one weight per class, for the training loss only.
    """

    task: Task
    features: int
    outputs: int
    classes: tuple[str, ...]
    target_mean: float
    target_std: float
    class_weights: tuple[float, ...] | None


@dataclass(frozen=True)
class Arrays:
    """Preprocessed rows.

    Attributes:
        x: (rows, features) float32.
        y: (rows,) int64 class numbers, or float32 standardised targets.
    """

    x: NDArray[np.float32]
    y: NDArray[Any]
