"""Each member's batches of an epoch, side by side."""

from torch import Tensor

from trimtab.population.ahead import Ahead, Shape, steps_at_once
from trimtab.trial.batches import Rows


class Feed(Ahead[Tensor]):
    """Batches by the number of their step.

    Args:
        rows: of all members.
        orders: (members, rows), each member's.
        size: rows of a batch; the last one may have fewer.
    """

    def __init__(self, rows: Rows, orders: Tensor, size: int) -> None:
        super().__init__()
        self._rows, whole = rows, orders.shape[1] // size
        # (steps, members, size): what a step needs lies in one piece.
        self._orders = orders[:, : whole * size].view(-1, whole, size).transpose(0, 1).contiguous()
        self._rest = orders[:, whole * size :]
        self._targets = [*rows.y[self._orders].unbind(), rows.y[self._rest]]
        self._steps = steps_at_once(self._orders[0].numel() * rows.x[0].numel())

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        """(members, batch, *shape) inputs, which the caller may overwrite, and (members, batch) targets."""
        if step == len(self._orders):
            return self._gathered(self._rest), self._targets[step]
        return self._at(step), self._targets[step]

    def _several(self, step: int, shape: Shape) -> list[Tensor]:
        return list(self._gathered(self._orders[step : step + self._steps]).unbind())

    def _gathered(self, numbers: Tensor) -> Tensor:
        return self._rows.x.index_select(0, numbers.flatten()).view(*numbers.shape, *self._rows.x.shape[1:])
