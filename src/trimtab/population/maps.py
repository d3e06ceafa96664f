"""Passes over maps, written out as `passes` does for layers: a convolution is a product with all windows of its input.

Positions come before channels, (members, batch, *sides, channels), so that windows, products, statistics and pooling
read whole rows of memory.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from trimtab.models.dropout import mask, positions
from trimtab.population.passes import Layer

Sides = tuple[int, ...]


class Stage(Protocol):
    """Something between input and output; tensors are (members, batch, *sides, channels)."""

    def forward(self, x: Tensor, training: bool, keys: Tensor | None) -> tuple[Tensor, Any]:
        """What it makes of `x`, and what `backward` needs of that; `keys` are those of dropout."""

    def backward(self, needed: Any, grad: Tensor) -> Tensor:
        """The gradient of `x` from that of what was made; those of weights are written where they are kept."""


@dataclass(frozen=True)
class Convolution:
    """A layer of all windows of a map; of each example, where the window has no sides.

    Attributes:
        layer: with its normalisation and activation.
        kernel: sides of the window, odd.
        first: nobody needs the gradient of its input.
    """

    layer: Layer
    kernel: Sides
    first: bool

    def forward(self, x: Tensor, training: bool, keys: Tensor | None) -> tuple[Tensor, Any]:
        """See `Stage`."""
        out, taken = self.layer.forward(windows(x, self.kernel).flatten(1, -2), training, None)
        return out.view(*x.shape[:-1], -1), taken

    def backward(self, needed: Any, grad: Tensor) -> Tensor:
        """See `Stage`."""
        found = self.layer.backward(needed, grad.flatten(1, -2), self.first)
        return found if self.first else summed(found.view(*grad.shape[:-1], -1), self.kernel)


@dataclass(frozen=True)
class Pooling:
    """The larger of two neighbours, along each side that is pooled at all; the first of equal ones."""

    factors: Sides

    def forward(self, x: Tensor, training: bool, keys: Tensor | None) -> tuple[Tensor, Any]:
        """See `Stage`."""
        needed = []
        for side in self._sides():
            length = x.shape[side]
            first, second = torch.unflatten(x.narrow(side, 0, length // 2 * 2), side, (-1, 2)).unbind(side + 1)
            x = torch.maximum(first, second)
            # As a float: products with it are ten times as fast as where() and masked_fill().
            needed.append((side, length, torch.gt(second, first, out=torch.empty_like(x)) if training else None))
        return x, needed

    def _sides(self) -> Iterator[int]:
        return (side for side in reversed(range(2, 2 + len(self.factors))) if self.factors[side - 2] > 1)

    def backward(self, needed: Any, grad: Tensor) -> Tensor:
        """See `Stage`."""
        for side, length, is_second in reversed(needed):
            to_second = grad * is_second
            grad = torch.stack([grad - to_second, to_second], side + 1).flatten(side, side + 1)
            if length % 2:
                grad = F.pad(grad, (0, 0) * (grad.dim() - 1 - side) + (0, 1))
        return grad


class Mean:
    """Over all positions."""

    def forward(self, x: Tensor, training: bool, keys: Tensor | None) -> tuple[Tensor, Any]:
        """See `Stage`."""
        return x.flatten(2, -2).mean(2), x.shape

    def backward(self, needed: torch.Size, grad: Tensor) -> Tensor:
        """See `Stage`."""
        members, batch, *sides, channels = needed
        spread = (grad / math.prod(sides)).view(members, batch, *(1 for _ in sides), channels)
        return spread.expand(needed)


@dataclass(frozen=True)
class Dropping:
    """Dropout of single units, or of whole channels of a map.

    Attributes:
        place: its number among the network's dropout layers.
        rate: (members, 1, 1).
    """

    place: int
    rate: Tensor

    def forward(self, x: Tensor, training: bool, keys: Tensor | None) -> tuple[Tensor, Any]:
        """See `Stage`."""
        if keys is None:
            return x, None
        _, batch, *sides, channels = x.shape
        found = mask(keys[:, self.place, None, None], positions((batch, channels), x.device), self.rate)
        found = found.view(-1, batch, *(1 for _ in sides), channels)
        return x * found, found

    def backward(self, needed: Tensor | None, grad: Tensor) -> Tensor:
        """See `Stage`."""
        return grad if needed is None else grad * needed


def windows(x: Tensor, kernel: Sides) -> Tensor:
    """(…, *sides, channels) → (…, *sides, kernel·channels): what lies around each position, zeros beyond the ends."""
    if math.prod(kernel) == 1:
        return x
    padded = F.pad(x, (0, 0, *(k // 2 for k in reversed(kernel) for _ in "<>")))
    sides = x.shape[-1 - len(kernel) : -1]
    return torch.cat([_cut(padded, offsets, sides) for offsets in product(*map(range, kernel))], -1)


def summed(grad: Tensor, kernel: Sides) -> Tensor:
    """(…, *sides, kernel·channels) → (…, *sides, channels): the gradient of `x` from that of its `windows`."""
    if math.prod(kernel) == 1:
        return grad
    sides = grad.shape[-1 - len(kernel) : -1]
    found = grad.new_zeros(*grad.shape[:-1], grad.shape[-1] // math.prod(kernel))
    taps = torch.split(grad, found.shape[-1], -1)
    for tap, offsets in zip(taps, product(*map(range, kernel)), strict=True):
        shifts = [offset - k // 2 for offset, k in zip(offsets, kernel, strict=True)]
        common = [max(length - abs(shift), 0) for length, shift in zip(sides, shifts, strict=True)]
        to = _cut(found, [max(min(s, n), 0) for s, n in zip(shifts, sides, strict=True)], common)
        to.add_(_cut(tap, [max(min(-s, n), 0) for s, n in zip(shifts, sides, strict=True)], common))
    return found


def _cut(x: Tensor, starts: Sequence[int], lengths: Sequence[int]) -> Tensor:
    """A part along the sides, which end one dimension before the last."""
    for side, (start, length) in enumerate(zip(starts, lengths, strict=True), x.dim() - 1 - len(starts)):
        x = x.narrow(side, start, length)
    return x
