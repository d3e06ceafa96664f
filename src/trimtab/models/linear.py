"""Logistic or linear regression, trained as any other network."""

from torch import Tensor, nn

from trimtab.models.arguments import probability, whole


class Linear(nn.Module):
    """One linear layer, initialised as torch does by default.

    Args:
        features: columns of the input.
        outputs: columns of the output.
        dropout: probability with which an input feature is zeroed during training.

    Raises:
        ConfigError: a size or the probability is out of its range.
    """

    def __init__(self, features: int, outputs: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        whole("model.features", features)
        whole("model.outputs", outputs)
        probability("model.dropout", dropout)
        self.layers = nn.Sequential(nn.Dropout(dropout), nn.Linear(features, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, features) → (batch, outputs): logits, or predicted values."""
        outputs: Tensor = self.layers(x)
        return outputs
