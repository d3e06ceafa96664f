"""Passes over maps, written out as `passes` does for layers: a convolution is a product with all windows of its input.

Positions come before channels, (members, batch, *sides, channels), so that windows, products, statistics and pooling
read whole rows of memory.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Protocol

import torch
from torch import Tensor

from trimtab.models.dropout import mask, positions
from trimtab.population.passes import Layer, Linear

Sides = tuple[int, ...]
_aten = torch.ops.aten


class Stage(Protocol):
    """Something between input and output; tensors are (members, batch, *sides, channels)."""

    def forward(self, x: Tensor, training: bool, keys: Tensor | None) -> tuple[Tensor, Any]:
        """What it makes of `x`, and what `backward` needs of that; `keys` are those of dropout."""

    def backward(self, needed: Any, grad: Tensor) -> Tensor:
        """The gradient of `x` from that of what was made; those of weights are written where they are kept."""


MOST_WINDOWS = 300_000
"""Numbers in the windows of a batch of images: from there on a CPU is faster by torch's own convolution."""


class Convolving(Linear):
    """Products with windows that were cut out, or torch's convolution of whole maps, one member after the other.

    Args:
        kernel: sides of the window.
        weights: `weight` (members, out, kernel·channels) and `bias` (members, out), which may be missing.
        grads: likewise, written to by `backward`.
    """

    def __init__(self, kernel: Sides, weights: Mapping[str, Tensor], grads: Mapping[str, Tensor]) -> None:
        super().__init__(weights, grads)
        self._filters = torch.unflatten(self._weight, 2, (*kernel, -1)).movedim(-1, 2)
        ones = [1] * len(kernel)
        # stride, padding, dilation, transposed, output padding, groups
        self._how = (ones, [k // 2 for k in kernel], ones, False, [0] * len(kernel), 1)
        self._each_bias = [None] * len(self._weight) if weights.get("bias") is None else weights["bias"].unbind()

    def forward(self, x: Tensor) -> Tensor:
        """(members, positions, kernel·channels) or (members, batch, *sides, channels) → (members, positions, out)."""
        if x.dim() == 3:
            return super().forward(x)
        given = zip(_channels_first(x), self._filters, self._each_bias, strict=True)
        made = [_aten.convolution(*one, *self._how) for one in given]
        return torch.stack([one.movedim(1, -1).flatten(0, -2) for one in made])

    def backward(self, x: Tensor, grad: Tensor, last: bool = False) -> Tensor:
        """See `Layer.backward`."""
        if x.dim() == 3:
            return super().backward(x, grad, last)
        assert self._to_weight is not None
        wanted = [not last, True, self._to_bias is not None]
        maps = _channels_first(grad.view(*x.shape[:-1], -1))
        found = []
        for member, one in enumerate(zip(maps, _channels_first(x), self._filters, strict=True)):
            how = (self._weight.shape[1:2], *self._how, wanted)
            to_x, to_filter, to_bias = _aten.convolution_backward(*one, *how)
            self._to_weight[member].copy_(to_filter.movedim(1, -1).flatten(1))
            if self._to_bias is not None:
                self._to_bias[member].copy_(to_bias)
            found.append(to_x)
        return grad if last else torch.stack([one.movedim(1, -1) for one in found])


def _channels_first(x: Tensor) -> Tensor:
    return x.movedim(-1, 2)


@dataclass(frozen=True)
class Convolution:
    """A layer of all windows of a map; of each example, where the window has no sides.

    Attributes:
        layer: with its normalisation and activation; its product is a `Convolving`.
        kernel: sides of the window, odd.
        first: nobody needs the gradient of its input.
    """

    layer: Layer
    kernel: Sides
    first: bool

    def forward(self, x: Tensor, training: bool, keys: Tensor | None) -> tuple[Tensor, Any]:
        """See `Stage`."""
        numbers = math.prod(self.kernel) * math.prod(x.shape[1:])
        whole = len(self.kernel) == 2 and numbers > MOST_WINDOWS and x.device.type == "cpu"
        given = x if whole else windows(x, self.kernel).flatten(1, -2)
        out, taken = self.layer.forward(given, training, None)
        return out.view(*x.shape[:-1], -1), (taken, whole)

    def backward(self, needed: Any, grad: Tensor) -> Tensor:
        """See `Stage`."""
        taken, whole = needed
        found = self.layer.backward(taken, grad.flatten(1, -2), self.first)
        return found if self.first or whole else summed(found.view(*grad.shape[:-1], -1), self.kernel)


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
            found = grad.new_empty(*grad.shape[:side], length, *grad.shape[side + 1 :])
            pairs = torch.unflatten(found.narrow(side, 0, length // 2 * 2), side, (-1, 2))
            first, second = pairs.unbind(side + 1)
            torch.sub(grad, torch.mul(grad, is_second, out=second), out=first)
            if length % 2:
                found.select(side, -1).zero_()
            grad = found
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
    padded = _bordered(x, kernel)
    *lead, channels = x.shape
    strides, within = padded.stride(), padded.stride()[-1 - len(kernel) : -2]
    # A window's last side and its channels lie in one piece.
    found = padded.as_strided((*lead, *kernel[:-1], kernel[-1] * channels), (*strides[:-1], *within, 1))
    return found.reshape(*lead, -1)


def _bordered(x: Tensor, kernel: Sides) -> Tensor:
    """With half a window of zeros around the sides, which are all that is filled."""
    first, reach = x.dim() - 1 - len(kernel), [k // 2 for k in kernel]
    sides = [length + 2 * r for length, r in zip(x.shape[first:-1], reach, strict=True)]
    found = x.new_empty(*x.shape[:first], *sides, x.shape[-1])
    for side, r in enumerate(reach, first):
        found.narrow(side, 0, r).zero_()
        found.narrow(side, found.shape[side] - r, r).zero_()
    _cut(found, reach, x.shape[first:-1]).copy_(x)
    return found


def summed(grad: Tensor, kernel: Sides) -> Tensor:
    """(…, *sides, kernel·channels) → (…, *sides, channels): the gradient of `x` from that of its `windows`."""
    if math.prod(kernel) == 1:
        return grad
    sides = grad.shape[-1 - len(kernel) : -1]
    taps = dict(
        zip(product(*map(range, kernel)), torch.split(grad, grad.shape[-1] // math.prod(kernel), -1), strict=True)
    )
    found = taps.pop(tuple(k // 2 for k in kernel)).contiguous()  # the middle of the window
    for offsets, tap in taps.items():
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
