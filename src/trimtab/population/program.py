"""What trains the weights of a stack's members: the engine says when, and whom it lets go."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor

from trimtab.population.state import MemberState

Named = dict[str, Tensor]


class Program(Protocol):
    """Weights, optimizers and generators of all members. Nobody's numbers hang on who else is there."""

    @property
    def rates(self) -> list[float]:
        """Each member's learning rate, without its schedule's factor."""

    def threads(self, number: int) -> AbstractContextManager[Any]:
        """Has it compute on so many of a CPU's threads, where torch's setting does not see to that."""

    def begin(self, first: Sequence[int], factors: Sequence[Sequence[float]], orders: Sequence[Tensor]) -> None:
        """An epoch begins.

        Args:
            first: each member's number of the epoch's first step.
            factors: of each member's schedule, one for each of its steps.
            orders: (rows,) of each member, the order in which it sees its rows.
        """

    def run(self, first: int, stop: int) -> None:
        """Steps `first` … `stop` − 1 of the epoch, of every member that has as many."""

    def losses(self) -> list[Tensor]:
        """(steps,) of each member in the epoch that is over, on the CPU."""

    def shares(self) -> list[float]:
        """Of the epoch's time, of each member."""

    def outputs(self) -> list[Tensor]:
        """(rows, outputs) of each member's validation rows."""

    def weights(self, member: int) -> Named:
        """A copy of one member's weights and buffers as its own module names them."""

    def memory(self, member: int) -> tuple[tuple[Named, ...], dict[str, float]]:
        """A copy of what its optimizer remembers: averages of the gradient on the CPU, and products over steps."""

    def streams(self, member: int) -> dict[str, torch.Generator]:
        """Its generators of noise, by the names of their streams; dropout has none."""

    def resume(self, member: int, state: MemberState) -> None:
        """Gives its optimizer the memory that it had; its weights and buffers came with its network."""

    def keep(self, members: Sequence[int]) -> None:
        """Compaction: the others leave no trace in what is computed from here on."""
