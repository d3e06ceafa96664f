"""The convolutional network, along a sequence or over an image, as the shape of the data says."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from trimtab.errors import ConfigError
from trimtab.models.activations import ACTIVATIONS
from trimtab.models.arguments import choice, ends, probability, whole
from trimtab.models.initialisation import initialise
from trimtab.models.normalisation import NORMALISATIONS, normalised


class CNN(nn.Module):
    """Blocks of convolution – normalisation – activation – pooling – dropout, the mean over positions, a dense end.

    Pooling halves each side that is longer than 1, and the channels double after it (Simonyan & Zisserman 2015), so
    that blocks cost about the same; where no side is left to pool they stay. Global average pooling and not
    flattening at the end (Lin et al. 2014): the number of parameters does not depend on the input's extent.

    Args:
        shape: (channels, length) or (channels, height, width) of one example.
        outputs: columns of the output.
        blocks: convolutions.
        channels: of the first block.
        kernel: side of the convolution's window; odd, so that padding keeps the extent.
        dense: units of a hidden layer before the output; 0 for none.
        activation: one of ACTIVATIONS.
        initialisation: one of INITIALISATIONS.
        normalisation: none, batch or layer (all channels and positions of an example), before each activation.
        dropout: probability with which a unit before the output is zeroed during training.
        conv_dropout: probability with which a whole channel is zeroed after a block: neighbouring values of a map are
            nearly copies, so that single ones would not be missed (Tompson et al. 2015).

    Attributes:
        shape: as given.

    Raises:
        ConfigError: a size or a probability is out of its range, a name unknown, or the data are a table.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        outputs: int,
        *,
        blocks: int,
        channels: int,
        kernel: int,
        dense: int = 0,
        activation: str = "relu",
        initialisation: str = "auto",
        normalisation: str = "batch",
        dropout: float = 0.0,
        conv_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        ends(shape, outputs)
        if len(shape) not in _LAYERS:
            raise ConfigError(
                "model=cnn needs sequences (channels, length) or images (channels, height, width), "
                f"but one example has the shape {shape}; take model=mlp"
            )
        whole("model.blocks", blocks)
        whole("model.channels", channels)
        whole("model.dense", dense, least=0)
        _check_kernel(kernel, shape[1:])
        choice("model.activation", activation, ACTIVATIONS)
        choice("model.normalisation", normalisation, NORMALISATIONS)
        probability("model.dropout", dropout)
        probability("model.conv_dropout", conv_dropout)
        self.shape = shape
        plan = _plan(shape, blocks, channels)
        layers = [_block(step, kernel, activation, normalisation, conv_dropout) for step in plan]
        self.hidden = nn.Sequential(*layers, _LAYERS[len(shape)].mean(1), nn.Flatten())
        if dense:
            self.hidden.extend(_dense(plan[-1].after, dense, activation, normalisation))
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(dense or plan[-1].after, outputs)
        initialise(self.hidden, initialisation, activation)
        initialise(self.output, initialisation, "identity")

    def forward(self, x: Tensor) -> Tensor:
        """(batch, *shape) → (batch, outputs): logits, or predicted values."""
        outputs: Tensor = self.output(self.dropout(self.hidden(x)))
        return outputs


@dataclass(frozen=True)
class _Layers:
    convolution: type[nn.Conv1d | nn.Conv2d]
    pooling: Callable[[Any], nn.Module]
    mean: Callable[[int], nn.Module]
    dropout: Callable[[float], nn.Module]


# By the length of the shape.
_LAYERS = {
    2: _Layers(nn.Conv1d, nn.MaxPool1d, nn.AdaptiveAvgPool1d, nn.Dropout1d),
    3: _Layers(nn.Conv2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.Dropout2d),
}


@dataclass(frozen=True)
class _Step:
    """One block: its channels, and the factor by which each side is pooled."""

    before: int
    after: int
    pooling: tuple[int, ...]


def _plan(shape: tuple[int, ...], blocks: int, channels: int) -> list[_Step]:
    before, sides, steps = shape[0], shape[1:], []
    after = channels
    for _ in range(blocks):
        pooling = tuple(2 if side > 1 else 1 for side in sides)
        steps.append(_Step(before, after, pooling))
        sides = tuple(side // factor for side, factor in zip(sides, pooling, strict=True))
        before, after = after, after * max(pooling)
    return steps


def _block(step: _Step, kernel: int, activation: str, normalisation: str, dropout: float) -> nn.Sequential:
    layers = _LAYERS[len(step.pooling) + 1]
    bias = normalisation != "batch"  # a batch's mean takes any bias away again
    return nn.Sequential(
        layers.convolution(step.before, step.after, kernel, padding=kernel // 2, bias=bias),
        normalised(normalisation, step.after),
        ACTIVATIONS[activation].module(),
        layers.pooling(step.pooling),
        layers.dropout(dropout),
    )


def _dense(before: int, units: int, activation: str, normalisation: str) -> Iterator[nn.Module]:
    yield nn.Linear(before, units, bias=normalisation != "batch")
    yield normalised(normalisation, units)
    yield ACTIVATIONS[activation].module()


def _check_kernel(kernel: int, sides: tuple[int, ...]) -> None:
    whole("model.kernel", kernel)
    if kernel % 2 == 0:
        raise ConfigError(f"model.kernel must be odd but is {kernel}; take {kernel - 1} or {kernel + 1}")
    most = 2 * max(sides) - 1
    if kernel > most:
        raise ConfigError(
            f"model.kernel must be at most {most} but is {kernel}: in data with sides {sides} its outer weights "
            "would meet padding only"
        )
