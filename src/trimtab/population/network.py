"""What the engine needs of stacked networks, and the one for any module: torch's `vmap` over stacked weights."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from trimtab.models.cnn import CNN
from trimtab.models.dropout import Dropout, is_dropout, replace
from trimtab.models.mlp import MLP
from trimtab.population.flat import Layout, Shape
from trimtab.population.recurrent import unroll

Named = dict[str, Tensor]


class Network(Protocol):
    """Networks of all members in one program.

    Attributes:
        layout: of one member's parameters, padded to the largest.
        places: layers with dropout; 0 if no member drops.
        rows_in_cache: of each member, so many go through at once on a CPU where only outputs are wanted.
        adds: whether `backward` adds to gradients.
    """

    layout: Layout
    places: int
    rows_in_cache: int
    adds: bool

    def load(self, member: int) -> Named:
        """A member's initial weights by the layout's names, at their true shapes, in the order of its module."""

    def begin(self, keys: Tensor | None) -> None:
        """An epoch begins; `keys` are those of its dropout, (steps, members, places), None where nothing drops."""

    def forward(self, parameters: Mapping[str, Tensor], x: Tensor, step: int | None) -> Tensor:
        """(members, batch, *shape) → (members, batch, outputs); no gradient is followed.

        Args:
            parameters: name → (members, *shape).
            x: inputs; they may be overwritten in training.
            step: of the epoch, in training: batch statistics count, and units drop. None outside of it.
        """

    def backward(self, grad: Tensor) -> None:
        """After `forward` in training, and once: its parameters' gradients from that of its outputs.

        That of a layer which a member lacks is left alone; the others are written over, or added to if `adds`. The one
        of the outputs may be overwritten.
        """

    def state(self, member: int, parameters: Mapping[str, Tensor]) -> Named:
        """A copy of one member's weights and buffers as its own module names them."""

    def keep(self, members: Sequence[int]) -> None:
        """Drops all other members."""


class Vmapped:
    """Members of equal shapes: the module's own forward, mapped over stacked parameters and buffers.

    Batch normalisation changes its stacked buffers in place, as it should.

    Args:
        models: one per member, built alike; their dropout becomes stateless.
        device: where they are trained.

    Raises:
        ValueError: their parameters differ in shape.
    """

    rows_in_cache = 256
    adds = True

    def __init__(self, models: Sequence[nn.Module], device: torch.device) -> None:
        self._drops = stateless(models)
        self.places = max(self._drops.values(), default=-1) + 1
        unroll(models[0])
        self._skeleton = models[0].to(device)
        self._initial = [{name: p.detach() for name, p in m.named_parameters()} for m in models]
        self.layout = Layout.of(equal_shapes(self._initial))
        names = [name for name, _ in models[0].named_buffers()]
        self._buffers = {name: torch.stack([m.get_buffer(name) for m in models]).to(device) for name in names}
        self._kept = set(models[0].state_dict())
        self._keys: Sequence[Tensor] | None = None

    def load(self, member: int) -> Named:
        """See `Network`."""
        return self._initial[member]

    def begin(self, keys: Tensor | None) -> None:
        """See `Network`."""
        self._keys = None if keys is None else keys.unbind()

    def forward(self, parameters: Mapping[str, Tensor], x: Tensor, step: int | None) -> Tensor:
        """See `Network`."""
        self._skeleton.train(step is not None)
        buffers = dict(self._buffers)
        if step is not None and self._keys is not None:
            buffers |= {f"{name}.key": self._keys[step][:, place] for name, place in self._drops.items()}

        def one(weights: Named, state: Named, rows: Tensor) -> Tensor:
            outputs: Tensor = functional_call(self._skeleton, (weights, state), (rows,))
            return outputs

        with torch.set_grad_enabled(step is not None):
            outputs: Tensor = vmap(one)(dict(parameters), buffers, x)
        if step is not None:
            self._outputs = outputs
        return outputs.detach()

    def backward(self, grad: Tensor) -> None:
        """See `Network`."""
        self._outputs.backward(grad)  # type: ignore[no-untyped-call]
        del self._outputs

    def state(self, member: int, parameters: Mapping[str, Tensor]) -> Named:
        """See `Network`."""
        everything = {**parameters, **self._buffers}
        return {name: everything[name][member].detach().clone() for name in everything if name in self._kept}

    def keep(self, members: Sequence[int]) -> None:
        """See `Network`."""
        self._buffers = {name: buffer[list(members)] for name, buffer in self._buffers.items()}


def stateless(models: Sequence[nn.Module]) -> dict[str, int]:
    """Makes dropout stateless in all models, also where only one of them drops; name → place."""
    dropping = {name for m in models for name, layer in m.named_modules() if is_dropout(layer) and layer.p}
    for model in models:
        for layer in replace(model, dropping):
            layer.alone = False
    return {name: layer.place for name, layer in models[0].named_modules() if isinstance(layer, Dropout)}


def equal_shapes(named: Sequence[Named]) -> Mapping[str, Shape]:
    """The shapes that all members have.

    Raises:
        ValueError: they differ.
    """
    first, *others = [{name: tuple(p.shape) for name, p in weights.items()} for weights in named]
    if any(other != first for other in others):
        raise ValueError("members of one stack must have parameters of equal shapes")
    return first


def network(models: Sequence[nn.Module], device: torch.device) -> Network:
    """The stack that trains these networks fastest."""
    # Here and not above: they need this module's types.
    from trimtab.population import cnn, mlp

    perceptrons = [m for m in models if isinstance(m, MLP) and mlp.is_written_out(m)]
    if len(perceptrons) == len(models):
        return mlp.PaddedMLP(perceptrons, device)
    convolving = [m for m in models if isinstance(m, CNN) and cnn.is_written_out(m)]
    if len(convolving) == len(models):
        return cnn.StackedCNN(convolving, device)
    return Vmapped(models, device)
