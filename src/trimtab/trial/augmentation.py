"""Training examples that vary from batch to batch: flipped, shifted, noisy.

Each example draws for itself, and a knob at 0 draws nothing.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from trimtab.errors import ConfigError


@dataclass(frozen=True)
class Augmentation:
    """What is done to a training batch, in this order: flip, shift, noise.

    Attributes:
        flip: probability with which an example is mirrored along its last axis: left and right, or first and last.
        shift: largest shift along each axis of positions, as a share of its length, rounded to whole positions; all
            shifts up to it, to either side, are equally probable.
        noise: standard deviation of normal noise, in units of the preprocessed input.

    Raises:
        ConfigError: a knob is out of its range.
    """

    flip: float = 0.0
    shift: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        _within("flip", self.flip, 1.0)
        _within("shift", self.shift, 1.0)
        _within("noise", self.noise, math.inf)

    def check(self, shape: tuple[int, ...]) -> None:
        """Holds what needs neighbours to data that have them.

        Args:
            shape: of one example.

        Raises:
            ConfigError: flip or shift on a table.
        """
        for name, value in (("flip", self.flip), ("shift", self.shift)):
            if value and len(shape) < 2:
                raise ConfigError(
                    f"augmentation.{name} needs sequences or images, but the rows are a table, whose columns have no "
                    f"neighbours, and it is {value:g}; set it to 0 (augmentation.noise works on tables)"
                )

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """The batch as it is trained on; `x` itself is left as it is.

        Args:
            x: (batch, features), (batch, channels, length) or (batch, channels, height, width), floating.
            generator: gives all draws, on its own device: on the CPU, the same for every device that trains.
        """
        if self.flip:
            x = flipped(x, self.flip, generator)
        if self.shift:
            x = shifted(x, self.shift, generator)
        if self.noise:
            drawn = torch.randn(x.shape, generator=generator, device=generator.device, dtype=x.dtype)
            x = x + self.noise * drawn.to(x.device)
        return x


def flipped(x: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Mirrors each example along the last axis with a probability."""
    chosen = torch.rand(len(x), generator=generator, device=generator.device) < probability
    return torch.where(chosen.to(x.device).view(-1, *[1] * (x.ndim - 1)), x.flip(-1), x)


def shifted(x: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Moves each example by whole positions along each axis behind the channels.

    What moves in repeats the edge: zero is an ordinary value unless the data happen to be centred on their
    background, and a jump at the border would be something to learn.
    """
    for axis in range(2, x.ndim):
        length = x.shape[axis]
        most = math.floor(share * length + 0.5)
        by = torch.randint(-most, most + 1, (len(x), 1), generator=generator, device=generator.device)
        source = (torch.arange(length, device=x.device) - by.to(x.device)).clamp(0, length - 1)
        view = [len(x), *(length if i == axis else 1 for i in range(1, x.ndim))]
        x = x.gather(axis, source.view(view).expand_as(x))
    return x


def _within(name: str, value: object, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most or value == math.inf:
        limit = f"from 0 to {most:g}" if most < math.inf else "at least 0"
        raise ConfigError(f"augmentation.{name} must be {limit} but is {value!r}")
