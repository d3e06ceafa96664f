"""The multilayer perceptron."""

from collections.abc import Callable, Iterator
from itertools import pairwise

from torch import Tensor, nn

from trimtab.models.arguments import choice, probability, whole

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
}


class MLP(nn.Module):
    """`depth` hidden layers of `width` units, initialised as torch does by default.

    Args:
        features: columns of the input.
        outputs: columns of the output.
        depth: hidden layers; 0 is a linear model.
        width: units of each hidden layer.
        activation: relu, tanh or gelu, after each hidden layer.
        dropout: probability with which a hidden unit is zeroed during training.

    Raises:
        ConfigError: a size or the probability is out of its range, or the activation unknown.
    """

    def __init__(
        self,
        features: int,
        outputs: int,
        *,
        depth: int,
        width: int,
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        whole("model.features", features)
        whole("model.outputs", outputs)
        whole("model.depth", depth, least=0)
        whole("model.width", width)
        choice("model.activation", activation, ACTIVATIONS)
        probability("model.dropout", dropout)
        sizes = [features] + [width] * depth
        self.layers = nn.Sequential(*_hidden(sizes, ACTIVATIONS[activation], dropout), nn.Linear(sizes[-1], outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, features) → (batch, outputs): logits, or predicted values."""
        outputs: Tensor = self.layers(x)
        return outputs


def _hidden(sizes: list[int], activation: Callable[[], nn.Module], dropout: float) -> Iterator[nn.Module]:
    for before, after in pairwise(sizes):
        yield nn.Linear(before, after)
        yield activation()
        if dropout:
            yield nn.Dropout(dropout)
