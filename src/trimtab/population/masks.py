"""Dropout of padded perceptrons for several steps at once: masks hang on keys and positions alone."""

from collections.abc import Sequence

from torch import Tensor

from trimtab.models.dropout import Room, mask_of, positions, rooms

AT_ONCE = 32_768
"""Numbers: of small networks calls cost more than numbers do; of so many the masks stay in a core's cache."""


class Masks:
    """Factors of dropout of an epoch.

    Args:
        keys: (steps, places, members, 1, 1) int32.
        least: (places, members, 1, 1), see `dropout.thresholds`.
        factor: likewise.
    """

    def __init__(self, keys: Tensor, least: Tensor, factor: Tensor) -> None:
        self._keys, self._least, self._factor = keys, least, factor
        self._room: Room | None = None
        self._first, self._made = 0, list[Sequence[Tensor]]()

    def of(self, step: int, shape: Sequence[int]) -> Sequence[Tensor]:
        """(members, *shape) of each place; the epoch's first batches are its largest."""
        if not self._first <= step < self._first + len(self._made):
            numbers = self._keys[0].numel() * shape[0] * shape[1]
            keys = self._keys[step : step + max(1, AT_ONCE // numbers)]
            where = positions(tuple(shape), keys.device)
            if self._room is None or self._room[0].shape != (*keys.shape[:3], *shape):
                self._room = rooms((*keys.shape[:3], *shape), keys.device)
            made = mask_of(keys, where, self._least, self._factor, self._room)
            self._first, self._made = step, [of_step.unbind() for of_step in made.unbind()]
        found = self._made[step - self._first]
        return found if found[0].shape[1] == shape[0] else [one[:, : shape[0]] for one in found]
