"""Logistic or linear regression, trained as any other network."""

import math

from torch import Tensor, nn

from trimtab.models.arguments import ends, probability
from trimtab.models.initialisation import initialise


class Linear(nn.Module):
    """One linear layer.

    Args:
        shape: of one example; flattened.
        outputs: columns of the output.
        initialisation: one of INITIALISATIONS; its loss is convex, so that even `zeros` is a fair start.
        dropout: probability with which an input feature is zeroed during training.

    Raises:
        ConfigError: a size or the probability is out of its range, or a name unknown.
    """

    def __init__(
        self, shape: tuple[int, ...], outputs: int, *, initialisation: str = "auto", dropout: float = 0.0
    ) -> None:
        super().__init__()
        ends(shape, outputs)
        probability("model.dropout", dropout)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(math.prod(shape), outputs)
        initialise(self.output, initialisation, "identity")

    def forward(self, x: Tensor) -> Tensor:
        """(batch, *shape) → (batch, outputs): logits, or predicted values."""
        outputs: Tensor = self.output(self.dropout(x.flatten(1)))
        return outputs
