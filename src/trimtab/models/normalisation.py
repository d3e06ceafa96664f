"""Normalisation between a layer and its activation."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

NORMALISATIONS = ("none", "batch", "layer")


class BatchNorm(_BatchNorm):
    """Batch normalisation (Ioffe & Szegedy 2015) of (batch, units) or (batch, channels, …).

    A batch with a single value per channel, as the last one of an epoch may be, has no variance, and torch refuses it;
    here it is normalised by the running statistics, as in evaluation.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        if self.training and x.numel() == x.shape[1]:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)

    def _check_input_dim(self, input: Any) -> None:
        """Any number of dimensions will do."""


def normalised(name: str, units: int) -> nn.Module:
    """Normalises (batch, units), or (batch, channels, …).

    `layer` is over the units of one example (Ba et al. 2016); over all channels and positions of a map, with a scale
    and a shift per channel, where there are positions.
    """
    if name == "batch":
        return BatchNorm(units)
    if name == "layer":
        return nn.GroupNorm(1, units)
    return nn.Identity()
