"""Activations, and what the initial weights must know of each."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn
from torch.nn.init import calculate_gain


@dataclass(frozen=True)
class Activation:
    """What stands behind a layer.

    Attributes:
        module: makes it.
        initialisation: the scheme that `auto` takes for it.
        gain: by which an orthogonal matrix is scaled before it.
        slope: of its negative side, as He's formula has it; 1 is the linear case.
    """

    module: Callable[[], nn.Module]
    initialisation: str
    gain: float
    slope: float = 0.0


LEAK = 0.01
"""Negative slope of leaky_relu (Maas et al. 2013; torch's default)."""

# He et al. 2015 derived their variance for rectifiers; elu, gelu and silu are near enough to one that the field uses it
# for them, gain included. Glorot & Bengio 2010 derived theirs for what is linear or saturates on both sides.
ACTIVATIONS: dict[str, Activation] = {
    "identity": Activation(nn.Identity, "xavier_uniform", calculate_gain("linear"), slope=1.0),
    "relu": Activation(nn.ReLU, "he_normal", calculate_gain("relu")),
    "leaky_relu": Activation(lambda: nn.LeakyReLU(LEAK), "he_normal", calculate_gain("leaky_relu", LEAK), slope=LEAK),
    "elu": Activation(nn.ELU, "he_normal", calculate_gain("relu")),
    "gelu": Activation(nn.GELU, "he_normal", calculate_gain("relu")),
    "silu": Activation(nn.SiLU, "he_normal", calculate_gain("relu")),
    "tanh": Activation(nn.Tanh, "xavier_uniform", calculate_gain("tanh")),
    "sigmoid": Activation(nn.Sigmoid, "xavier_uniform", calculate_gain("sigmoid")),
}
"""`identity` makes any network a linear one, however deep."""
