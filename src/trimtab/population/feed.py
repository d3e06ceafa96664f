"""Each member's batches of an epoch, side by side."""

from torch import Tensor

from trimtab.trial.batches import Rows

AT_ONCE = 32_768
"""Numbers: inputs of several small batches are gathered by one call, as long as they stay in a core's cache."""


class Feed:
    """Batches by the number of their step.

    Args:
        rows: of all members.
        orders: (members, rows), each member's.
        size: rows of a batch; the last one may have fewer.
    """

    def __init__(self, rows: Rows, orders: Tensor, size: int) -> None:
        self._rows, whole = rows, orders.shape[1] // size
        # (steps, members, size): what a step needs lies in one piece.
        self._orders = orders[:, : whole * size].view(-1, whole, size).transpose(0, 1).contiguous()
        self._rest = orders[:, whole * size :]
        self._targets = [*rows.y[self._orders].unbind(), rows.y[self._rest]]
        self._steps = max(1, AT_ONCE // max(1, self._orders[0].numel() * rows.x[0].numel()))
        self._first, self._made = 0, list[Tensor]()

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        """(members, batch, *shape) inputs, which the caller may overwrite, and (members, batch) targets."""
        if step == len(self._orders):
            return self._gathered(self._rest), self._targets[step]
        if not self._first <= step < self._first + len(self._made):
            self._first, found = step, self._gathered(self._orders[step : step + self._steps])
            self._made = list(found.unbind())
        return self._made[step - self._first], self._targets[step]

    def _gathered(self, numbers: Tensor) -> Tensor:
        return self._rows.x.index_select(0, numbers.flatten()).view(*numbers.shape, *self._rows.x.shape[1:])
