"""torch's optimizers on one matrix, a row per member, each member with rates of its own.

Formulas are those of `torch.optim`; weight decay is decoupled in all, as in `trial/optimizers.py`. Hyperparameters
are (members, 1) tensors. Everything happens in place: a step reads and writes each matrix as rarely as it can, and what
hangs on the number of the step alone is worked out for all steps of an epoch at once.

Nothing counts steps: what depends on their number (bias correction, NAdam's momentum) is a running product of each
member's own, since members of one stack may be at different steps.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from trimtab.population.flat import Layout, Shape, put
from trimtab.population.state import MemberState

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

    def begin(self, grads: Tensor, factors: Tensor, decayed: int) -> None:
        """An epoch begins.

        Args:
            grads: (members, size), where each step's gradients will be; a step may use them as scratch memory.
            factors: (steps, members, 1) of the schedules, on the learning rate.
            decayed: length of the part of a row that weight decay acts on.
        """
        kept, scalars = self.ahead(factors)
        self._grads = grads
        self._decayed = self.rows[:, :decayed]
        self._kept = kept.unbind() if self.hyper["weight_decay"].any() else None
        self._begin(*scalars)

    def ahead(self, factors: Tensor, steps: Tensor | None = None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """What hangs on the number of a step alone; the running products become those of the epoch's end.

        Args:
            factors: (steps, members, 1) of the schedules.
            steps: (members,) that each takes, if not all of them.

        Returns:
            (steps, members, 1) of what decay leaves of a weight, and of each scalar that a step is made with.
        """
        lr = self.hyper["lr"] * factors
        self._steps = torch.full((lr.shape[1],), len(lr), device=lr.device) if steps is None else steps
        return 1.0 - lr * self.hyper["weight_decay"], tuple(s.expand_as(lr) for s in self._scalars(lr))

    def step(self, step: int) -> None:
        """Step `step` of the epoch, of every member."""
        if self._kept is not None:
            self._decayed.mul_(self._kept[step])
        self._move(step)

    @abstractmethod
    def _scalars(self, lr: Tensor) -> tuple[Tensor, ...]:
        """See `ahead`; `lr` is (steps, members, 1)."""

    @abstractmethod
    def _begin(self, *scalars: Tensor) -> None:
        """Prepares the steps of an epoch, each with its scalars."""

    @abstractmethod
    def _move(self, step: int) -> None:
        """Moves `rows` by the gradient, as if there were no decay."""

    def _powers(self, name: str, steps: int) -> Tensor:
        """(steps, members, 1) products of a hyperparameter over the steps of the coming epoch, and of all before."""
        counts = torch.arange(1, steps + 1, dtype=torch.float64, device=self.rows.device).view(-1, 1, 1)
        found = self.products[name].double() * self.hyper[name].double() ** counts
        self.products[name] = self._at_end(found)
        return found.to(self.rows.dtype)

    def _at_end(self, products: Tensor) -> Tensor:
        """(members, 1) of (steps, members, 1), after each member's last step."""
        members = torch.arange(len(self._steps), device=products.device)
        return products[self._steps - 1, members].to(self.rows.dtype)

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

    def _scalars(self, lr: Tensor) -> tuple[Tensor, ...]:
        return lr, self.hyper["momentum"], self.hyper["nesterov"]

    def _begin(self, *scalars: Tensor) -> None:
        lr, *_ = scalars
        self._lr = (-lr).unbind()
        ahead = self.hyper["nesterov"] > 0
        # Of Nesterov's members g + γ·v moves, of the others v.
        self._ahead = (torch.where(ahead, self.hyper["momentum"], 1.0), ahead.to(lr.dtype)) if ahead.any() else None

    def _move(self, step: int) -> None:
        (velocity,) = self.memory
        torch.addcmul(self._grads, velocity, self.hyper["momentum"], out=velocity)
        if self._ahead is None:
            self.rows.addcmul_(velocity, self._lr[step])
            return
        momentum, ahead = self._ahead
        torch.mul(velocity, momentum, out=self._room)
        self._room.addcmul_(self._grads, ahead)
        self.rows.addcmul_(self._room, self._lr[step])


class RMSprop(Stacked):
    """s ← α·s + (1 − α)·g²; w ← w − lr·g / (√s + ε)."""

    memories = 1

    def _scalars(self, lr: Tensor) -> tuple[Tensor, ...]:
        return lr, self.hyper["alpha"], self.hyper["eps"]

    def _begin(self, *scalars: Tensor) -> None:
        self._lr = (-scalars[0]).unbind()

    def _move(self, step: int) -> None:
        (squares,), grads = self.memory, self._grads
        alpha = self.hyper["alpha"]
        torch.mul(grads, grads, out=self._room)
        squares.mul_(alpha).addcmul_(self._room, 1.0 - alpha)
        torch.sqrt(squares, out=self._room).add_(self.hyper["eps"])
        self.rows.addcmul_(grads.div_(self._room), self._lr[step])


class Adam(Stacked):
    """Adam (Kingma & Ba 2015) as torch computes it; with decay AdamW (Loshchilov & Hutter 2019).

    On a CPU the stacked formula is bound by memory, ten passes over four matrices: there each member's row goes through
    torch's fused kernel, one pass for 6 µs of a call. A GPU would wait for as many kernels as there are members.
    """

    memories = 2
    running = ("beta1", "beta2")

    def _scalars(self, lr: Tensor) -> tuple[Tensor, ...]:
        power1, power2 = (self._powers(name, len(lr)) for name in self.running)
        # lr/(1 - p1) · m / (√s/√(1 - p2) + ε), without a pass for the corrections
        unbiased = (1.0 - power2).sqrt()
        return lr * unbiased / (1.0 - power1), self.hyper["eps"] * unbiased, self.hyper["beta1"], self.hyper["beta2"]

    def _begin(self, *scalars: Tensor) -> None:
        self._lr, self._eps, *_ = scalars
        self._fuses = self.rows.device.type == "cpu"
        if self._fuses:
            self._tables = torch.cat(scalars, 2).tolist()
            self._own = [*zip(*(t.unbind() for t in (self.rows, self._grads, *self.memory)), strict=True)]

    def _move(self, step: int) -> None:
        (self._fused if self._fuses else self._stacked)(step)

    def _stacked(self, step: int) -> None:
        (mean, squares), grads = self.memory, self._grads
        beta1, beta2 = self.hyper["beta1"], self.hyper["beta2"]
        torch.mul(grads, grads, out=self._room)
        squares.mul_(beta2).addcmul_(self._room, 1.0 - beta2)
        mean.mul_(beta1).addcmul_(grads, 1.0 - beta1)
        torch.sqrt(squares, out=self._room).add_(self._eps[step])
        torch.div(mean, self._room, out=self._room)
        self.rows.addcmul_(self._room, -self._lr[step])

    def _fused(self, step: int) -> None:
        for (row, grad, mean, squares), (lr, eps, beta1, beta2) in zip(self._own, self._tables[step], strict=True):
            torch._fused_adamw_(
                [row], [grad], [mean], [squares], [], [_LATE], lr=lr, beta1=beta1, beta2=beta2, eps=eps, **_PLAIN
            )


class NAdam(Stacked):
    """Adam with Nesterov's momentum (Dozat 2016), as torch computes it."""

    memories = 2
    running = ("fade", "momentum", "beta2")

    def __init__(self, rows: Tensor, hyper: Mapping[str, Tensor]) -> None:
        super().__init__(rows, {**hyper, "fade": torch.full_like(hyper["lr"], NADAM_FADE)})

    def _scalars(self, lr: Tensor) -> tuple[Tensor, ...]:
        steps, beta1 = len(lr), self.hyper["beta1"].double()
        fades = self._powers("fade", steps).double()
        now, following = beta1 * (1.0 - 0.5 * fades), beta1 * (1.0 - 0.5 * fades * NADAM_FADE)
        product = self.products["momentum"].double() * now.cumprod(0)
        self.products["momentum"] = self._at_end(product)
        unbiased = 1.0 - self._powers("beta2", steps)
        by_grad = (-lr * (1.0 - now) / (1.0 - product)).to(lr.dtype)
        by_mean = (-lr * following / (1.0 - product * following)).to(lr.dtype)
        return by_grad, by_mean, unbiased, *(self.hyper[name] for name in ("beta1", "beta2", "eps"))

    def _begin(self, *scalars: Tensor) -> None:
        self._by_grad, self._by_mean, self._unbiased = (s.unbind() for s in scalars[:3])

    def _move(self, step: int) -> None:
        (mean, squares), grads = self.memory, self._grads
        beta1, beta2 = self.hyper["beta1"], self.hyper["beta2"]
        torch.mul(grads, grads, out=self._room)
        squares.mul_(beta2).addcmul_(self._room, 1.0 - beta2)
        mean.mul_(beta1).addcmul_(grads, 1.0 - beta1)
        torch.div(squares, self._unbiased[step], out=self._room).sqrt_().add_(self.hyper["eps"])
        self.rows.addcmul_(grads.div_(self._room), self._by_grad[step])
        torch.div(mean, self._room, out=self._room)
        self.rows.addcmul_(self._room, self._by_mean[step])


KINDS: dict[str, type[Stacked]] = {"sgd": SGD, "rmsprop": RMSprop, "adam": Adam, "adamw": Adam, "nadam": NAdam}
"""By the option's name in conf/optimizer."""


class Optimizers:
    """The optimizers of a stack: neighbours with the same kind share one, on their rows.

    Args:
        settings: kind and hyperparameters of each member.
        rows: (members, size) weights.
    """

    def __init__(self, settings: Sequence[tuple[str, Mapping[str, float]]], rows: Tensor) -> None:
        self._each: list[tuple[slice, Stacked]] = []
        start = 0
        for kind, run in groupby(settings, key=lambda kind_and_values: kind_and_values[0]):
            values = [given for _, given in run]
            own = slice(start, start + len(values))
            hyper = {name: torch.tensor([[v[name]] for v in values], device=rows.device) for name in values[0]}
            self._each.append((own, KINDS[kind](rows[own], hyper)))
            start = own.stop

    def begin(self, grads: Tensor, factors: Tensor, decayed: int) -> None:
        """See `Stacked.begin`; of all members."""
        for own, optimizer in self._each:
            optimizer.begin(grads[own], factors[:, own], decayed)

    def ahead(self, factors: Tensor, steps: Tensor) -> list[tuple[Tensor, Tensor]]:
        """See `Stacked.ahead`: (steps,) of what decay leaves, and (steps, scalars), of each member."""
        found: list[tuple[Tensor, Tensor]] = []
        for own, optimizer in self._each:
            kept, scalars = optimizer.ahead(factors[:, own], steps[own])
            found += zip(
                kept.squeeze(2).T.contiguous(), torch.cat(scalars, 2).transpose(0, 1).contiguous(), strict=True
            )
        return found

    def step(self, step: int) -> None:
        """See `Stacked.step`."""
        for _, optimizer in self._each:
            optimizer.step(step)

    @property
    def lr(self) -> Tensor:
        """(members, 1), without the schedules' factors."""
        return torch.cat([optimizer.hyper["lr"] for _, optimizer in self._each])

    def of(self, member: int) -> tuple[Stacked, int]:
        """A member's optimizer, and its row there."""
        return next((optimizer, member - own.start) for own, optimizer in self._each if member < own.stop)

    @property
    def rates(self) -> list[float]:
        """Of each member, without the schedules' factors."""
        found: list[float] = self.lr.flatten().tolist()
        return found

    def remembered(
        self, member: int, layout: Layout, shapes: Mapping[str, Shape]
    ) -> tuple[tuple[dict[str, Tensor], ...], dict[str, float]]:
        """A copy of a member's memory on the CPU, at its own sizes, and of its products."""
        optimizer, row = self.of(member)
        memories = [layout.corners(memory, row, shapes) for memory in optimizer.memory]
        products = {name: float(product[row]) for name, product in optimizer.products.items()}
        return tuple({name: value.clone().cpu() for name, value in memory.items()} for memory in memories), products

    def resume(self, member: int, layout: Layout, state: MemberState) -> None:
        """Gives a member the memory and the products that it had."""
        optimizer, row = self.of(member)
        for memory, values in zip(optimizer.memory, state.memory, strict=True):
            put(layout, memory, row, values)
        for name, product in state.products.items():
            optimizer.products[name][row] = product

    def keep(self, members: Sequence[int], rows: Tensor) -> None:
        """Drops all other members; `rows` is where the weights lie from now on."""
        found, start = [], 0
        for own, optimizer in self._each:
            if stay := [m - own.start for m in members if own.start <= m < own.stop]:
                new = slice(start, start + len(stay))
                optimizer.keep(stay, rows[new])
                found.append((new, optimizer))
                start = new.stop
        self._each = found
