"""All weights of all members in one matrix, a row per member.

Optimizers, penalties and noise then act on one tensor, whatever the network's layers are; a member leaves by leaving
out its row. Layers see views of the matrix, and their gradients land in views of a second one: no step copies them.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

Shape = tuple[int, ...]
ALIGNED = 16
"""Numbers between places where a parameter may begin: products round differently elsewhere, and in another row."""


@dataclass(frozen=True)
class Layout:
    """Where each parameter lies in a member's row: first those of two dimensions or more, which decay acts on.

    Between them are gaps of zeros, so that all begin at equally round addresses whatever the row.

    Attributes:
        shapes: of each parameter, in the order of the row.
        weights: length of the part that has two dimensions or more.
        channels_last: parameters whose second dimension comes last in memory.
    """

    shapes: Mapping[str, Shape]
    weights: int
    channels_last: frozenset[str] = frozenset()

    @classmethod
    def of(cls, shapes: Mapping[str, Shape], channels_last: Iterable[str] = ()) -> "Layout":
        """The layout of parameters of these shapes."""
        matrices = {name: shape for name, shape in shapes.items() if len(shape) >= 2}
        others = {name: shape for name, shape in shapes.items() if len(shape) < 2}
        return cls(matrices | others, sum(map(_room, matrices.values())), frozenset(channels_last))

    @property
    def size(self) -> int:
        """Length of a row."""
        return sum(map(_room, self.shapes.values()))

    def decayed(self, decay_on: str) -> int:
        """Length of the part of a row that `regularisation.decay_on` names."""
        return self.weights if decay_on == "weights" else self.size

    @property
    def starts(self) -> dict[str, int]:
        """Where in a row each parameter begins."""
        rooms = [_room(shape) for shape in self.shapes.values()]
        return dict(zip(self.shapes, accumulate(rooms, initial=0), strict=False))

    def views(self, rows: Tensor) -> dict[str, Tensor]:
        """(members, size) → each parameter as (members, *shape), sharing memory."""
        found, starts = {}, self.starts
        for name, shape in self.shapes.items():
            part = rows[:, starts[name] : starts[name] + math.prod(shape)]
            if name in self.channels_last:
                found[name] = part.view(len(rows), shape[0], *shape[2:], shape[1]).movedim(-1, 2)
            else:
                found[name] = part.view(len(rows), *shape)
        return found

    def corners(self, rows: Tensor, member: int, shapes: Mapping[str, Shape]) -> dict[str, Tensor]:
        """One member's part of (members, size) at its own sizes, sharing memory; around a corner lies padding."""
        views = self.views(rows[member : member + 1])
        return {name: views[name][0][tuple(map(slice, shape))] for name, shape in shapes.items()}


def _room(shape: Shape) -> int:
    return -(-math.prod(shape) // ALIGNED) * ALIGNED


class Flat:
    """Weights and gradients of the members.

    Args:
        layout: of one row.
        members: rows.
        device: where they lie.
        dtype: of weights and gradients.

    Attributes:
        rows: (members, size) weights.
        grads: (members, size) gradients: zeros, until a backward pass adds to them or writes over them.
        parameters: name → (members, *shape), leaves that share memory with `rows`.
    """

    def __init__(self, layout: Layout, members: int, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self.layout = layout
        self._adopt(torch.zeros(members, layout.size, device=device, dtype=dtype))

    def _adopt(self, rows: Tensor) -> None:
        self.rows, self.grads = rows, torch.zeros_like(rows)
        self.parameters = {name: view.requires_grad_() for name, view in self.layout.views(self.rows).items()}
        for name, grad in self.layout.views(self.grads).items():
            self.parameters[name].grad = grad

    def fill(self, member: int, values: Mapping[str, Tensor]) -> None:
        """Gives a member its weights; a smaller tensor fills the first corner and leaves zeros around."""
        put(self.layout, self.rows, member, values)

    def keep(self, members: Sequence[int]) -> None:
        """Drops all other members."""
        self._adopt(self.rows[list(members)].detach())


@torch.no_grad()
def put(layout: Layout, rows: Tensor, member: int, values: Mapping[str, Tensor]) -> None:
    """Writes a member's tensors, at its own sizes, into its row of (members, size)."""
    corners = layout.corners(rows, member, {name: tuple(value.shape) for name, value in values.items()})
    for name, value in values.items():
        corners[name].copy_(value)
