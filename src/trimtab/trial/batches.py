"""Batches sliced from tensors in memory: no DataLoader, no workers, no collating of single rows."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

# Rows per forward pass outside training: bounds memory, and is part of the result's last bits.
CHUNK = 8192


@dataclass(frozen=True)
class Rows:
    """Rows on the device that trains.

    Attributes:
        x: (rows, *shape).
        y: (rows,) class numbers, or standardised targets.
    """

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.x)


class Batches:
    """All rows once per iteration, in an order drawn anew from `generator`.

    The last batch holds what is left; a batch larger than the data is all rows. The rows are gathered
    once per epoch and the batches are views of that, which costs one copy of the data in memory.

    Args:
        rows: all rows.
        batch_size: rows of a batch; cut to those that there are.
        generator: on the CPU.
        augment: changes the inputs of each batch; None leaves them.
    """

    def __init__(
        self,
        rows: Rows,
        batch_size: int,
        generator: torch.Generator,
        augment: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.rows = rows
        self.batch_size = min(batch_size, len(rows))
        self.generator = generator
        self._augment = augment

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        # A generator draws at the first batch: Lightning makes iterators that it never asks.
        order = self.order()
        xs: Iterable[Tensor] = torch.split(self.rows.x[order], self.batch_size)
        ys = torch.split(self.rows.y[order], self.batch_size)
        if self._augment is not None:
            xs = map(self._augment, xs)
        yield from zip(xs, ys, strict=True)

    def order(self) -> Tensor:
        """(rows,) the next epoch's order."""
        return torch.randperm(len(self.rows), generator=self.generator).to(self.rows.x.device)

    def sizes(self) -> Tensor:
        """(batches,) rows of each batch."""
        sizes = torch.full((len(self),), self.batch_size)
        sizes[-1] = len(self.rows) - self.batch_size * (len(self) - 1)
        return sizes


def outputs_of(model: nn.Module, x: Tensor) -> Tensor:
    """(rows, outputs) in at least float32, in evaluation mode and without gradients."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            outputs = torch.cat([model(chunk) for chunk in torch.split(x, CHUNK)])
    finally:
        model.train(training)
    return outputs.to(torch.promote_types(outputs.dtype, torch.float32))
