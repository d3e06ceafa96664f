"""What the comparisons train: for everybody the same rows, networks, losses, ranges, epochs and first trial.

Work A is the default search space of the MLP, B one MLP, C a 1-d CNN, D a 2-d CNN; B to D turn learning rate and
weight decay only, which members of one stack may each have their own value of.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trimtab.models.cnn import CNN
from trimtab.models.mlp import MLP
from trimtab.trial import optimizers

Settings = dict[str, Any]
"""Values by trimtab's dotted names: `optimizer`, `optimizer.lr`, `model.width`, `training.batch_size` …"""

NETWORKS: dict[str, Callable[..., nn.Module]] = {"mlp": MLP, "cnn": CNN}
CLASSES = 10


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    @property
    def text(self) -> str:
        """In Hydra's grammar; only fractions are typed anywhere."""
        inner = f"interval({self.low:g},{self.high:g})"
        return f"tag(log,{inner})" if self.log else inner

    def draw(self, random: np.random.Generator) -> float:
        """Uniform, or log-uniform."""
        half = 0.5 if self.whole else 0.0
        low, high = self.low - half, self.high + half
        u = math.exp(random.uniform(math.log(low), math.log(high))) if self.log else random.uniform(low, high)
        return round(u) if self.whole else u


@dataclass(frozen=True)
class Choice:
    """One of some options."""

    options: tuple[str | int, ...]

    def draw(self, random: np.random.Generator) -> str | int:
        """Each as likely as the others."""
        return self.options[random.integers(len(self.options))]


@dataclass(frozen=True)
class Work:
    """One comparison.

    Attributes:
        name: a letter; works of one name are measured together.
        data: an option of conf/data.
        model: an option of conf/model.
        sampler: who proposes, for all that search: tpe or random.
        first: the settings of the first trial, which is the default configuration; the others differ in the knobs.
        knobs: what is turned.
    """

    name: str
    data: str
    model: str
    sampler: str
    first: Mapping[str, Any]
    knobs: Mapping[str, Range | Choice]

    @property
    def title(self) -> str:
        """Names it on one line."""
        return f"{self.name} {self.data} {self.model}"

    @property
    def overrides(self) -> list[str]:
        """For trimtab: A is conf/search as it stands, the others are typed."""
        chosen = [f"data={self.data}", f"model={self.model}", f"hydra/sweeper/sampler={self.sampler}"]
        if self.name == "A":
            return chosen
        typed = {name: getattr(self.knobs.get(name), "text", value) for name, value in self.first.items()}
        return [*chosen, "search=none", *(f"{name}={value}" for name, value in typed.items())]

    def draws(self, trials: int) -> Iterator[Settings]:
        """Settings at random, for those that do not search; the default first."""
        random = np.random.default_rng(0)
        for number in range(trials):
            drawn = {name: knob.draw(random) for name, knob in self.knobs.items()}
            yield {**self.first, **(drawn if number else {})}


_ADAMW = {"optimizer": "adamw", "optimizer.lr": 1e-3, "optimizer.weight_decay": 0.01, "training.batch_size": 32}
_MLP = {**_ADAMW, "model.depth": 2, "model.width": 64, "model.dropout": 0.0}
_CNN = {**_ADAMW, "model.blocks": 3, "model.channels": 32, "model.kernel": 3}
_RATES = {"optimizer.lr": Range(1e-4, 1e-1, log=True), "optimizer.weight_decay": Range(1e-4, 1.0, log=True)}
_SPACE: Mapping[str, Range | Choice] = {
    # conf/search/mlp.yaml; `python -m benchmarks engine` compares the two. Momentum is SGD's alone.
    "optimizer": Choice(("adamw", "sgd")),
    "optimizer.lr": Range(1e-4, 1.0, log=True),
    "optimizer.momentum": Range(0.0, 0.99),
    "optimizer.weight_decay": Range(1e-4, 1.0, log=True),
    "training.batch_size": Choice((16, 32, 64, 128, 256)),
    "model.depth": Range(1, 4, whole=True),
    "model.width": Range(16, 256, log=True, whole=True),
    "model.dropout": Range(0.0, 0.5),
}

WORKS = (
    Work("A", "mnist1d", "mlp", "tpe", _MLP, _SPACE),
    Work("A", "digits", "mlp", "tpe", _MLP, _SPACE),
    Work("B", "mnist1d", "mlp", "random", {**_MLP, "model.width": 100}, _RATES),
    Work("C", "mnist1d", "cnn", "random", _CNN, _RATES),
    Work("D", "digits", "cnn", "random", _CNN, _RATES),
)


@dataclass(frozen=True)
class Data:
    """Training and validation rows as `prepare` left them: x (rows, *shape), y (rows,) classes."""

    x: np.ndarray
    y: np.ndarray
    val_x: np.ndarray
    val_y: np.ndarray

    @classmethod
    def load(cls, path: Path) -> "Data":
        """Reads what `peers.command.save_arrays` wrote."""
        with np.load(path) as arrays:
            return cls(**arrays)

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x, y, val_x, val_y."""
        x, y, val_x, val_y = map(torch.tensor, (self.x, self.y, self.val_x, self.val_y))
        return x, y, val_x, val_y


def network(work: Work, settings: Settings, shape: tuple[int, ...]) -> nn.Module:
    """trimtab's own networks, which are plain modules, for all."""
    sizes = {name.removeprefix("model."): v for name, v in settings.items() if name.startswith("model.")}
    return NETWORKS[work.model](shape, CLASSES, **sizes)


def optimizer(settings: Settings, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """torch's own, the decay decoupled from the gradient for SGD too, as in trimtab: the same knob for all."""
    make: Callable[..., torch.optim.Optimizer] = partial(
        getattr(optimizers, settings["optimizer"]), parameters, lr=settings["optimizer.lr"]
    )
    momentum = {"momentum": settings["optimizer.momentum"]} if settings["optimizer"] == "sgd" else {}
    return make(weight_decay=settings["optimizer.weight_decay"], **momentum)
