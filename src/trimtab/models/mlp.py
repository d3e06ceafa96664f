"""The multilayer perceptron."""

import math
from collections import OrderedDict
from collections.abc import Iterator
from itertools import pairwise

from torch import Tensor, nn

from trimtab.errors import ConfigError
from trimtab.models.activations import ACTIVATIONS
from trimtab.models.arguments import choice, ends, probability, share, whole
from trimtab.models.initialisation import initialise
from trimtab.models.normalisation import NORMALISATIONS, normalised


class MLP(nn.Module):
    """`depth` hidden layers, each linear – normalisation – activation – dropout; a linear layer at the end.

    Args:
        shape: of one example; flattened.
        outputs: columns of the output.
        depth: hidden layers; 0 is a linear model.
        width: units of the first hidden layer, or `auto` (see `widths`).
        taper: units of each further layer as a share of those of the one before.
        activation: one of ACTIVATIONS, after each hidden layer.
        initialisation: one of INITIALISATIONS.
        normalisation: none, batch or layer, before each activation.
        dropout: probability with which a hidden unit is zeroed during training.
        input_dropout: the same of an input feature.

    Raises:
        ConfigError: a size, the taper or a probability is out of its range, or a name unknown.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        outputs: int,
        *,
        depth: int,
        width: int | str,
        taper: float = 1.0,
        activation: str = "relu",
        initialisation: str = "auto",
        normalisation: str = "none",
        dropout: float = 0.0,
        input_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        ends(shape, outputs)
        choice("model.activation", activation, ACTIVATIONS)
        choice("model.normalisation", normalisation, NORMALISATIONS)
        probability("model.dropout", dropout)
        probability("model.input_dropout", input_dropout)
        features = math.prod(shape)
        sizes = [features, *widths(features, outputs, depth, width, taper)]
        hidden = nn.Sequential(OrderedDict(_hidden(sizes, activation, normalisation, dropout, input_dropout)))
        output = nn.Linear(sizes[-1], outputs)
        initialise(hidden, initialisation, activation)
        initialise(output, initialisation, "identity")
        self.layers = nn.Sequential(OrderedDict([*hidden.named_children(), ("output", output)]))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, *shape) → (batch, outputs): logits, or predicted values."""
        outputs: Tensor = self.layers(x.flatten(1))
        return outputs


def widths(features: int, outputs: int, depth: int, width: int | str, taper: float) -> list[int]:
    """Units of each hidden layer, at least 1.

    `auto` goes from the number of inputs to that of outputs in equal ratios (the geometric pyramid rule, Masters 1993,
    Practical Neural Network Recipes in C++). `taper` narrows either.

    Raises:
        ConfigError: depth, width or taper is out of its range.
    """
    whole("model.depth", depth, least=0)
    share("model.taper", taper)
    if width == "auto":
        full = [features * (outputs / features) ** (i / (depth + 1)) for i in range(1, depth + 1)]
    elif isinstance(width, str):
        raise ConfigError(f"model.width must be a whole number or auto but is {width!r}")
    else:
        whole("model.width", width)
        full = [float(width)] * depth
    return [max(1, round(units * taper**i)) for i, units in enumerate(full)]


def _hidden(
    sizes: list[int], activation: str, normalisation: str, dropout: float, input_dropout: float
) -> Iterator[tuple[str, nn.Module]]:
    """Name and module of each layer: a name does not depend on which of the others are there.

    Modules that do nothing are left out, for a step of a small network feels each (nine of them: 30 µs of 230).
    """
    if input_dropout:
        yield "input_dropout", nn.Dropout(input_dropout)
    for number, (before, after) in enumerate(pairwise(sizes), start=1):
        # A batch's mean takes any bias away again.
        yield f"linear_{number}", nn.Linear(before, after, bias=normalisation != "batch")
        if normalisation != "none":
            yield f"normalisation_{number}", normalised(normalisation, after)
        yield f"activation_{number}", ACTIVATIONS[activation].module()
        if dropout:
            yield f"dropout_{number}", nn.Dropout(dropout)
