"""The gated recurrent unit (Cho et al. 2014), which reads a sequence step by step."""

from torch import Tensor, nn

from trimtab.errors import ConfigError
from trimtab.models.arguments import choice, ends, probability, switch, whole
from trimtab.models.initialisation import initialise
from trimtab.models.normalisation import NORMALISATIONS, normalised


class GRU(nn.Module):
    """`depth` recurrent layers; the last state of the last one (of both directions) goes into a linear layer.

    Args:
        shape: (channels, length) of one example; each step reads the channels of one position.
        outputs: columns of the output.
        depth: recurrent layers.
        width: units of each layer and direction.
        bidirectional: each layer also reads from the end.
        initialisation: one of INITIALISATIONS; `auto` is orthogonal for the recurrent weights, Xavier for the others.
        normalisation: none, batch or layer, of what a layer hands on (its gates stay as they are).
        dropout: probability with which a unit is zeroed between layers and before the output during training.

    Raises:
        ConfigError: a size or the probability is out of its range, a name unknown, or the data are not sequences.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        outputs: int,
        *,
        depth: int,
        width: int,
        bidirectional: bool = False,
        initialisation: str = "auto",
        normalisation: str = "none",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        ends(shape, outputs)
        if len(shape) != 2:
            raise ConfigError(
                f"model=gru needs sequences (channels, length), but one example has the shape {shape}; "
                f"take model={'cnn' if len(shape) == 3 else 'mlp'}"
            )
        whole("model.depth", depth)
        whole("model.width", width)
        switch("model.bidirectional", bidirectional)
        choice("model.normalisation", normalisation, NORMALISATIONS)
        probability("model.dropout", dropout)
        channels, length = shape
        units = width * (2 if bidirectional else 1)
        # One nn.GRU per layer: the dropout inside a deep one cannot be replaced, as populations must.
        self.recurrent = nn.ModuleList(
            nn.GRU(units if layer else channels, width, batch_first=True, bidirectional=bidirectional)
            for layer in range(depth)
        )
        self.between = nn.ModuleList(
            nn.Sequential(
                nn.Flatten(0, 1), normalised(normalisation, units), nn.Unflatten(0, (-1, length)), nn.Dropout(dropout)
            )
            for _ in range(depth - 1)
        )
        self.summary = nn.Sequential(normalised(normalisation, units), nn.Dropout(dropout))
        self.output = nn.Linear(units, outputs)
        initialise(self.recurrent, initialisation, "sigmoid")
        initialise(self.output, initialisation, "identity")

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, length) → (batch, outputs): logits, or predicted values."""
        steps = x.transpose(1, 2)
        for layer, between in zip(self.recurrent[:-1], self.between, strict=True):
            steps = between(layer(steps)[0])
        last = self.recurrent[-1](steps)[1]  # (directions, batch, width)
        outputs: Tensor = self.output(self.summary(last.transpose(0, 1).flatten(1)))
        return outputs
