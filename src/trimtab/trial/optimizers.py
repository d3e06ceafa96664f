"""The optimizers of conf/optimizer: torch's, each with decoupled weight decay.

Decoupled (Loshchilov & Hutter 2019): a step first shrinks a weight by lr · weight_decay · weight, then moves it as if
there were no decay. L2 that adaptive optimizers rescale with the gradient is `regularisation.l2`.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from trimtab.errors import ConfigError
from trimtab.models.arguments import probability

# Parameters, or torch's parameter groups: a group may bring a weight decay of its own.
Parameters = Iterable[nn.Parameter] | Iterable[dict[str, Any]]


def sgd(
    parameters: Parameters, *, lr: float, momentum: float = 0.0, nesterov: bool = False, weight_decay: float = 0.0
) -> Optimizer:
    """Stochastic gradient descent with torch's form of momentum.

    The velocity sums gradients and the rate multiplies it: v ← γ·v + g, w ← w − lr·v, with Nesterov's look-ahead
    w ← w − lr·(g + γ·v). In the other form (Sutskever et al. 2013), v ← γ·v + lr·g, w ← w − v, the rate of each
    past step stays in the velocity. At a constant rate both are the same; when a schedule lowers the rate, torch's form
    slows down at once, the other only as the old velocity fades, after about 1 / (1 − γ) steps.

    Raises:
        ConfigError: Nesterov without momentum, or momentum out of its range.
        ValueError: torch does not take a rate or decay.
    """
    probability("optimizer.momentum", momentum)
    if nesterov and not momentum:
        raise ConfigError(
            f"optimizer.nesterov=true needs optimizer.momentum above 0 but it is {momentum}; raise it, e.g. to 0.9, "
            "or set optimizer.nesterov=false"
        )
    return decoupled(torch.optim.SGD(parameters, lr, momentum, weight_decay=weight_decay, nesterov=nesterov))


def rmsprop(
    parameters: Parameters, *, lr: float, alpha: float = 0.99, eps: float = 1e-8, weight_decay: float = 0.0
) -> Optimizer:
    """torch's RMSprop without momentum, not centred: s ← α·s + (1 − α)·g², w ← w − lr·g / (√s + ε).

    Raises:
        ConfigError: alpha is out of its range.
        ValueError: torch does not take a rate, epsilon or decay.
    """
    probability("optimizer.alpha", alpha)
    return decoupled(torch.optim.RMSprop(parameters, lr, alpha, eps, weight_decay))


def adam(
    parameters: Parameters,
    *,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> Optimizer:
    """torch's Adam; with decay it is AdamW.

    Raises:
        ConfigError: a beta is out of its range.
        ValueError: torch does not take a rate, epsilon or decay.
    """
    betas = _betas(beta1, beta2)
    return torch.optim.Adam(parameters, lr, betas, eps, weight_decay, decoupled_weight_decay=True)


def adamw(
    parameters: Parameters,
    *,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.01,
) -> Optimizer:
    """torch's AdamW.

    Raises:
        ConfigError: a beta is out of its range.
        ValueError: torch does not take a rate, epsilon or decay.
    """
    return torch.optim.AdamW(parameters, lr, _betas(beta1, beta2), eps, weight_decay)


def nadam(
    parameters: Parameters,
    *,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> Optimizer:
    """torch's NAdam with its own decay of the momentum, 0.004.

    Raises:
        ConfigError: a beta is out of its range.
        ValueError: torch does not take a rate, epsilon or decay.
    """
    betas = _betas(beta1, beta2)
    return torch.optim.NAdam(parameters, lr, betas, eps, weight_decay, decoupled_weight_decay=True)


def _betas(beta1: float, beta2: float) -> tuple[float, float]:
    probability("optimizer.beta1", beta1)
    probability("optimizer.beta2", beta2)
    return beta1, beta2


def decoupled(optimizer: Optimizer) -> Optimizer:
    """Takes the weight decay, which this optimizer would add to the gradient, out of it and applies it by itself."""
    for group in optimizer.param_groups:
        group["decay"], group["weight_decay"] = group["weight_decay"], 0.0
    if any(group["decay"] for group in optimizer.param_groups):
        optimizer.register_step_pre_hook(_decay_first)
    return optimizer


def _decay_first(
    optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Decays between gradient and step: Lightning computes the gradient inside of the step, in a closure."""
    itself, *given = args
    closure: Callable[[], Any] | None = given[0] if given else kwargs.get("closure")
    if closure is None:
        _decay(optimizer)
        return None

    def decaying() -> Any:
        loss = closure()
        _decay(optimizer)
        return loss

    return (itself,), {"closure": decaying}


@torch.no_grad()
def _decay(optimizer: Optimizer) -> None:
    """w ← w − lr · weight_decay · w, where there is a gradient, as torch's AdamW has it."""
    for group in optimizer.param_groups:
        moved = [p for p in group["params"] if p.grad is not None]
        if group["decay"] and moved:
            torch._foreach_mul_(moved, 1.0 - group["lr"] * group["decay"])
