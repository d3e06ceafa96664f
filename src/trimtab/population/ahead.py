"""What steps need and can be made for several of them at once: of small networks calls cost more than numbers do."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

Shape = Sequence[int]
T = TypeVar("T")
AT_ONCE = 32_768
"""Numbers made at once: so many stay in a core's cache until the last of their steps."""


def steps_at_once(numbers: int) -> int:
    """For how many steps to make what is so many numbers for each."""
    return max(1, AT_ONCE // max(1, numbers))


class Ahead(ABC, Generic[T]):
    """Gives each step its own, in the order of an epoch."""

    def __init__(self) -> None:
        self._first, self._made = 0, list[T]()

    def _at(self, step: int, shape: Shape = ()) -> T:
        """What is made for a step; `shape` is for `_several`, where more must be made."""
        if not self._first <= step < self._first + len(self._made):
            self._first, self._made = step, self._several(step, shape)
        return self._made[step - self._first]

    @abstractmethod
    def _several(self, step: int, shape: Shape) -> list[T]:
        """Makes it for this step and some that follow."""
