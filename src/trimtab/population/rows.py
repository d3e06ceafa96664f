"""The rows of a stack's members: of one set for all, or of several of equal lengths, as folds are."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from trimtab.trial.batches import Rows


class Joined:
    """Each member's rows, all in one tensor.

    Args:
        each: of every member; those on the same set have the same object.
    """

    def __init__(self, each: Sequence[Rows]) -> None:
        sets = {id(rows): rows for rows in each}
        places = {key: place for place, key in enumerate(sets)}
        x, y = zip(*((rows.x, rows.y) for rows in sets.values()), strict=True)
        self.rows = Rows(x[0], y[0]) if len(sets) == 1 else Rows(torch.cat(x), torch.cat(y))
        self._length, self._are_several = len(x[0]), len(sets) > 1
        self._sets = torch.tensor([places[id(rows)] for rows in each], device=x[0].device)

    def of(self, member: int) -> Rows:
        """A member's own."""
        first = int(self._sets[member]) * self._length
        return Rows(self.rows.x[first : first + self._length], self.rows.y[first : first + self._length])

    def numbers(self, own: Tensor) -> Tensor:
        """(members, n) numbers among a member's own rows → among all."""
        return own + self._length * self._sets.unsqueeze(1) if self._are_several else own

    def chunks(self, size: int) -> Iterator[Tensor]:
        """(members, rows, *shape) inputs of every member, so many rows at a time."""
        x = self.rows.x.view(-1, self._length, *self.rows.x.shape[1:])
        for first in range(0, self._length, size):
            of_sets = x[:, first : first + size]
            yield of_sets[self._sets] if self._are_several else of_sets.expand(len(self._sets), *of_sets.shape[1:])

    def keep(self, members: Sequence[int]) -> None:
        """Drops all other members."""
        self._sets = self._sets[list(members)]
