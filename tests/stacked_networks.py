"""Stacks of networks, to be held to what their members' own modules compute."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trimtab.population.flat import Flat
from trimtab.population.network import Network, network

CPU = torch.device("cpu")


def stacked(members: Sequence[nn.Module]) -> tuple[Network, Flat]:
    """The stack that `network` chooses, and its weights."""
    stack = network(members, CPU)
    flat = Flat(stack.layout, len(members), CPU)
    for m in range(len(members)):
        flat.fill(m, stack.load(m))
    return stack, flat


def check_forward(members: Sequence[nn.Module], x: Tensor) -> None:
    """Holds the stack's outputs to those of each member's module."""
    expected = torch.stack([member(rows) for member, rows in zip(members, x, strict=True)])
    stack, flat = stacked(members)
    torch.testing.assert_close(stack.forward(flat.parameters, x, 0), expected.detach())
