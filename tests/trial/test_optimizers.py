from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trimtab.errors import ConfigError
from trimtab.trial.optimizers import adam, adamw, nadam, rmsprop, sgd
from trimtab.trial.recipe import built_optimizer, lr_factor
from trimtab.trial.regularisation import Regularisation, decay_groups, decayed

DECAY = 0.3


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))


def path(make: Callable[..., Optimizer], lrs: tuple[float, ...] = (0.1, 0.1, 0.02, 0.02), closure: bool = False) -> Any:
    """Weights after each step on the same random batches."""
    model = network()
    optimizer = make(model.parameters())
    batches, weights = torch.Generator().manual_seed(1), []
    for lr in lrs:
        x = torch.randn(5, 3, generator=batches)
        optimizer.param_groups[0]["lr"] = lr

        def gradient(x: Tensor = x) -> Tensor:
            optimizer.zero_grad()
            loss: Tensor = model(x).square().sum()
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        if closure:
            optimizer.step(gradient)  # as Lightning does
        else:
            gradient()
            optimizer.step()
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    return torch.stack(weights)


@pytest.mark.parametrize("closure", [False, True])
@pytest.mark.parametrize(
    ("ours", "torchs"),
    [
        (partial(sgd, lr=0.1), partial(torch.optim.SGD, lr=0.1)),
        (partial(sgd, lr=0.1, momentum=0.9), partial(torch.optim.SGD, lr=0.1, momentum=0.9)),
        (
            partial(sgd, lr=0.1, momentum=0.9, nesterov=True),
            partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True),
        ),
        (partial(rmsprop, lr=0.1, alpha=0.9, eps=0.01), partial(torch.optim.RMSprop, lr=0.1, alpha=0.9, eps=0.01)),
        (
            partial(adam, lr=0.1, beta1=0.7, beta2=0.8, eps=0.01),
            partial(torch.optim.Adam, lr=0.1, betas=(0.7, 0.8), eps=0.01),
        ),
        (
            partial(adam, lr=0.1, weight_decay=DECAY),
            partial(torch.optim.AdamW, lr=0.1, weight_decay=DECAY),
        ),
        (
            partial(adamw, lr=0.1, beta1=0.7, beta2=0.8, eps=0.01, weight_decay=DECAY),
            partial(torch.optim.AdamW, lr=0.1, betas=(0.7, 0.8), eps=0.01, weight_decay=DECAY),
        ),
        (
            partial(nadam, lr=0.1, beta1=0.7, beta2=0.8, eps=0.01, weight_decay=DECAY),
            partial(
                torch.optim.NAdam,
                lr=0.1,
                betas=(0.7, 0.8),
                eps=0.01,
                weight_decay=DECAY,
                decoupled_weight_decay=True,
            ),
        ),
    ],
)
def test_each_step_is_torchs(ours: Any, torchs: Any, closure: bool) -> None:
    assert torch.equal(path(ours, closure=closure), path(torchs))


class ByHand(Optimizer):
    """w ← w − lr·decay·w − lr·step(g), with the gradient at w: the definition of decoupled decay."""

    def __init__(self, parameters: Any, step: Callable[[Tensor, dict[str, Any]], Tensor]) -> None:
        super().__init__(parameters, {"lr": 0.1})
        self._move = step

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        lr = self.param_groups[0]["lr"]
        for p in self.param_groups[0]["params"]:
            p.copy_(p - lr * DECAY * p - lr * self._move(p.grad, self.state[p]))


def momentum_step(g: Tensor, state: dict[str, Any]) -> Tensor:
    """torch's form of momentum, 0.9."""
    state["v"] = 0.9 * state.get("v", torch.zeros_like(g)) + g
    velocity: Tensor = state["v"]
    return velocity


def rmsprop_step(g: Tensor, state: dict[str, Any]) -> Tensor:
    """α 0.9, ε 0.01."""
    state["s"] = 0.9 * state.get("s", torch.zeros_like(g)) + 0.1 * g.square()
    return g / (state["s"].sqrt() + 0.01)


@pytest.mark.parametrize("closure", [False, True])
@pytest.mark.parametrize(
    ("ours", "step"),
    [
        (partial(sgd, lr=0.1, momentum=0.9, weight_decay=DECAY), momentum_step),
        (partial(sgd, lr=0.1, weight_decay=DECAY), lambda g, _: g),
        (partial(rmsprop, lr=0.1, alpha=0.9, eps=0.01, weight_decay=DECAY), rmsprop_step),
    ],
)
def test_decoupled_decay_is_its_definition(ours: Any, step: Any, closure: bool) -> None:
    torch.testing.assert_close(path(ours, closure=closure), path(partial(ByHand, step=step)), rtol=1e-5, atol=1e-6)


def test_rate_acts_on_the_whole_velocity_in_torchs_form() -> None:
    """In the other form of momentum the old velocity would keep the old rate: after a drop both differ."""
    rates = (0.1, 0.1, 0.01, 0.01)
    sutskever = []
    model, velocity = network(), None
    batches = torch.Generator().manual_seed(1)
    for lr in rates:
        gradients = torch.autograd.grad(model(torch.randn(5, 3, generator=batches)).square().sum(), model.parameters())
        velocity = [0.9 * v + lr * g for v, g in zip(velocity or [0.0] * len(gradients), gradients, strict=True)]
        with torch.no_grad():
            for p, v in zip(model.parameters(), velocity, strict=True):
                p -= v
        sutskever.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    ours = path(partial(sgd, lr=0.1, momentum=0.9), rates)
    torch.testing.assert_close(ours[:2], torch.stack(sutskever[:2]), rtol=1e-4, atol=1e-5)
    assert (ours[2] - sutskever[2]).abs().max() > 0.1


MADE = {
    "sgd": partial(sgd, lr=0.1, weight_decay=DECAY),
    "rmsprop": partial(rmsprop, lr=0.1, weight_decay=DECAY),
    "adam": partial(adam, lr=0.1, weight_decay=DECAY),
    "adamw": partial(adamw, lr=0.1, weight_decay=DECAY),
    "nadam": partial(nadam, lr=0.1, weight_decay=DECAY),
    "torch.optim.AdamW": partial(torch.optim.AdamW, lr=0.1, weight_decay=DECAY),
}


@pytest.mark.parametrize("decay_on", ["weights", "all"])
@pytest.mark.parametrize("name", MADE)
def test_decay_acts_on_what_it_should(name: str, decay_on: str, digits: Any) -> None:
    """With a gradient of zero nothing but decay moves a parameter: it shrinks by lr · decay."""
    model = network()
    for p in model.parameters():
        p.data.fill_(1.0)
        p.grad = torch.zeros_like(p)
    recipe = digits.change(optimizer=MADE[name], regularisation=Regularisation(decay_on=decay_on)).recipe
    built_optimizer(recipe, model, 256).step()
    for p in model.parameters():
        left = 1 - 0.1 * DECAY if decay_on == "all" or p.ndim == 2 else 1.0
        torch.testing.assert_close(p.data, torch.full_like(p, left))


def test_no_decay_needs_no_hook_and_no_second_group(digits: Any) -> None:
    optimizer = built_optimizer(digits.change(optimizer=partial(sgd, lr=0.1)).recipe, network(), 256)
    assert (len(optimizer.param_groups), len(optimizer._optimizer_step_pre_hooks)) == (1, 0)


def test_groups_hold_every_parameter_once() -> None:
    model = network()
    weights, others = decay_groups(model, "weights")
    assert [p.ndim for p in weights["params"]] == [2, 2]
    assert [p.ndim for p in others["params"]] == [1, 1, 1, 1]
    assert others["weight_decay"] == 0.0
    assert len(decayed(model, "all")) == 6
    assert len(decay_groups(model, "all")) == 1
    assert len(decay_groups(nn.LayerNorm(4), "weights")) == 1


@pytest.mark.parametrize(
    ("scaling", "rows", "factor"),
    [
        ("none", 32, 1.0),
        ("linear", 256, 1.0),
        ("linear", 32, 0.125),
        ("linear", 1024, 4.0),
        ("sqrt", 64, 0.5),
        ("sqrt", 1024, 2.0),
    ],
)
def test_rate_follows_the_batch(scaling: str, rows: int, factor: float, digits: Any) -> None:
    assert lr_factor(scaling, rows) == factor
    recipe = digits.change(lr_scaling=scaling, optimizer=partial(adamw, lr=0.3)).recipe
    rates = [group["lr"] for group in built_optimizer(recipe, network(), rows).param_groups]
    assert rates == pytest.approx([0.3 * factor] * 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (partial(sgd, lr=0.1, nesterov=True), "optimizer.nesterov=true needs optimizer.momentum above 0 but it is 0.0"),
        (partial(sgd, lr=0.1, momentum=1.0), "optimizer.momentum must be at least 0 and below 1 but is 1.0"),
        (partial(rmsprop, lr=0.1, alpha=-0.1), "optimizer.alpha must be at least 0 and below 1 but is -0.1"),
        (partial(adam, lr=0.1, beta1=1.5), "optimizer.beta1 must be at least 0 and below 1 but is 1.5"),
        (partial(nadam, lr=0.1, beta2=1), "optimizer.beta2 must be at least 0 and below 1 but is 1"),
        (partial(adamw, lr=0.1, weight_decay=-1.0), "settings: Invalid weight_decay value: -1.0; mend optimizer.*"),
        (partial(rmsprop, lr=0.1, eps=-1.0), "settings: Invalid epsilon value: -1.0; mend optimizer.*"),
    ],
)
def test_bad_setting_names_knob_value_and_rule(make: Any, message: str, digits: Any) -> None:
    with pytest.raises(ConfigError) as e:
        built_optimizer(digits.change(optimizer=make).recipe, network(), 256)
    assert message in str(e.value)
