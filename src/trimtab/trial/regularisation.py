"""What keeps a network from fitting noise: penalties, noise and clipping, as pure functions where they can be.

The order of one step: fuzz on the weights, loss and penalties, gradient, weights without fuzz, clipping by value, then
by norm, gradient noise, the optimizer's step (its decoupled decay first), the proximal step.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trimtab.errors import ConfigError
from trimtab.models.arguments import amount, choice, probability

# Decay of the gradient noise's variance over steps (Neelakantan et al. 2015, equation 1).
NOISE_DECAY = 0.55


@dataclass(frozen=True)
class Regularisation:
    """conf/regularisation; 0 and None are off, and then cost nothing and change no bit.

    Attributes:
        l2: adds 0.5 · l2 · Σ w² to the loss.
        l1: adds l1 · Σ |w| to the loss.
        l1_proximal: soft-thresholds weights by lr · l1_proximal after each step.
        decay_on: `weights` (those of two dimensions or more) or `all`: what the three above and the optimizer's weight
            decay act on.
        label_smoothing: share of the target that is spread over all classes.
        clip_norm: the most that the norm of the whole gradient may be.
        clip_value: the most that an entry of the gradient may be in magnitude.
        gradient_noise: variance of the noise on the gradient at step 0.
        weight_noise: standard deviation of the noise on weights and biases while a gradient is computed.

    Raises:
        ConfigError: a setting is out of its range.
    """

    l2: float = 0.0
    l1: float = 0.0
    l1_proximal: float = 0.0
    decay_on: str = "weights"
    label_smoothing: float = 0.0
    clip_norm: float | None = None
    clip_value: float | None = None
    gradient_noise: float = 0.0
    weight_noise: float = 0.0

    def __post_init__(self) -> None:
        choice("regularisation.decay_on", self.decay_on, ("weights", "all"))
        probability("regularisation.label_smoothing", self.label_smoothing)
        for name in ("l2", "l1", "l1_proximal", "gradient_noise", "weight_noise"):
            amount(f"regularisation.{name}", getattr(self, name))
        for name in ("clip_norm", "clip_value"):
            value = getattr(self, name)
            if value is not None:
                amount(f"regularisation.{name}", value)
                if not value:
                    raise ConfigError(f"regularisation.{name}=0 lets no gradient pass; null switches clipping off")


def decayed(model: nn.Module, decay_on: str) -> list[nn.Parameter]:
    """The parameters that decay acts on; of `weights` no bias, scale or shift: they have one dimension."""
    return [p for p in model.parameters() if p.requires_grad and (decay_on == "all" or p.ndim >= 2)]


def decay_groups(model: nn.Module, decay_on: str) -> list[dict[str, Any]]:
    """torch's parameter groups: the decayed ones, and the others with a weight decay of 0."""
    chosen = {id(p) for p in decayed(model, decay_on)}
    others = [p for p in model.parameters() if id(p) not in chosen]
    groups: list[dict[str, Any]] = [{"params": [p for p in model.parameters() if id(p) in chosen]}]
    if others:
        groups.append({"params": others, "weight_decay": 0.0})
    return [g for g in groups if g["params"]]


def penalty(weights: Sequence[Tensor], l2: float, l1: float) -> Tensor:
    """0.5 · l2 · Σ w² + l1 · Σ |w|: their gradients are l2 · w and l1 · sign w (0 at 0).

    Args:
        weights: at least one.
        l2: strength; 0 is off.
        l1: strength; 0 is off.
    """
    terms = []
    if l2:
        terms.append(0.5 * l2 * torch.stack([w.square().sum() for w in weights]).sum())
    if l1:
        terms.append(l1 * torch.stack([w.abs().sum() for w in weights]).sum())
    return torch.stack(terms).sum()


def soft_threshold(weight: Tensor, threshold: float) -> Tensor:
    """sign w · max(|w| − threshold, 0): the proximal operator of threshold · |w| (Parikh & Boyd 2014, 6.5.2)."""
    return weight.sign() * (weight.abs() - threshold).clamp_min(0.0)


def noise_variance(gradient_noise: float, step: int) -> float:
    """Variance of the gradient noise at a step, counted from 0 (Neelakantan et al. 2015, equation 1)."""
    return gradient_noise / float((1 + step) ** NOISE_DECAY)


def noise(like: Sequence[Tensor], sd: float, generator: torch.Generator) -> list[Tensor]:
    """Gaussian noise in the shapes of some tensors, drawn in their order on the generator's device."""
    return [sd * torch.randn(t.shape, generator=generator, dtype=t.dtype, device=t.device) for t in like]


def clip(parameters: Sequence[nn.Parameter], clip_norm: float | None, clip_value: float | None) -> None:
    """Cuts off entries of the gradients, then scales all to the norm: so both limits hold."""
    if clip_value is not None:
        nn.utils.clip_grad_value_(parameters, clip_value)
    if clip_norm is not None:
        nn.utils.clip_grad_norm_(parameters, clip_norm)


@torch.no_grad()
def shrink(optimizer: Optimizer, chosen: Sequence[nn.Parameter], l1_proximal: float) -> None:
    """The proximal step of L1 at the rate of the step before: weights smaller than lr · l1_proximal become exactly 0.

    Adaptive optimizers move each weight at a rate of its own; here all shrink at the plain one.
    """
    wanted = {id(p) for p in chosen}
    for group in optimizer.param_groups:
        for weight in group["params"]:
            if id(weight) in wanted and weight.grad is not None:
                weight.copy_(soft_threshold(weight, group["lr"] * l1_proximal))


class Fuzz:
    """Noise on weights and biases while a gradient is computed (Jim, Giles & Horne 1996; Graves 2011).

    Args:
        parameters: weights and biases.
        sd: standard deviation of the noise.
        generator: on the parameters' device.
    """

    def __init__(self, parameters: Sequence[Tensor], sd: float, generator: torch.Generator) -> None:
        self._parameters, self._sd, self.generator = list(parameters), sd, generator
        self._clean: list[Tensor] = []

    @torch.no_grad()
    def add(self) -> None:
        """Adds noise drawn anew; the weights as they are come back with `remove`."""
        self._clean = [p.clone() for p in self._parameters]
        torch._foreach_add_(self._parameters, noise(self._parameters, self._sd, self.generator))

    @torch.no_grad()
    def remove(self) -> None:
        """Puts the weights back, bit by bit."""
        torch._foreach_copy_(self._parameters, self._clean)
        self._clean = []
