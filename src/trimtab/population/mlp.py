"""Perceptrons of different widths, depths, activations and dropout in one program: smaller ones are padded with zeros.

A padded unit has weights of 0 into it and out of it and an output of exactly 0, so that no gradient ever reaches it:
zeros stay zeros, and a member computes what its unpadded twin computes. A layer works on runs of neighbours that have
it: sorted by depth, members are one run.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby

import torch
from torch import Tensor, nn

from trimtab.models.dropout import thresholds
from trimtab.models.mlp import MLP
from trimtab.population.flat import Layout, Shape
from trimtab.population.masks import Masks
from trimtab.population.network import Named
from trimtab.population.normalisations import Normalisation, OverBatch, OverUnits
from trimtab.population.passes import BENDS, Layer, Taken, WrittenOut


@dataclass(frozen=True)
class Hidden:
    """One hidden layer of one member's module."""

    number: int
    linear: nn.Linear
    norm: nn.Module | None
    activation: nn.Module
    dropout: float


def hidden_layers(model: MLP) -> list[Hidden]:
    """The hidden layers of a perceptron, numbered from 1 as in the names of its modules."""
    parts = dict(model.layers.named_children())
    return [
        Hidden(
            number,
            parts[f"linear_{number}"],  # type: ignore[arg-type]
            parts.get(f"normalisation_{number}"),
            parts[f"activation_{number}"],
            _rate(parts.get(f"dropout_{number}")),
        )
        for number in range(1, 1 + sum(name.startswith("linear_") for name in parts))
    ]


def parameter_names(model: MLP) -> dict[str, str]:
    """A stack's name of each parameter → its name in the module; `0.weight` is of the first hidden layer."""
    found = {}
    for at, layer in enumerate(hidden_layers(model)):
        linear, norm = f"layers.linear_{layer.number}", f"layers.normalisation_{layer.number}"
        found[f"{at}.weight"] = f"{linear}.weight"
        if layer.linear.bias is not None:
            found[f"{at}.bias"] = f"{linear}.bias"
        if layer.norm is not None:
            found[f"{at}.scale"], found[f"{at}.shift"] = f"{norm}.weight", f"{norm}.bias"
    return {**found, "output.weight": "layers.output.weight", "output.bias": "layers.output.bias"}


def is_written_out(model: MLP) -> bool:
    """Whether `passes` has what it computes: not a derived class, whose forward pass may be another."""
    layers = hidden_layers(model)
    return type(model) is MLP and bool(layers) and all(type(h.activation) in BENDS for h in layers)


def kind_of(norm: nn.Module | None) -> str:
    """Of a normalisation, as conf/model names it."""
    if isinstance(norm, nn.modules.batchnorm._BatchNorm):
        return "batch"
    return "none" if norm is None or isinstance(norm, nn.Identity) else "layer"


def rates(model: MLP) -> tuple[float, float]:
    """Dropout of the inputs and of the hidden units."""
    of_input = dict(model.layers.named_children()).get("input_dropout")
    return _rate(of_input), max(layer.dropout for layer in hidden_layers(model))


def _rate(dropout: nn.Module | None) -> float:
    return 0.0 if dropout is None else float(dropout.p)  # type: ignore[arg-type]


def _output(model: MLP) -> nn.Linear:
    return model.layers.output  # type: ignore[return-value]


def _of(rows: slice, tensor: Tensor) -> Tensor:
    return tensor if rows.stop - rows.start == len(tensor) else tensor[rows]


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


EVEN = 4
"""Widths are padded to multiples of it: else products round by where in its stack a member lies."""


Takens = list[list[Taken | None]]
"""Of each hidden layer and of each run of members there, what its backward pass needs."""


class PaddedMLP(WrittenOut):
    """Members' perceptrons; all have at least one hidden layer and the same kind of normalisation.

    Args:
        models: built at their true sizes; those of like depth should be neighbours.
        device: where they are trained.
    """

    rows_in_cache = 256

    def __init__(self, models: Sequence[MLP], device: torch.device) -> None:
        self._models = list(models)
        self._hidden = [hidden_layers(m) for m in models]
        first = self._hidden[0][0]
        self._norm = kind_of(first.norm)
        widest = max(h.linear.out_features for layers in self._hidden for h in layers)
        self.width = -(-widest // EVEN) * EVEN
        self.layout = Layout.of(self._shapes())
        depth, width = self._depth, self.width
        self._running = torch.zeros(2, depth, len(models), width, device=device)
        self._running[1] = 1.0
        self._batches = torch.zeros(len(models), dtype=torch.int64)
        if self._norm == "batch":
            self._load_statistics()
        self._settle(device)

    def _load_statistics(self) -> None:
        for member, layers in enumerate(self._hidden):
            for at, layer in enumerate(layers):
                norm = layer.norm
                assert isinstance(norm, nn.modules.batchnorm._BatchNorm)
                width = layer.linear.out_features
                self._running[:, at, member, :width] = torch.stack([norm.running_mean, norm.running_var])  # type: ignore[list-item]
                self._batches[member] = norm.num_batches_tracked  # type: ignore[assignment]

    @property
    def _depth(self) -> int:
        return max(map(len, self._hidden))

    def _shapes(self) -> dict[str, Shape]:
        features, outputs = self._hidden[0][0].linear.in_features, _output(self._models[0]).out_features
        found: dict[str, Shape] = {}
        for layer in range(self._depth):
            found[f"{layer}.weight"] = (self.width, self.width if layer else features)
            if self._norm != "batch":
                found[f"{layer}.bias"] = (self.width,)
            if self._norm != "none":
                found[f"{layer}.scale"] = found[f"{layer}.shift"] = (self.width,)
        return {**found, "output.weight": (outputs, self.width), "output.bias": (outputs,)}

    def _settle(self, device: torch.device) -> None:
        """What a step would otherwise work out each time."""
        depth, members = self._depth, len(self._hidden)
        units = torch.ones(depth, members, 1, self.width, device=device)
        rates = torch.zeros(depth + 1, members, 1, 1, device=device)
        for m, layers in enumerate(self._hidden):
            rates[0, m] = _rate(dict(self._models[m].layers.named_children()).get("input_dropout"))
            for at, layer in enumerate(layers):
                units[at, m, 0, layer.linear.out_features :] = 0.0
                rates[at + 1, m] = layer.dropout
        self._thresholds, self._drops = thresholds(rates), [bool(r.any()) for r in rates]
        self.places = depth + 1 if any(self._drops) else 0
        # Alone, a network without input dropout begins to count at its first hidden layer.
        after = torch.tensor([int(rates[0, m] > 0) for m in range(members)], device=device)
        self._place = torch.cat(
            [torch.zeros_like(after)[:, None], torch.arange(depth, device=device) + after[:, None]], 1
        )
        self._bound = None
        self.begin(None)
        self._layers = [[self._layer(at, units[at], *ends) for ends in self._ends(at)] for at in range(depth)]

    def _layer(self, at: int, units: Tensor, start: int, stop: int) -> Layer:
        rows = slice(start, stop)
        kinds = [layers[at].activation if len(layers) > at else None for layers in self._hidden[rows]]
        norm: Normalisation | None = None
        if self._norm == "batch":
            norm = OverBatch(self._running[:, at, rows].unsqueeze(2))
        elif self._norm == "layer":
            norm = OverUnits(units[rows])
        return Layer(at, rows, kinds, units[rows], norm)

    def _ends(self, at: int) -> Iterator[tuple[int, int]]:
        """First and last member but one of each run of members that all have layer `at`, or all have not."""
        start = 0
        for _, run in groupby(self._hidden, key=lambda layers: len(layers) > at):
            stop = start + len(list(run))
            yield start, stop
            start = stop

    def load(self, member: int) -> Named:
        """A member's initial weights by the layout's names, at their true sizes."""
        model = self._models[member]
        parameters = dict(model.named_parameters())
        return {ours: parameters[theirs].detach() for ours, theirs in parameter_names(model).items()}

    def _bind(self, weights: Mapping[str, Tensor], grads: Mapping[str, Tensor]) -> None:
        for layer in chain.from_iterable(self._layers):
            layer.bind(weights, grads)

    def begin(self, keys: Tensor | None) -> None:
        """See `Network`."""
        self._masks: tuple[Masks | None, Masks | None] = (None, None)
        if keys is not None:
            own = keys.gather(2, self._place.expand(len(keys), -1, -1)).transpose(1, 2)[..., None, None]
            both = (slice(1), slice(1, None))
            made = [Masks(own[:, places], *(t[places] for t in self._thresholds)) for places in both]
            self._masks = (made[0] if self._drops[0] else None, made[1] if any(self._drops[1:]) else None)

    def _hidden_forward(self, x: Tensor, step: int | None) -> tuple[Tensor, Takens]:
        x, taken = x.flatten(2), []
        of_input, of_hidden = self._masks
        drops: Sequence[Tensor | None] = [None] * self._depth
        if step is not None and of_input is not None:
            x.mul_(of_input.of(step, x.shape[1:])[0])
        if step is not None and of_hidden is not None:
            drops = of_hidden.of(step, (x.shape[1], self.width))
        for layers, drop in zip(self._layers, drops, strict=True):
            made = [
                layer.forward(_of(layer.rows, x), step is not None, None if drop is None else _of(layer.rows, drop))
                for layer in layers
            ]
            x = _joined([out for out, _ in made])
            taken.append([needed for _, needed in made])
        if step is not None and self._norm == "batch" and x.shape[1] > 1:
            self._batches += 1
        return x, taken

    def _hidden_backward(self, needed: Takens, grad: Tensor) -> None:
        """Where members lack a layer, its gradients are not touched."""
        for at in reversed(range(self._depth)):
            pairs = zip(self._layers[at], needed[at], strict=True)
            grad = _joined([layer.backward(t, _of(layer.rows, grad), at == 0) for layer, t in pairs])

    def state(self, member: int, parameters: Mapping[str, Tensor]) -> Named:
        """A copy of one member's weights and buffers as its own module names them."""
        model = self._models[member]
        own = {name: tuple(map(slice, p.shape)) for name, p in model.named_parameters()}
        names = parameter_names(model)
        found = {theirs: parameters[ours][member][own[theirs]] for ours, theirs in names.items()}
        for at, layer in enumerate(self._hidden[member] if self._norm == "batch" else []):
            norm, width = f"layers.normalisation_{layer.number}", layer.linear.out_features
            found[f"{norm}.running_mean"], found[f"{norm}.running_var"] = self._running[:, at, member, :width]
            found[f"{norm}.num_batches_tracked"] = self._batches[member]
        return {name: value.detach().clone() for name, value in found.items()}

    def keep(self, members: Sequence[int]) -> None:
        """Drops all other members."""
        self._models = [self._models[m] for m in members]
        self._hidden = [self._hidden[m] for m in members]
        self._running, self._batches = self._running[:, :, list(members)], self._batches[list(members)]
        self._settle(self._running.device)
