"""Networks on a CPU, each with the loops of `loops.py` for itself: a member costs what its own sizes cost.

There is no padding, and members may differ in all that they are: what they share is the epoch, which Lightning runs
once for all. A step calls nothing but matrix products; to join those would gain nothing.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from trimtab.data.arrays import Parts
from trimtab.models.cnn import CNN
from trimtab.models.mlp import MLP
from trimtab.population import cnn, mlp
from trimtab.population.compiled import loops
from trimtab.population.compiled.single import Laid, Single, shared_rooms
from trimtab.population.flat import put
from trimtab.population.members import Member
from trimtab.population.optimizers import Optimizers
from trimtab.population.program import Named
from trimtab.population.state import MemberState
from trimtab.trial.batches import Rows

MOST_WINDOWS = 1_500_000
"""Numbers in the windows of a batch of images: larger ones are torch's to convolve."""


def can_train(member: Member, model: nn.Module, place: torch.device) -> bool:
    """Whether the loops are written for a network, and for where it is trained."""
    if place.type != "cpu":
        return False
    if isinstance(model, CNN):
        few = cnn.window_numbers(model) * int(member.recipe.batch_size) <= MOST_WINDOWS
        return cnn.is_written_out(model) and (few or len(model.shape) == 2)
    return isinstance(model, MLP) and mlp.is_written_out(model)


@cache
def _libraries() -> ThreadpoolController:
    loops.ready()  # what multiplies matrices is loaded by then
    return ThreadpoolController()


class Singles:
    """A `Program`.

    Args:
        members: with one network each; neighbours with the same kind of optimizer share its bookkeeping.
        models: their networks, which the loops `can_train`, with the weights and buffers to start from.
        parts: what each is trained on.
    """

    def __init__(self, members: Sequence[Member], models: Sequence[MLP | CNN], parts: Sequence[Parts[Rows]]) -> None:
        laid: dict[tuple[int, bool], Laid] = {}
        self._each = []
        for member, model, own in zip(members, models, parts, strict=True):
            key = id(own), isinstance(model, CNN)
            laid[key] = laid.get(key) or Laid(own, isinstance(model, CNN))
            self._each.append(Single(member, model, own, laid[key]))
        shared_rooms(self._each)
        self._rows = torch.zeros(len(members), max(one.layout.size for one in self._each))
        for m, one in enumerate(self._each):
            put(one.layout, self._rows, m, one.initial)
        self._stepping = Optimizers([m.optimizer for m in members], self._rows)
        self._lend()

    def _lend(self) -> None:
        for m, one in enumerate(self._each):
            optimizer, row = self._stepping.of(m)
            one.lend(self._rows[m], [memory[row] for memory in optimizer.memory])

    @property
    def rates(self) -> list[float]:
        """See `Program`."""
        return self._stepping.rates

    def threads(self, number: int) -> AbstractContextManager[Any]:
        """See `Program`: torch's setting says nothing to the products."""
        return _libraries().limit(limits=number, user_api="blas")  # type: ignore[no-any-return]

    def begin(self, first: Sequence[int], factors: Sequence[Sequence[float]], orders: Sequence[Tensor]) -> None:
        """See `Program`."""
        own = [torch.tensor(f) for f in factors]
        ahead = self._stepping.ahead(pad_sequence(own).unsqueeze(2), torch.tensor([len(f) for f in factors]))
        given = zip(first, orders, factors, self.rates, ahead, strict=True)
        for one, (start, order, own_factors, lr, (decay, scalars)) in zip(self._each, given, strict=True):
            one.begin(start, order, own_factors, lr, decay, scalars)

    def run(self, first: int, stop: int) -> None:
        """See `Program`; a call for each member, 10 µs for some dozens of steps."""
        for one in self._each:
            one.run(first, stop)

    def losses(self) -> list[Tensor]:
        """See `Program`."""
        return [one.losses() for one in self._each]

    def shares(self) -> list[float]:
        """See `Program`: by the time of their steps."""
        total = sum(one.seconds for one in self._each)
        return [one.seconds / total for one in self._each]

    def outputs(self) -> list[Tensor]:
        """See `Program`."""
        return [one.outputs() for one in self._each]

    def weights(self, member: int) -> Named:
        """See `Program`."""
        return self._each[member].weights()

    def memory(self, member: int) -> tuple[tuple[Named, ...], dict[str, float]]:
        """See `Program`."""
        layout = self._each[member].layout
        return self._stepping.remembered(member, layout, layout.shapes)

    def streams(self, member: int) -> dict[str, torch.Generator]:
        """See `Program`."""
        return self._each[member].streams

    def resume(self, member: int, state: MemberState) -> None:
        """See `Program`."""
        self._stepping.resume(member, self._each[member].layout, state)

    def keep(self, members: Sequence[int]) -> None:
        """See `Program`."""
        self._rows = self._rows[list(members)]
        self._each = [self._each[m] for m in members]
        self._stepping.keep(members, self._rows)
        self._lend()
