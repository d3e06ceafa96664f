"""Stacks of networks, to be held to what their members' own modules compute."""

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from trimtab.population.flat import Flat
from trimtab.population.network import Vmapped, network

CPU = torch.device("cpu")
N = TypeVar("N")


def stacked(members: Sequence[nn.Module], kind: type[N]) -> tuple[N, Flat]:
    """The stack that `network` chooses, which must be of this kind, and its weights."""
    stack = network(members, CPU)
    assert isinstance(stack, kind)
    flat = Flat(stack.layout, len(members), CPU)
    for m in range(len(members)):
        flat.fill(m, stack.load(m))
    return stack, flat


def check_forward(members: Sequence[nn.Module], x: Tensor) -> None:
    """Holds the outputs of a stack by `vmap` to those of each member's module."""
    expected = torch.stack([member(rows) for member, rows in zip(members, x, strict=True)])
    stack, flat = stacked(members, Vmapped)
    torch.testing.assert_close(stack.forward(flat.parameters, x, 0), expected.detach())
