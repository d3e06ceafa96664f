"""Forward and backward pass of stacked networks, written out.

Autograd would find the same derivatives and call the same kernels, but its bookkeeping takes a third of a step of a few
small networks. Gradients are written where they are kept.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trimtab.population.normalisations import Affine, Normalisation

_aten = torch.ops.aten


class Bend(NamedTuple):
    """An activation, forward and backward.

    Attributes:
        forward: (the module, its input) → its output; may overwrite the input.
        backward: (the module, gradient of its output, what is kept) → gradient of its input; may overwrite the first.
        keeps_input: whether its input is kept for that, or its output.
        bears_zeros: whether what is kept may be multiplied by a mask if the gradient is, too.
        exact: whether each number is made of one alone by operations that round correctly.
    """

    forward: Callable[[Any, Tensor], Tensor]
    backward: Callable[[Any, Tensor, Tensor], Tensor]
    keeps_input: bool = True
    bears_zeros: bool = True
    exact: bool = False

    def bent(self, kind: nn.Module, z: Tensor) -> Tensor:
        """`forward`, to the same bits in any company."""
        return self.forward(kind, z) if self.exact else _in_vectors(partial(self.forward, kind), z)

    def straightened(self, kind: nn.Module, grad: Tensor, kept: Tensor) -> Tensor:
        """`backward`, likewise."""
        return self.backward(kind, grad, kept) if self.exact else _in_vectors(partial(self.backward, kind), grad, kept)


VECTOR = 32
"""Numbers that torch's loops take at once on a CPU; those that are left at the end it computes by other formulas."""


def _in_vectors(made: Callable[..., Tensor], first: Tensor, *others: Tensor) -> Tensor:
    """What is made of (members, …), where no member's last numbers are left over."""
    if (over := first[0].numel() % VECTOR) == 0:
        return made(first, *others)
    given = (F.pad(x.flatten(1), (0, VECTOR - over)) for x in (first, *others))
    return made(*given)[:, : over - VECTOR].reshape(first.shape)


BENDS: dict[type[nn.Module], Bend] = {
    nn.Identity: Bend(lambda _, z: z, lambda _, grad, z: grad, exact=True),
    nn.ReLU: Bend(
        lambda _, z: z.relu_(),
        lambda _, grad, out: _aten.threshold_backward.grad_input(grad, out, 0, grad_input=grad),
        keeps_input=False,
        exact=True,
    ),
    nn.LeakyReLU: Bend(
        lambda kind, z: kind(z),
        lambda kind, grad, z: _aten.leaky_relu_backward.default(grad, z, kind.negative_slope, False),
        exact=True,
    ),
    nn.ELU: Bend(
        lambda kind, z: kind(z), lambda kind, grad, z: _aten.elu_backward.default(grad, kind.alpha, 1, 1, False, z)
    ),
    nn.GELU: Bend(
        lambda kind, z: kind(z),
        lambda kind, grad, z: _aten.gelu_backward.default(grad, z, approximate=kind.approximate),
    ),
    nn.SiLU: Bend(lambda kind, z: kind(z), lambda _, grad, z: _aten.silu_backward.default(grad, z)),
    nn.Tanh: Bend(
        lambda _, z: z.tanh_(),
        lambda _, grad, out: _aten.tanh_backward.default(grad, out),
        keeps_input=False,
        bears_zeros=False,
    ),
    nn.Sigmoid: Bend(
        lambda _, z: z.sigmoid_(),
        lambda _, grad, out: _aten.sigmoid_backward.default(grad, out),
        keeps_input=False,
        bears_zeros=False,
    ),
}
"""By the activation's class."""


class Taken(NamedTuple):
    """What a layer's backward pass needs of its forward pass: tensors of (members, batch, …).

    Attributes:
        x: what the layer was given.
        normal: what the normalisation's needs; None without one.
        kept: what its activations need, of each kind.
        mask: of dropout; None where nothing drops.
    """

    x: Tensor
    normal: tuple[Tensor, Tensor] | None
    kept: list[Tensor]
    mask: Tensor | None


class Layer:
    """A hidden layer of neighbouring members that all have it, or all have not.

    Args:
        number: of the layer, from 0.
        rows: the members.
        activations: of each; None where it does not have the layer.
        units: (members, 1, width), 1 for each unit that a member has, 0 for padding.
        normalisation: None if there is none.
        product: makes what multiplies inputs and weights from where both lie (see `bind`).
    """

    def __init__(
        self,
        number: int,
        rows: slice,
        activations: Sequence[nn.Module | None],
        units: Tensor,
        normalisation: Normalisation | None,
        product: "Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], Linear] | None" = None,
    ) -> None:
        self.number, self.rows, self._units, self._normalisation = number, rows, units, normalisation
        self._product = product or Linear
        found: dict[str, tuple[nn.Module, list[int]]] = {}
        for row, kind in enumerate(activations):
            if kind is not None:
                found.setdefault(repr(kind), (kind, []))[1].append(row)
        self._kinds = [(kind, torch.tensor(own, device=units.device)) for kind, own in found.values()]
        order = torch.cat([own for _, own in self._kinds]) if self._kinds else torch.empty(0)
        self._back = order.argsort()
        # Only where 0 stays 0 may padded units do without a mask: sigmoid(0) is 0.5.
        bent = any(float(kind(torch.zeros(()))) != 0 for kind, _ in self._kinds)
        self._masked = bent and not bool(units.all())
        self._overwrites = all(BENDS[type(kind)].bears_zeros for kind, _ in self._kinds) or len(self._kinds) > 1

    def bind(self, weights: Mapping[str, Tensor], grads: Mapping[str, Tensor]) -> None:
        """Says where weights and gradients lie.

        Args:
            weights: name → (members, …), of all members.
            grads: likewise, written to by `backward`; may be empty if that is never called.
        """
        if not self._kinds:
            return
        own_weights, own_grads = (parts(f"{self.number}.", self.rows, given) for given in (weights, grads))
        self._linear = self._product(own_weights, own_grads)
        if self._normalisation is not None:
            scale, shift = (own_weights[name].unsqueeze(1) for name in ("scale", "shift"))
            self._affine = Affine(scale, shift, own_grads.get("scale"), own_grads.get("shift"))

    def forward(self, x: Tensor, training: bool, mask: Tensor | None) -> tuple[Tensor, Taken | None]:
        """What the members make of (members, batch, units), and what `backward` needs of it."""
        if not self._kinds:
            return x, None
        z, normal = self._linear.forward(x), None
        if self._normalisation is not None:
            z, normal = self._normalisation.forward(z, self._affine, training)
        out, kept = self._bent(z)
        factors = [f for f in (self._units if self._masked else None, mask) if f is not None]
        for factor in factors:
            out = out.mul_(factor) if self._overwrites else out * factor
        return out, Taken(x, normal, kept, mask)

    def _bent(self, z: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Each member's own activation of `z`, and what is kept of each kind."""
        kept, made = [], []
        for kind, rows in self._kinds:
            bend, own = BENDS[type(kind)], z if len(self._kinds) == 1 else z[rows]
            out = bend.bent(kind, own)
            kept.append(own if bend.keeps_input else out)
            made.append(out)
        return made[0] if len(made) == 1 else torch.cat(made)[self._back], kept

    def backward(self, taken: Taken | None, grad: Tensor, last: bool) -> Tensor:
        """Writes the gradients of the layer's weights; makes of that of its output the one of what it was given.

        Args:
            taken: of the forward pass.
            grad: of what the layer made; it may be overwritten.
            last: nobody needs the gradient of what it was given, and what comes back is none.
        """
        if taken is None:
            return grad
        if taken.mask is not None:
            grad.mul_(taken.mask)
        if self._masked:
            grad.mul_(self._units)
        made = [
            BENDS[type(kind)].straightened(kind, grad if len(self._kinds) == 1 else grad[rows], kept)
            for (kind, rows), kept in zip(self._kinds, taken.kept, strict=True)
        ]
        grad = made[0] if len(made) == 1 else torch.cat(made)[self._back]
        if self._normalisation is not None and taken.normal is not None:
            grad = self._normalisation.backward(grad, taken.normal, self._affine)
        return self._linear.backward(taken.x, grad, last)


def parts(prefix: str, rows: slice, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A layer's parameters of some members, by what is behind its prefix."""
    return {name.removeprefix(prefix): t[rows] for name, t in tensors.items() if name.startswith(prefix)}


class Linear:
    """x·Wᵀ + b of each member.

    Args:
        weights: `weight` (members, out, in) and `bias` (members, out), which may be missing.
        grads: likewise, written to by `backward`.
    """

    def __init__(self, weights: Mapping[str, Tensor], grads: Mapping[str, Tensor]) -> None:
        self._weight, bias = weights["weight"], weights.get("bias")
        self._turned, self._bias = self._weight.transpose(1, 2), None if bias is None else bias.unsqueeze(1)
        self._to_weight, self._to_bias = grads.get("weight"), grads.get("bias")

    def forward(self, x: Tensor) -> Tensor:
        """(members, batch, in) → (members, batch, out)."""
        return torch.bmm(x, self._turned) if self._bias is None else torch.baddbmm(self._bias, x, self._turned)

    def backward(self, x: Tensor, grad: Tensor, last: bool = False) -> Tensor:
        """See `Layer.backward`."""
        assert self._to_weight is not None
        if grad.device.type == "cpu":
            torch.bmm(grad.transpose(1, 2), x, out=self._to_weight)
        else:  # not everywhere may a product be written between other numbers
            self._to_weight.copy_(torch.bmm(grad.transpose(1, 2), x))
        if self._to_bias is not None:
            torch.sum(grad, 1, out=self._to_bias)
        return grad if last else torch.bmm(grad, self._weight)


class WrittenOut(ABC):
    """A `Network` of layers whose last is linear; it looks anew where weights lie when they have moved."""

    adds = False
    _bound: Mapping[str, Tensor] | None = None

    def forward(self, parameters: Mapping[str, Tensor], x: Tensor, step: int | None) -> Tensor:
        """See `Network`."""
        if parameters is not self._bound:
            weights = {name: p.detach() for name, p in parameters.items()}
            grads = {name: p.grad for name, p in parameters.items() if p.grad is not None}
            self._bind(weights, grads)
            everybody = slice(None)
            self._output = Linear(parts("output.", everybody, weights), parts("output.", everybody, grads))
            self._bound = parameters
        last, needed = self._hidden_forward(x, step)
        if step is not None:
            self._last, self._needed = last, needed
        return self._output.forward(last)

    def backward(self, grad: Tensor) -> None:
        """See `Network`."""
        last, needed = self._last, self._needed
        del self._last, self._needed  # the next step needs the room
        self._hidden_backward(needed, self._output.backward(last, grad))

    @abstractmethod
    def _bind(self, weights: Mapping[str, Tensor], grads: Mapping[str, Tensor]) -> None:
        """Says to the hidden layers where their parameters lie, and where their gradients go."""

    @abstractmethod
    def _hidden_forward(self, x: Tensor, step: int | None) -> tuple[Tensor, Any]:
        """(members, batch, units) that the output layer is given, and what `_hidden_backward` needs."""

    @abstractmethod
    def _hidden_backward(self, needed: Any, grad: Tensor) -> None:
        """Writes the gradients of the hidden layers from that of the last one's output."""
