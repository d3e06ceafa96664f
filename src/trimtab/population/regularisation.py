"""`trial/regularisation.py` on stacked weights: the same formulas, a row and strengths of its own for each member."""

from collections.abc import Sequence

import torch
from torch import Tensor

from trimtab.population.flat import Flat, Layout
from trimtab.trial import seeds
from trimtab.trial.regularisation import Regularisation, noise, noise_variance


class Regularisers:
    """What acts between a gradient and the optimizer's step. A knob that is off in all members costs an `if`.

    Args:
        settings: one per member; all with the same `decay_on`.
        trial_seeds: one per member.
        shapes: of each member's own parameters, in the order of its module.
        layout: of the padded row.
        device: where the members are trained.

    Attributes:
        act: whether `before`, `between` or `after` would do anything.
        decayed: length of the part of a row that penalties and decay act on.
        smoothing: (members, 1) of label smoothing; None if it is off.
    """

    def __init__(
        self,
        settings: Sequence[Regularisation],
        trial_seeds: Sequence[int],
        shapes: Sequence[dict[str, tuple[int, ...]]],
        layout: Layout,
        device: torch.device,
    ) -> None:
        self.settings, self._shapes, self._layout, self._device = list(settings), list(shapes), layout, device
        self._gradient = [seeds.generator(s, "gradient_noise", device) for s in trial_seeds]
        self._weight = [seeds.generator(s, "weight_noise", device) for s in trial_seeds]
        self._clean: Tensor | None = None
        self._settle()

    def _settle(self) -> None:
        def column(name: str, off: float = 0.0) -> Tensor | None:
            values = [off if (v := getattr(s, name)) is None else float(v) for s in self.settings]
            return None if all(v == off for v in values) else torch.tensor(values, device=self._device).unsqueeze(1)

        self.decayed = self._layout.decayed(self.settings[0].decay_on)
        self.smoothing = column("label_smoothing")
        self._l2, self._l1, self._proximal = column("l2"), column("l1"), column("l1_proximal")
        self._clip_value, self._clip_norm = column("clip_value", torch.inf), column("clip_norm", torch.inf)
        self._fuzzy = [m for m, s in enumerate(self.settings) if s.weight_noise]
        self._noisy = [m for m, s in enumerate(self.settings) if s.gradient_noise]
        acting = (self._l2, self._l1, self._proximal, self._clip_value, self._clip_norm)
        self.act = bool(self._fuzzy or self._noisy or any(knob is not None for knob in acting))

    def before(self, flat: Flat) -> None:
        """Puts noise on the weights."""
        if self._fuzzy:
            self._clean = flat.rows.clone()
            for m in self._fuzzy:
                self._add(flat.rows, m, self.settings[m].weight_noise, self._weight[m])

    def between(self, flat: Flat, first: Sequence[int], step: int) -> None:
        """Penalties, weights without noise, clipping by value, then by norm, gradient noise.

        Args:
            flat: weights and gradients.
            first: each member's number of the epoch's first step.
            step: of the epoch, from 0.
        """
        weights, grads = flat.rows[:, : self.decayed], flat.grads[:, : self.decayed]
        if self._l2 is not None:
            grads.addcmul_(weights, self._l2)
        if self._l1 is not None:
            grads.addcmul_(weights.sign(), self._l1)
        if self._clean is not None:
            flat.rows.copy_(self._clean)
            self._clean = None
        if self._clip_value is not None:
            torch.clamp(flat.grads, -self._clip_value, self._clip_value, out=flat.grads)
        if self._clip_norm is not None:
            norm = flat.grads.norm(dim=1, keepdim=True)
            flat.grads.mul_((self._clip_norm / (norm + 1e-6)).clamp_max(1.0))  # as torch's clip_grad_norm_
        for m in self._noisy:
            sd = noise_variance(self.settings[m].gradient_noise, first[m] + step) ** 0.5
            self._add(flat.grads, m, sd, self._gradient[m])

    def after(self, flat: Flat, lr: Tensor) -> None:
        """The proximal step of L1; `lr` is (members, 1)."""
        if self._proximal is not None:
            weights = flat.rows[:, : self.decayed]
            weights.copy_(weights.sign() * (weights.abs() - lr * self._proximal).clamp_min_(0.0))

    def streams(self, member: int) -> dict[str, torch.Generator]:
        """A member's generators, by the names of their streams."""
        return {"gradient_noise": self._gradient[member], "weight_noise": self._weight[member]}

    def _add(self, rows: Tensor, member: int, sd: float, generator: torch.Generator) -> None:
        """Draws as the trial alone does, in its true shapes: one call per parameter and noisy member."""
        corners = list(self._layout.corners(rows, member, self._shapes[member]).values())
        torch._foreach_add_(corners, noise(corners, sd, generator))

    def keep(self, members: Sequence[int]) -> None:
        """Drops all other members."""
        chosen = list(members)
        self.settings, self._shapes = [self.settings[m] for m in chosen], [self._shapes[m] for m in chosen]
        self._gradient, self._weight = [self._gradient[m] for m in chosen], [self._weight[m] for m in chosen]
        self._settle()
