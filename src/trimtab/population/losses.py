"""Losses of stacked members with their gradients: each member's own mean, as `trial.metrics.data_loss` defines it."""

import torch
import torch.nn.functional as F
from torch import Tensor

from trimtab.data.arrays import Problem


class Loss:
    """(members, batch, outputs) and (members, batch) targets → (members,) losses, and the gradient of the outputs.

    Args:
        problem: says which loss it is, and the classes' weights.
        smoothing: (members, 1) of labels; None if it is off.
        members: how many.
        device: where they are trained.
    """

    def __init__(self, problem: Problem, smoothing: Tensor | None, members: int, device: torch.device) -> None:
        self._problem, self._smoothing = problem, smoothing
        self._weights = None if problem.class_weights is None else torch.tensor(problem.class_weights, device=device)
        self._is_plain = problem.task == "classification" and self._weights is None and smoothing is None
        self._each = torch.ones(members, device=device)
        self._pulls: dict[int, Tensor] = {}

    def __call__(self, outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Losses and gradient of one batch."""
        if self._is_plain:
            return self._cross_entropy(outputs, y)
        with torch.enable_grad():
            losses = self._of(outputs.requires_grad_(), y)
            (grad,) = torch.autograd.grad(losses, outputs, self._each)
        return losses.detach(), grad

    def _cross_entropy(self, outputs: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Without weights and smoothing; the gradient is softmax / batch, less 1 / batch at the target.

        Autograd takes twice as long; so does the last dimension, for the same sums.
        """
        logs, target, rows = F.log_softmax(outputs.transpose(1, 2), 1), y.unsqueeze(1), y.shape[1]
        losses = logs.gather(1, target).mean((1, 2)).neg_()
        grad = logs.exp_().mul_(1.0 / rows).scatter_add_(1, target, self._pull(rows))
        return losses, grad.transpose(1, 2)

    def _pull(self, rows: int) -> Tensor:
        """(members, 1, batch) of what the target's gradient is less by."""
        if rows not in self._pulls:
            self._pulls[rows] = (self._each / -rows).view(-1, 1, 1).repeat(1, 1, rows)
        return self._pulls[rows]

    def _of(self, outputs: Tensor, y: Tensor) -> Tensor:
        if self._problem.task == "regression":
            return (outputs.squeeze(2) - y).square().mean(1)
        spread, by_class = self._smoothing, outputs.transpose(1, 2)
        logs = F.log_softmax(by_class, 1)
        hits = -logs.gather(1, y.unsqueeze(1)).squeeze(1)
        if self._weights is None:
            loss = hits.mean(1)
            return loss if spread is None else torch.lerp(loss, -logs.mean((1, 2)), spread.squeeze(1))
        weights = self._weights[y]
        total = weights.sum(1)
        loss = (weights * hits).sum(1) / total
        if spread is None:
            return loss
        flat = -(logs * self._weights.unsqueeze(1)).sum((1, 2)) / (total * self._problem.outputs)
        return torch.lerp(loss, flat, spread.squeeze(1))
