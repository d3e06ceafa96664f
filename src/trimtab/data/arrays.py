"""What a network is trained on: arrays, and the facts about the data that a model must know. numpy only."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

Task = Literal["classification", "regression"]


@dataclass(frozen=True)
class Problem:
    """What a model must know of the data.

    Attributes:
        shape: of one preprocessed example: (features,) of a table, (channels, length) of a sequence,
            (channels, height, width) of an image.
        outputs: number of classes, or 1.
        classes: names of the classes in the order of the outputs; empty for regression.
        target_mean: of the training rows; 0.0 for classification.
        target_std: of the training rows; regression targets are standardised with it; 1.0 for classification.
        class_weights: one weight per class, for the training loss only.
    """

    task: Task
    shape: tuple[int, ...]
    outputs: int
    classes: tuple[str, ...]
    target_mean: float
    target_std: float
    class_weights: tuple[float, ...] | None

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> "Problem":
        """From what JSON has made of it."""
        facts: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in said.items()}
        return cls(**facts)

    @property
    def features(self) -> int:
        """Numbers that one example consists of."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Arrays:
    """Preprocessed rows.

    Attributes:
        x: (rows, *shape) float32.
        y: (rows,) int64 class numbers, or float32 standardised targets.
    """

    x: NDArray[np.float32]
    y: NDArray[Any]

    @property
    def flat(self) -> NDArray[np.float32]:
        """(rows, features), as models want them that know no neighbours."""
        return self.x.reshape(len(self.x), math.prod(self.x.shape[1:]))


R = TypeVar("R")


@dataclass(frozen=True, eq=False)
class Parts(Generic[R]):
    """What networks are tuned on: arrays, or rows where they are trained. They are shared: never write into them.

    Attributes:
        train: rows to learn from.
        val: rows to compare epochs by.
        problem: what they mean.
    """

    train: R
    val: R
    problem: Problem
