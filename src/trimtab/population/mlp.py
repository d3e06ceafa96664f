"""Perceptrons of different widths, depths, activations and dropout in one program: smaller ones are padded with zeros.

A padded unit has weights of 0 into it and out of it and an output of exactly 0, so that no gradient ever reaches it:
zeros stay zeros, and a member computes what its unpadded twin computes. A layer works on runs of neighbours that have
it: sorted by depth, members are one run.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from trimtab.models.dropout import kept, positions
from trimtab.models.mlp import MLP
from trimtab.population.flat import Layout, Shape
from trimtab.population.network import Named

LARGE = 2048
"""Weights of a member's layer from which on `_Linear` pays: 20 % of a step at 256 x 256, nothing at 32 x 32."""
EPS, MOMENTUM = 1e-5, 0.1
"""Of both normalisations, and of batch normalisation's running statistics: torch's defaults."""


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


def _rate(dropout: nn.Module | None) -> float:
    return 0.0 if dropout is None else float(dropout.p)  # type: ignore[arg-type]


class Run:
    """Neighbouring members that all have a layer, or all have not; their activations, by kind.

    Args:
        hidden: of all members.
        at: the layer.
        start: first member.
        stop: last member but one.
        device: where they are trained.
    """

    def __init__(self, hidden: Sequence[list[Hidden]], at: int, start: int, stop: int, device: torch.device) -> None:
        self.rows = slice(start, stop)
        found: dict[str, tuple[nn.Module, list[int]]] = {}
        for row, layers in enumerate(hidden[start:stop]):
            if len(layers) > at:
                found.setdefault(repr(layers[at].activation), (layers[at].activation, []))[1].append(row)
        self.kinds = [(kind, torch.tensor(rows, device=device)) for kind, rows in found.values()]
        order = torch.cat([rows for _, rows in self.kinds]) if self.kinds else torch.empty(0)
        self._back = order.argsort()
        # Only where 0 stays 0 may padded units do without a mask: sigmoid(0) is 0.5.
        self.masked = any(float(kind(torch.zeros(()))) != 0 for kind, _ in self.kinds)

    def activated(self, z: Tensor) -> Tensor:
        """Each member's own activation."""
        if len(self.kinds) == 1:
            done: Tensor = self.kinds[0][0](z)
            return done
        return torch.cat([kind(z[rows]) for kind, rows in self.kinds])[self._back]


def _output(model: MLP) -> nn.Linear:
    return model.layers.output  # type: ignore[return-value]


class _Linear(torch.autograd.Function):
    """x·Wᵀ + b of each member; its gradients are summed up where they are kept, not made first and added there."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, _: Tensor, weight: Tensor, bias: Tensor | None, to_weight: Tensor, to_bias: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.to = to_weight, to_bias
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        to_weight, to_bias = ctx.to
        to_weight.baddbmm_(grad.transpose(1, 2), x)
        if to_bias is not None:
            to_bias.add_(grad.sum(1))
        return (torch.bmm(grad, weight) if ctx.needs_input_grad[0] else None), None, None, None, None, None


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    turned = weight.transpose(1, 2)
    return torch.bmm(x, turned) if bias is None else torch.baddbmm(bias.unsqueeze(1), x, turned)


def _of(rows: slice, tensor: Tensor) -> Tensor:
    """These members' part; a slice of all would cost a matrix of zeros in the backward pass."""
    return tensor if rows.stop - rows.start == len(tensor) else tensor[rows]


class PaddedMLP:
    """Members' perceptrons; all have at least one hidden layer and the same kind of normalisation.

    Args:
        models: built at their true sizes; those of like depth should be neighbours.
        device: where they are trained.
    """

    def __init__(self, models: Sequence[MLP], device: torch.device) -> None:
        self._models = list(models)
        self._hidden = [hidden_layers(m) for m in models]
        first = self._hidden[0][0]
        self._norm = "none" if first.norm is None else "layer"
        if isinstance(first.norm, nn.modules.batchnorm._BatchNorm):
            self._norm = "batch"
        self._anchor = torch.zeros((), device=device, requires_grad=True)  # has autograd come by where weights are ours
        self.width = max(h.linear.out_features for layers in self._hidden for h in layers)
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
        self._runs = [[Run(self._hidden, at, *ends, device) for ends in self._ends(at)] for at in range(depth)]
        self._units = torch.ones(depth, members, 1, self.width, device=device)
        rates = torch.zeros(depth + 1, members, 1, 1, device=device)
        for m, layers in enumerate(self._hidden):
            rates[0, m] = _rate(dict(self._models[m].layers.named_children()).get("input_dropout"))
            for at, layer in enumerate(layers):
                self._units[at, m, 0, layer.linear.out_features :] = 0.0
                rates[at + 1, m] = layer.dropout
        self._rates, self._drops = rates, [bool(r.any()) for r in rates]
        self.places = depth + 1 if any(self._drops) else 0
        # Alone, a network without input dropout begins to count at its first hidden layer.
        after = torch.tensor([int(rates[0, m] > 0) for m in range(members)], device=device)
        self._place = torch.cat([torch.zeros_like(after)[None], torch.arange(depth, device=device)[:, None] + after])
        self._sizes = self._units.sum(-1, keepdim=True)

    def _ends(self, at: int) -> Iterator[tuple[int, int]]:
        """First and last member but one of each run of members that all have layer `at`, or all have not."""
        start = 0
        for _, run in groupby(self._hidden, key=lambda layers: len(layers) > at):
            stop = start + len(list(run))
            yield start, stop
            start = stop

    def load(self, member: int) -> Named:
        """A member's initial weights by the layout's names, at their true sizes."""
        named: Named = {}
        for at, layer in enumerate(self._hidden[member]):
            named[f"{at}.weight"] = layer.linear.weight.detach()
            if self._norm != "batch":
                named[f"{at}.bias"] = layer.linear.bias.detach()
            if self._norm != "none":
                named[f"{at}.scale"], named[f"{at}.shift"] = layer.norm.weight.detach(), layer.norm.bias.detach()  # type: ignore[operator,union-attr]
        output = _output(self._models[member])
        return {**named, "output.weight": output.weight.detach(), "output.bias": output.bias.detach()}

    def forward(self, parameters: Mapping[str, Tensor], x: Tensor, training: bool, keys: Tensor | None) -> Tensor:
        """See `Network`."""
        hidden = x.flatten(2)
        if keys is not None and self._drops[0]:
            hidden = self._dropped(hidden, 0, keys, slice(None))
        for at, runs in enumerate(self._runs):
            done = [self._layer(parameters, at, _of(run.rows, hidden), run, training, keys) for run in runs]
            hidden = done[0] if len(done) == 1 else torch.cat(done)
        return self._linear(parameters, "output", hidden, slice(0, len(hidden)))

    def _linear(self, parameters: Mapping[str, Tensor], layer: str, x: Tensor, rows: slice) -> Tensor:
        """Small matrices stay with autograd: a call into Python and back costs more than the passes that it saves."""
        weight, bias = parameters[f"{layer}.weight"], parameters.get(f"{layer}.bias")
        if not torch.is_grad_enabled() or weight.grad is None or weight[0].numel() < LARGE:
            return _product(x, _of(rows, weight), None if bias is None else _of(rows, bias))
        own = [None if p is None else p.detach()[rows] for p in (weight, bias)]
        sums = [None if p is None or p.grad is None else p.grad[rows] for p in (weight, bias)]
        found: Tensor = _Linear.apply(x, self._anchor, *own, *sums)  # type: ignore[no-untyped-call]
        return found

    def _layer(
        self, parameters: Mapping[str, Tensor], at: int, x: Tensor, run: "Run", training: bool, keys: Tensor | None
    ) -> Tensor:
        if not run.kinds:
            return x
        rows = run.rows
        z = self._linear(parameters, str(at), x, rows)
        if self._norm != "none":
            normalised = (
                self._batch_norm(z, at, rows, training) if self._norm == "batch" else self._layer_norm(z, at, rows)
            )
            scale, shift = (_of(rows, parameters[f"{at}.{name}"]).unsqueeze(1) for name in ("scale", "shift"))
            z = normalised * scale + shift
        z = run.activated(z)
        if run.masked:
            z = z * self._units[at, rows]
        return z if keys is None or not self._drops[at + 1] else self._dropped(z, at + 1, keys, rows)

    def _dropped(self, x: Tensor, place: int, keys: Tensor, rows: slice) -> Tensor:
        rate = self._rates[place, rows]
        stays = kept(
            keys[rows].gather(1, self._place[place, rows, None]).unsqueeze(2),
            positions(tuple(x.shape[1:]), x.device),
            rate,
        )
        dropped: Tensor = x * (stays / (1.0 - rate))
        return dropped

    def _layer_norm(self, z: Tensor, at: int, rows: slice) -> Tensor:
        units, size = self._units[at, rows], self._sizes[at, rows]
        # Masked twice: else padding would have a gradient.
        centred: Tensor = (z - (z * units).sum(2, keepdim=True) / size) * units
        return centred * (centred.square().sum(2, keepdim=True) / size + EPS).rsqrt()

    def _batch_norm(self, z: Tensor, at: int, rows: slice, training: bool) -> Tensor:
        running_mean, running_var = self._running[:, at, rows].unsqueeze(2).unbind()
        if not training or z.shape[1] == 1:
            return (z - running_mean) * (running_var + EPS).rsqrt()
        mean = z.mean(1, keepdim=True)
        centred = z - mean
        var = centred.square().mean(1, keepdim=True)
        self._batches += at == 0  # a layer that all members have
        with torch.no_grad():
            running_mean.lerp_(mean, MOMENTUM)
            running_var.lerp_(var * (z.shape[1] / (z.shape[1] - 1)), MOMENTUM)
        return centred * (var + EPS).rsqrt()

    def state(self, member: int, parameters: Mapping[str, Tensor]) -> Named:
        """A copy of one member's weights and buffers as its own module names them."""
        found: Named = {}
        width = 0
        for at, layer in enumerate(self._hidden[member]):
            before, width = layer.linear.in_features, layer.linear.out_features
            linear, norm = f"layers.linear_{layer.number}", f"layers.normalisation_{layer.number}"
            found[f"{linear}.weight"] = parameters[f"{at}.weight"][member, :width, :before]
            if self._norm != "batch":
                found[f"{linear}.bias"] = parameters[f"{at}.bias"][member, :width]
            if self._norm != "none":
                found[f"{norm}.weight"] = parameters[f"{at}.scale"][member, :width]
                found[f"{norm}.bias"] = parameters[f"{at}.shift"][member, :width]
            if self._norm == "batch":
                found[f"{norm}.running_mean"], found[f"{norm}.running_var"] = self._running[:, at, member, :width]
                found[f"{norm}.num_batches_tracked"] = self._batches[member]
        found["layers.output.weight"] = parameters["output.weight"][member, :, :width]
        found["layers.output.bias"] = parameters["output.bias"][member]
        return {name: value.detach().clone() for name, value in found.items()}

    def keep(self, members: Sequence[int]) -> None:
        """Drops all other members."""
        self._models = [self._models[m] for m in members]
        self._hidden = [self._hidden[m] for m in members]
        self._running, self._batches = self._running[:, :, list(members)], self._batches[list(members)]
        self._settle(self._running.device)
