"""Layer and batch normalisation of stacked members, forward and backward, written out."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

EPS, MOMENTUM = 1e-5, 0.1
"""Of both normalisations, and of batch normalisation's running statistics: torch's defaults."""


@dataclass(frozen=True)
class Affine:
    """Scale and shift behind a normalisation: (members, 1, units), and (members, units) where their gradients go."""

    scale: Tensor
    shift: Tensor
    to_scale: Tensor | None
    to_shift: Tensor | None

    def of(self, normal: Tensor) -> Tensor:
        """What they make of normalised units."""
        return torch.addcmul(self.shift, normal, self.scale)

    def backward(self, along: Tensor, across: Tensor) -> None:
        """Writes their gradients: that of what they made, summed over the batch, and times the normalised units."""
        assert self.to_scale is not None
        assert self.to_shift is not None
        self.to_scale.copy_(across)
        self.to_shift.copy_(along)


class Normalisation(Protocol):
    """Gives (members, batch, units) mean 0 and variance 1 in its own way, then scale and shift."""

    def forward(self, z: Tensor, affine: Affine, training: bool) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """What it makes of `z`, which may be overwritten, and what `backward` needs of that."""

    def backward(self, grad: Tensor, needed: tuple[Tensor, Tensor], affine: Affine) -> Tensor:
        """The gradient of `z`; those of scale and shift are written."""


class OverUnits:
    """Layer normalisation over the units of an example, at all its positions, which are neighbours in the batch.

    Args:
        units: (members, 1, width), 1 for each unit that a member has, 0 for padding.
        positions: of one example; more than 1 only where no member is padded.
    """

    def __init__(self, units: Tensor, positions: int = 1) -> None:
        self._units = None if bool(units.all()) else units
        self._positions, self._size = positions, positions * units.sum(-1, keepdim=True)

    def forward(self, z: Tensor, affine: Affine, training: bool) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """See `Normalisation`."""
        whole = self._whole(z)
        centred = self._unpadded(whole - self._mean(self._unpadded(whole)))
        factor = (self._mean(centred.square()) + EPS).rsqrt()
        normal = (centred * factor).view(z.shape)
        return affine.of(normal), (normal, factor)

    def backward(self, grad: Tensor, needed: tuple[Tensor, Tensor], affine: Affine) -> Tensor:
        """See `Normalisation`; padded units have no gradient."""
        normal, factor = needed
        affine.backward(grad.sum(1), (grad * normal).sum(1))
        whole, normal = self._whole(self._unpadded(grad * affine.scale)), self._whole(normal)
        hanging = normal * self._mean(whole * normal)
        return self._unpadded((whole - self._mean(whole) - hanging) * factor).view(grad.shape)

    def _whole(self, x: Tensor) -> Tensor:
        """(members, examples, numbers of one)."""
        return x if self._positions == 1 else x.reshape(len(x), -1, self._positions * x.shape[2])

    def _mean(self, whole: Tensor) -> Tensor:
        return whole.sum(2, keepdim=True) / self._size

    def _unpadded(self, x: Tensor) -> Tensor:
        return x if self._units is None else x * self._units


@dataclass(frozen=True)
class OverBatch:
    """Batch normalisation.

    Attributes:
        running: (2, members, 1, width) mean and variance over the batches so far, changed in place in training.
    """

    running: Tensor

    def forward(self, z: Tensor, affine: Affine, training: bool) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """See `Normalisation`; of a single row the running statistics are all there is."""
        rows = z.shape[1]
        if training and rows > 1:
            mean = z.mean(1, keepdim=True)
            centred = z.sub_(mean)
            var = (centred * centred).mean(1, keepdim=True)
            self.running.lerp_(torch.stack([mean, var * (rows / (rows - 1))]), MOMENTUM)
        else:
            centred, var = z.sub_(self.running[0]), self.running[1]
        factor = (var + EPS).rsqrt()
        return torch.addcmul(affine.shift, centred, factor * affine.scale), (centred, factor)

    def backward(self, grad: Tensor, needed: tuple[Tensor, Tensor], affine: Affine) -> Tensor:
        """See `Normalisation`."""
        (centred, factor), rows = needed, grad.shape[1]
        along, across = grad.sum(1, keepdim=True), (grad * centred).sum(1, keepdim=True) * factor
        affine.backward(along.squeeze(1), across.squeeze(1))
        slope = affine.scale * factor
        if rows == 1:
            return grad.mul_(slope)
        hanging = torch.addcmul(slope * along / -rows, centred, slope * factor * across / -rows)
        return hanging.addcmul_(grad, slope)
