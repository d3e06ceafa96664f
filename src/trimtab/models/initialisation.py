"""Initial weights. A scheme is the formula of its paper; `auto` takes the one that is right for the activation."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import init

from trimtab.models.activations import ACTIVATIONS, Activation
from trimtab.models.arguments import choice

Scheme = Callable[[Tensor, Activation], object]


def _he_uniform(weight: Tensor, activation: Activation) -> None:
    init.kaiming_uniform_(weight, a=activation.slope, nonlinearity="leaky_relu")


def _he_normal(weight: Tensor, activation: Activation) -> None:
    init.kaiming_normal_(weight, a=activation.slope, nonlinearity="leaky_relu")


def _orthogonal(weight: Tensor, activation: Activation) -> None:
    init.orthogonal_(weight, gain=activation.gain)


def _constant(weight: Tensor, activation: Activation) -> None:
    # 1 / fan-in: each unit is the mean of its inputs, which stays finite at any width and depth.
    init.constant_(weight, 1 / weight[0].numel())


SCHEMES: dict[str, Scheme] = {
    "xavier_uniform": lambda weight, _: init.xavier_uniform_(weight),
    "xavier_normal": lambda weight, _: init.xavier_normal_(weight),
    "he_uniform": _he_uniform,
    "he_normal": _he_normal,
    "lecun_uniform": lambda weight, _: init.kaiming_uniform_(weight, nonlinearity="linear"),
    "lecun_normal": lambda weight, _: init.kaiming_normal_(weight, nonlinearity="linear"),
    "orthogonal": _orthogonal,
    "zeros": lambda weight, _: init.zeros_(weight),
    "constant": _constant,
}
"""Variance of a weight: Xavier 2 / (fan-in + fan-out) (Glorot & Bengio 2010), He 2 / ((1 + slope²) fan-in) (He et al.
2015, eq. 15), LeCun 1 / fan-in (LeCun et al. 1998); orthogonal: gain² times an orthogonal matrix (Saxe et al. 2014).
After `zeros` and `constant` the units of a layer stay equal for ever: they get equal gradients."""

INITIALISATIONS = ("auto", *SCHEMES, "torch")
"""`torch` leaves what torch draws unasked: uniform in ±1/√fan-in, biases too."""


def initialise(module: nn.Module, scheme: str, activation: str) -> None:
    """Draws the weights of all linear, convolutional and recurrent layers in `module`; biases become 0.

    The layer before the output has nothing behind it: its `activation` is identity, whatever the hidden layers have.

    Args:
        module: changed in place.
        scheme: one of INITIALISATIONS.
        activation: what stands behind these layers.

    Raises:
        ConfigError: the scheme is not known.
    """
    choice("model.initialisation", scheme, INITIALISATIONS)
    if scheme == "torch":
        return
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
            _draw(layer.weight, scheme, ACTIVATIONS[activation])
            if layer.bias is not None:
                init.zeros_(layer.bias)
        elif isinstance(layer, nn.GRU):
            _recurrent(layer, scheme)


def _draw(weight: Tensor, scheme: str, activation: Activation) -> None:
    SCHEMES[activation.initialisation if scheme == "auto" else scheme](weight, activation)


def _recurrent(layer: nn.GRU, scheme: str) -> None:
    """Each gate's matrix by itself: their stack in one parameter would triple the fan-out.

    `auto` is Xavier on the inputs and orthogonal on the recurrent weights, whose powers then neither grow nor
    vanish (Saxe et al. 2014).
    """
    for name, parameter in layer.named_parameters():
        if name.startswith("bias"):
            init.zeros_(parameter)
            continue
        chosen = "orthogonal" if scheme == "auto" and name.startswith("weight_hh") else scheme
        with torch.no_grad():
            for gate in parameter.chunk(3):
                _draw(gate, chosen, ACTIVATIONS["sigmoid"])
