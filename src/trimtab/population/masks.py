"""Dropout of padded perceptrons for several steps at once: masks hang on keys and positions alone."""

from collections.abc import Sequence

from torch import Tensor

from trimtab.models.dropout import Room, mask_of, positions, rooms
from trimtab.population.ahead import Ahead, Shape, steps_at_once


class Masks(Ahead[Sequence[Tensor]]):
    """Factors of dropout of an epoch.

    Args:
        keys: (steps, places, members, 1, 1) int32.
        least: (places, members, 1, 1), see `dropout.thresholds`.
        factor: likewise.
    """

    def __init__(self, keys: Tensor, least: Tensor, factor: Tensor) -> None:
        super().__init__()
        self._keys, self._least, self._factor = keys, least, factor
        self._room: Room | None = None

    def of(self, step: int, shape: Shape) -> Sequence[Tensor]:
        """(members, *shape) of each place; the epoch's first batches are its largest."""
        found = self._at(step, shape)
        return found if found[0].shape[1] == shape[0] else [one[:, : shape[0]] for one in found]

    def _several(self, step: int, shape: Shape) -> list[Sequence[Tensor]]:
        keys = self._keys[step : step + steps_at_once(self._keys[0].numel() * shape[0] * shape[1])]
        where = positions(tuple(shape), keys.device)
        if self._room is None or self._room[0].shape != (*keys.shape[:3], *shape):
            self._room = rooms((*keys.shape[:3], *shape), keys.device)
        made = mask_of(keys, where, self._least, self._factor, self._room)
        return [of_step.unbind() for of_step in made.unbind()]
