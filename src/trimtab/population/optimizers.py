"""torch's optimizers on one matrix, a row per member, each member with rates of its own.

Formulas are those of `torch.optim`; weight decay is decoupled in all, as in `trial/optimizers.py`. Hyperparameters
are (members, 1) tensors. Everything happens in place: a step reads and writes each matrix as rarely as it can.

Nothing counts steps: what depends on their number (bias correction, NAdam's momentum) is a running product of each
member's own, since members of one stack may be at different steps.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

NADAM_FADE = 0.96**0.004
"""Of the momentum per step (0.004 is torch's default, which nobody turns)."""
_LATE = torch.tensor(torch.inf)
"""The step at which Adam's corrections have come to nothing: ours are in the rate and in ε."""
_PLAIN: dict[str, Any] = {"weight_decay": 0.0, "amsgrad": False, "maximize": False}


class Stacked(ABC):
    """One kind of optimizer for some members.

    Args:
        rows: (members, size) weights, changed in place.
        hyper: name → (members, 1): `lr`, `weight_decay` and what the kind has.

    Attributes:
        memory: (members, size) each: averages of the gradient.
        products: name → (members, 1), products over the steps that a member has taken; 1 before the first.
    """

    memories = 0
    running: tuple[str, ...] = ()

    def __init__(self, rows: Tensor, hyper: Mapping[str, Tensor]) -> None:
        self.rows, self.hyper = rows, dict(hyper)
        self.memory = [torch.zeros_like(rows) for _ in range(self.memories)]
        self.products = {name: torch.ones_like(self.hyper["lr"]) for name in self.running}
        self._room = torch.empty_like(rows)

    def step(self, grads: Tensor, factor: Tensor, decayed: int) -> None:
        """One step of every member.

        Args:
            grads: (members, size); may be used as scratch memory.
            factor: (members, 1) of the schedule, on the learning rate.
            decayed: length of the part of a row that weight decay acts on.
        """
        lr = self.hyper["lr"] * factor
        self.rows[:, :decayed].mul_(1.0 - lr * self.hyper["weight_decay"])
        self._move(grads, lr)

    @abstractmethod
    def _move(self, grads: Tensor, lr: Tensor) -> None:
        """Moves `rows` by the gradient, as if there were no decay."""

    def keep(self, members: Sequence[int], rows: Tensor) -> None:
        """Drops all other members; `rows` is where the weights lie from now on."""
        chosen = list(members)
        self.rows = rows
        self.hyper = {name: value[chosen] for name, value in self.hyper.items()}
        self.memory = [memory[chosen] for memory in self.memory]
        self.products = {name: product[chosen] for name, product in self.products.items()}
        self._room = torch.empty_like(rows)


class SGD(Stacked):
    """v ← γ·v + g; w ← w − lr·v, or w − lr·(g + γ·v) with Nesterov's look-ahead (`nesterov` 1)."""

    memories = 1

    def _move(self, grads: Tensor, lr: Tensor) -> None:
        (velocity,) = self.memory
        torch.addcmul(grads, velocity, self.hyper["momentum"], out=velocity)
        ahead = self.hyper["nesterov"]
        if not ahead.any():
            self.rows.addcmul_(velocity, -lr)
            return
        # Of Nesterov's members g + γ·v moves, of the others v.
        torch.mul(velocity, torch.where(ahead > 0, self.hyper["momentum"], 1.0), out=self._room)
        self._room.addcmul_(grads, (ahead > 0).to(grads.dtype))
        self.rows.addcmul_(self._room, -lr)


class RMSprop(Stacked):
    """s ← α·s + (1 − α)·g²; w ← w − lr·g / (√s + ε)."""

    memories = 1

    def _move(self, grads: Tensor, lr: Tensor) -> None:
        (squares,) = self.memory
        alpha = self.hyper["alpha"]
        torch.mul(grads, grads, out=self._room)
        squares.mul_(alpha).addcmul_(self._room, 1.0 - alpha)
        torch.sqrt(squares, out=self._room).add_(self.hyper["eps"])
        self.rows.addcmul_(grads.div_(self._room), -lr)


class Adam(Stacked):
    """Adam (Kingma & Ba 2015) as torch computes it; with decay AdamW (Loshchilov & Hutter 2019).

    On a CPU the stacked formula is bound by memory, ten passes over four matrices: there each member's row goes through
    torch's fused kernel, one pass for 6 µs of a call. A GPU would wait for as many kernels as there are members.
    """

    memories = 2
    running = ("beta1", "beta2")

    def _move(self, grads: Tensor, lr: Tensor) -> None:
        power1, power2 = (self.products[name].mul_(self.hyper[name]) for name in self.running)
        # lr/(1 - p1) · m / (√s/√(1 - p2) + ε), without a pass for the corrections
        unbiased = (1.0 - power2).sqrt()
        lr, eps = lr * unbiased / (1.0 - power1), self.hyper["eps"] * unbiased
        (self._fused if self.rows.device.type == "cpu" else self._stacked)(grads, lr, eps)

    def _stacked(self, grads: Tensor, lr: Tensor, eps: Tensor) -> None:
        mean, squares = self.memory
        beta1, beta2 = self.hyper["beta1"], self.hyper["beta2"]
        torch.mul(grads, grads, out=self._room)
        squares.mul_(beta2).addcmul_(self._room, 1.0 - beta2)
        mean.mul_(beta1).addcmul_(grads, 1.0 - beta1)
        torch.sqrt(squares, out=self._room).add_(eps)
        torch.div(mean, self._room, out=self._room)
        self.rows.addcmul_(self._room, -lr)

    def _fused(self, grads: Tensor, lr: Tensor, eps: Tensor) -> None:
        settings = (t.flatten().tolist() for t in (lr, eps, self.hyper["beta1"], self.hyper["beta2"]))
        matrices = (t.unbind() for t in (self.rows, grads, *self.memory))
        for row, grad, mean, squares, rate, small, beta1, beta2 in zip(*matrices, *settings, strict=True):
            torch._fused_adamw_(
                [row], [grad], [mean], [squares], [], [_LATE], lr=rate, beta1=beta1, beta2=beta2, eps=small, **_PLAIN
            )


class NAdam(Stacked):
    """Adam with Nesterov's momentum (Dozat 2016), as torch computes it."""

    memories = 2
    running = ("fade", "momentum", "beta2")

    def _move(self, grads: Tensor, lr: Tensor) -> None:
        mean, squares = self.memory
        beta1, beta2 = self.hyper["beta1"], self.hyper["beta2"]
        fade = self.products["fade"].mul_(NADAM_FADE)
        now, following = (beta1 * (1.0 - 0.5 * f) for f in (fade, fade * NADAM_FADE))
        product, power2 = self.products["momentum"].mul_(now), self.products["beta2"].mul_(beta2)
        torch.mul(grads, grads, out=self._room)
        squares.mul_(beta2).addcmul_(self._room, 1.0 - beta2)
        mean.mul_(beta1).addcmul_(grads, 1.0 - beta1)
        torch.div(squares, 1.0 - power2, out=self._room).sqrt_().add_(self.hyper["eps"])
        self.rows.addcmul_(grads.div_(self._room), -lr * (1.0 - now) / (1.0 - product))
        torch.div(mean, self._room, out=self._room)
        self.rows.addcmul_(self._room, -lr * following / (1.0 - product * following))


KINDS: dict[str, type[Stacked]] = {"sgd": SGD, "rmsprop": RMSprop, "adam": Adam, "adamw": Adam, "nadam": NAdam}
"""By the option's name in conf/optimizer."""
