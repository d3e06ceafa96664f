"""What `loops.py` must know of a network: its layers, whatever module they come from."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import nn

from trimtab.models.activations import ACTIVATIONS
from trimtab.models.cnn import CNN
from trimtab.models.mlp import MLP
from trimtab.population.cnn import network_parts
from trimtab.population.compiled import loops
from trimtab.population.flat import Layout
from trimtab.population.mlp import hidden_layers, kind_of, parameter_names, rates

_ACTIVATIONS = {type(activation.module()): loops.ACTIVATIONS.index(name) for name, activation in ACTIVATIONS.items()}

Sides = tuple[int, int]


@dataclass(frozen=True)
class Drop:
    """Dropout: its rate, and its number among the network's dropout layers."""

    rate: float = 0.0
    place: int = 0


@dataclass(frozen=True)
class Layer:
    """One of a chain; names are the layout's.

    Attributes:
        prefix: of its product's parameters: `weight`, and `bias` which may be missing.
        channels: of the map that it is given.
        units: of the map that it makes.
        norm: `scale` and `shift` by their names; empty without a normalisation.
        sides: of the map that it is given.
        kernel: of its window.
        pool: factor by which each side is pooled.
        mean: whether it is given the mean over a map's positions.
        before: dropout of single units that it is given.
        behind: dropout of whole channels that it makes.
    """

    prefix: str
    channels: int
    units: int
    norm: tuple[str, str] | tuple[()] = ()
    sides: Sides = (1, 1)
    kernel: Sides = (1, 1)
    pool: Sides = (1, 1)
    mean: bool = False
    before: Drop = field(default_factory=Drop)
    behind: Drop = field(default_factory=Drop)


@dataclass(frozen=True)
class Chain:
    """A network.

    Attributes:
        layers: the output is the last.
        activation: of all but the last.
        normalisation: likewise.
        names: of parameters in the layout, in their module's order → in the module.
        places: dropout layers.
    """

    layers: Sequence[Layer]
    activation: nn.Module
    normalisation: str
    names: dict[str, str]
    places: int

    @property
    def drops(self) -> NDArray[np.float32]:
        """(layers, 2) rates of dropout before a layer, and of channels behind it."""
        return np.array([[layer.before.rate, layer.behind.rate] for layer in self.layers], np.float32)

    @property
    def widest(self) -> int:
        """The most units that a mask is of."""
        return max(max(layer.channels, layer.units) for layer in self.layers)

    def statistics_of(self, layer: Layer) -> str:
        """The module that has its batches' running statistics; empty where there are none."""
        if not layer.norm or self.normalisation != "batch":
            return ""
        return self.names[layer.norm[0]].removesuffix(".weight")

    def at(self) -> NDArray[np.int64]:
        """See `loops.Network.at`."""
        counts = [_numbers(layer) for layer in self.layers]
        return np.concatenate([np.zeros((1, len(counts[0])), np.int64), np.cumsum(counts, 0)])

    def network(self, layout: Layout, decayed: int) -> loops.Network:
        """It as arrays.

        Args:
            layout: of its row.
            decayed: length of the part that decay and penalties act on.
        """
        starts = layout.starts

        def begins(names: list[str]) -> NDArray[np.int64]:
            return np.array([starts.get(name, -1) for name in names])

        def column(name: str) -> NDArray[np.int64]:
            return np.array([getattr(layer, name) for layer in self.layers], np.int64)

        return loops.Network(
            channels=column("channels"),
            units=column("units"),
            sides=column("sides"),
            kernel=column("kernel"),
            pool=column("pool"),
            means=column("mean"),
            weights=begins([f"{layer.prefix}weight" for layer in self.layers]),
            biases=begins([f"{layer.prefix}bias" for layer in self.layers]),
            scales=begins([layer.norm[0] if layer.norm else "" for layer in self.layers]),
            shifts=begins([layer.norm[1] if layer.norm else "" for layer in self.layers]),
            activation=_ACTIVATIONS[type(self.activation)],
            normalisation=loops.NORMALISATIONS.index(self.normalisation),
            decayed=decayed,
            at=self.at(),
        )


def _numbers(layer: Layer) -> list[int]:
    """A layer's own row of `loops.Network.at`."""
    (height, width), (tall, wide), (low, narrow) = layer.sides, layer.kernel, layer.pool
    made, inputs = height * width * layer.units, tall * wide * layer.channels
    pooled = (height // low) * (width // narrow) * layer.units
    return [
        height * width * inputs if tall * wide > 1 else 0,
        made,
        pooled if low * narrow > 1 or layer.behind.rate else 0,
        layer.channels if layer.mean else 0,
        inputs if layer.before.rate else 0,
        layer.units if layer.behind.rate else 0,
        layer.units,
    ]


def chain(model: MLP | CNN) -> Chain:
    """The layers of a network."""
    return _perceptron(model) if isinstance(model, MLP) else _convolutional(model)


def _perceptron(model: MLP) -> Chain:
    hidden, (of_input, of_hidden) = hidden_layers(model), rates(model)
    first = 1 if of_input else 0
    ends = [*((f"{at}.", layer.linear) for at, layer in enumerate(hidden)), ("output.", model.layers.output)]
    layers = []
    for at, (prefix, linear) in enumerate(ends):
        norm = hidden[at].norm if at < len(hidden) else None
        layers.append(
            Layer(
                prefix,
                linear.in_features,  # type: ignore[arg-type,union-attr]
                linear.out_features,  # type: ignore[arg-type,union-attr]
                norm=() if norm is None else (f"{prefix}scale", f"{prefix}shift"),
                before=Drop(of_hidden, first + at - 1) if at else Drop(of_input, 0),
            )
        )
    places = first + (len(hidden) if of_hidden else 0)
    return Chain(layers, hidden[0].activation, kind_of(hidden[0].norm), parameter_names(model), places)


def _convolutional(model: CNN) -> Chain:
    parts, layers = network_parts(model), []
    drops = [float(block[4].p) for block in model.hidden if isinstance(block, nn.Sequential)]  # type: ignore[arg-type]
    for at, part in enumerate(parts):
        weight = part.linear.weight
        layers.append(
            Layer(
                f"{part.name}.",
                int(weight.shape[1]),  # type: ignore[index]
                int(weight.shape[0]),  # type: ignore[index]
                norm=() if kind_of(part.norm) == "none" else (f"{part.norm_name}.weight", f"{part.norm_name}.bias"),
                sides=_two(part.sides),
                kernel=_two(part.kernel),
                pool=_two(part.pooled),
                mean=not part.sides,
                behind=Drop(drops[at], at) if part.sides else Drop(),
            )
        )
    output = model.output
    last = Drop(float(model.dropout.p), len(drops))
    layers.append(Layer("output.", output.in_features, output.out_features, mean=bool(parts[-1].sides), before=last))
    names = {name: name for name, _ in model.named_parameters()}
    return Chain(layers, parts[0].activation, kind_of(parts[0].norm), names, len(drops) + 1)


def _two(sides: tuple[int, ...]) -> Sides:
    """Of a sequence the height is 1."""
    height, width = (1, 1, *sides)[-2:]
    return height, width
