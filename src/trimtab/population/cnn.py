"""Convolutional networks of equal shapes in one program.

Of stacked convolutions `vmap` makes one with a group for each member, which takes a CPU two to three times as long.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trimtab.models.cnn import CNN
from trimtab.models.dropout import is_dropout
from trimtab.population.flat import Layout
from trimtab.population.maps import Convolution, Convolving, Dropping, Mean, Pooling, Sides, Stage
from trimtab.population.network import Named, equal_shapes
from trimtab.population.normalisations import Normalisation, OverBatch, OverUnits
from trimtab.population.passes import BENDS, Layer, WrittenOut

ROWS_IN_CACHE = 128
"""Of all members: the windows of so many are as much as a core's cache holds."""


@dataclass(frozen=True)
class Part:
    """A block of a network, or its dense layer.

    Attributes:
        name: of the module that has the weights.
        norm_name: of its normalisation.
        linear: the convolution, or the dense layer.
        norm: its normalisation.
        activation: what bends.
        sides: of the map that it is given; () for the dense layer.
        pooled: factor by which each side is pooled.
    """

    name: str
    norm_name: str
    linear: nn.Module
    norm: nn.Module
    activation: nn.Module
    sides: Sides = ()
    pooled: Sides = ()

    @property
    def kernel(self) -> Sides:
        """Sides of the window."""
        return tuple(self.linear.kernel_size) if self.sides else ()  # type: ignore[arg-type]

    @property
    def values(self) -> int:
        """Positions of one example."""
        return math.prod(self.sides)


def network_parts(model: CNN) -> list[Part]:
    """The blocks of a network, and its dense layer if it has one."""
    layers, sides = list(model.hidden), model.shape[1:]
    found = []
    for i, block in enumerate(layer for layer in layers if isinstance(layer, nn.Sequential)):
        convolution, norm, activation, pool, _ = block
        factors: Sides = tuple(pool.kernel_size)  # type: ignore[arg-type]
        found.append(Part(f"hidden.{i}.0", f"hidden.{i}.1", convolution, norm, activation, sides, factors))
        sides = tuple(side // factor for side, factor in zip(sides, factors, strict=True))
    at = len(found) + 2  # behind the mean over positions and its flattening
    if dense := layers[at:]:
        found.append(Part(f"hidden.{at}", f"hidden.{at + 1}", dense[0], dense[1], dense[2]))
    return found


def window_numbers(model: CNN) -> int:
    """How many numbers the windows of one example are, in the block where they are most."""
    blocks = [part for part in network_parts(model) if part.sides]
    return max(part.values * int(part.linear.weight[0].numel()) for part in blocks)  # type: ignore[index]


def is_written_out(model: CNN) -> bool:
    """Whether `passes` has what it computes: not a derived class, whose forward pass may be another."""
    return type(model) is CNN and type(network_parts(model)[0].activation) in BENDS


class StackedCNN(WrittenOut):
    """Members' networks; weights, rates of dropout and running statistics are their own.

    Args:
        models: one per member, built alike.
        device: where they are trained.

    Raises:
        ValueError: their parameters differ in shape.
    """

    def __init__(self, models: Sequence[CNN], device: torch.device) -> None:
        self._initial = [{name: p.detach() for name, p in m.named_parameters()} for m in models]
        shapes = equal_shapes(self._initial)
        self.layout = Layout.of(shapes, channels_last=[name for name, shape in shapes.items() if len(shape) > 2])
        self._parts = network_parts(models[0])
        rates = [[float(layer.p) for layer in m.modules() if is_dropout(layer)] for m in models]  # type: ignore[arg-type]
        self._rates = torch.tensor(rates, device=device).T[:, :, None, None]
        norms = [part.norm_name for part in self._parts if isinstance(part.norm, _BatchNorm)]
        self._running = {name: _running(models, name).to(device) for name in norms}
        self._batches = {name: torch.stack([_buffer(m, name, "num_batches_tracked") for m in models]) for name in norms}
        self._settle()

    def _settle(self) -> None:
        """Makes the stages for those members that there are."""
        self.rows_in_cache = max(16, ROWS_IN_CACHE // self._rates.shape[1])
        drops = [bool(rate.any()) for rate in self._rates]
        self.places = max((place for place, any_drops in enumerate(drops, 1) if any_drops), default=0)
        self._layers = [self._layer(number, part) for number, part in enumerate(self._parts)]
        self._stages: list[Stage] = []
        for place, (part, layer) in enumerate(zip(self._parts, self._layers, strict=True)):
            if not part.sides:
                self._stages.append(Mean())
            self._stages.append(Convolution(layer, part.kernel, place == 0))
            if part.sides:
                self._stages.append(Pooling(part.pooled))
                self._stages += [Dropping(place, self._rates[place])] if drops[place] else []
        if self._parts[-1].sides:
            self._stages.append(Mean())
        self._stages += [Dropping(len(drops) - 1, self._rates[-1])] if drops[-1] else []
        self._bound = None
        self.begin(None)

    def _layer(self, number: int, part: Part) -> Layer:
        members, units = self._rates.shape[1], part.linear.weight.shape[0]  # type: ignore[index]
        there = torch.ones(members, 1, int(units), device=self._rates.device)
        norm: Normalisation | None = None
        if isinstance(part.norm, _BatchNorm):
            norm = OverBatch(self._running[part.norm_name])
        elif isinstance(part.norm, nn.GroupNorm):
            norm = OverUnits(there, part.values)
        product = partial(Convolving, part.kernel) if part.sides else None
        return Layer(number, slice(members), [part.activation] * members, there, norm, product)

    def load(self, member: int) -> Named:
        """See `Network`."""
        return self._initial[member]

    def _bind(self, weights: Mapping[str, Tensor], grads: Mapping[str, Tensor]) -> None:
        flat_weights, flat_grads = ({name: _matrix(t) for name, t in given.items()} for given in (weights, grads))
        for number, (part, layer) in enumerate(zip(self._parts, self._layers, strict=True)):
            layer.bind(_renamed(number, part, flat_weights), _renamed(number, part, flat_grads))

    def begin(self, keys: Tensor | None) -> None:
        """See `Network`."""
        self._keys = None if keys is None else keys.unbind()

    def _hidden_forward(self, x: Tensor, step: int | None) -> tuple[Tensor, list[Any]]:
        batch, needed = x.shape[1], []
        x = x.movedim(2, -1)
        keys = None if step is None or self._keys is None else self._keys[step]
        for stage in self._stages:
            x, of_stage = stage.forward(x, step is not None, keys)
            needed.append(of_stage)
        for part in self._parts if step is not None else ():
            if part.norm_name in self._batches and batch * part.values > 1:
                self._batches[part.norm_name] += 1
        return x, needed

    def _hidden_backward(self, needed: list[Any], grad: Tensor) -> None:
        for stage, of_stage in zip(reversed(self._stages), reversed(needed), strict=True):
            grad = stage.backward(of_stage, grad)

    def state(self, member: int, parameters: Mapping[str, Tensor]) -> Named:
        """See `Network`."""
        found = {
            name: p[member].detach().clone(memory_format=torch.contiguous_format) for name, p in parameters.items()
        }
        for name, running in self._running.items():
            found[f"{name}.running_mean"], found[f"{name}.running_var"] = running[:, member, 0].clone()
            found[f"{name}.num_batches_tracked"] = self._batches[name][member].clone()
        return found

    def keep(self, members: Sequence[int]) -> None:
        """See `Network`."""
        chosen = list(members)
        self._rates = self._rates[:, chosen]
        self._running = {name: running[:, chosen] for name, running in self._running.items()}
        self._batches = {name: count[chosen] for name, count in self._batches.items()}
        self._settle()


def _running(models: Sequence[nn.Module], name: str) -> Tensor:
    """(2, members, 1, units) mean and variance so far."""
    kinds = [[_buffer(m, name, kind) for m in models] for kind in ("running_mean", "running_var")]
    return torch.stack([torch.stack(kind) for kind in kinds]).unsqueeze(2)


def _buffer(model: nn.Module, norm: str, name: str) -> Tensor:
    return model.get_buffer(f"{norm}.{name}")


def _matrix(weight: Tensor) -> Tensor:
    """(members, out, channels, *kernel), channels last in memory → (members, out, kernel·channels), not copied."""
    return weight.movedim(2, -1).flatten(2) if weight.dim() > 3 else weight


def _renamed(number: int, part: Part, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A part's parameters as `Layer.bind` knows them."""
    names = {"weight": f"{part.name}.weight", "bias": f"{part.name}.bias"}
    if not isinstance(part.norm, nn.Identity):
        names |= {"scale": f"{part.norm_name}.weight", "shift": f"{part.norm_name}.bias"}
    return {f"{number}.{own}": tensors[name] for own, name in names.items() if name in tensors}
