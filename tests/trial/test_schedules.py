from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from trimtab.errors import ConfigError
from trimtab.trial.schedules import (
    Constant,
    Cosine,
    Exponential,
    InverseSqrt,
    Lull,
    OneCycle,
    Plateau,
    Schedule,
    Step,
    WarmRestarts,
    is_constant,
)

STEPS = 84

EVERY: list[Callable[..., Any]] = [Constant, Step, Exponential, Cosine, WarmRestarts, OneCycle, Plateau]


def torchs(make: Callable[[torch.optim.Optimizer], Any], steps: int = STEPS, lr: float = 1.0) -> list[float]:
    """The rates before each step and after the last, of one of torch's schedulers."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = make(optimizer)
    rates = [optimizer.param_groups[0]["lr"]]
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


@pytest.mark.parametrize(
    ("schedule", "reference"),
    [
        (Constant(), partial(lr_scheduler.ConstantLR, factor=1.0)),
        (Step(factor=0.3, drops=2), partial(lr_scheduler.StepLR, step_size=28, gamma=0.3)),
        (Step(factor=0.3, drops=6), partial(lr_scheduler.StepLR, step_size=12, gamma=0.3)),
        (Exponential(end=0.01), partial(lr_scheduler.ExponentialLR, gamma=0.01 ** (1 / STEPS))),
        (Cosine(), partial(lr_scheduler.CosineAnnealingLR, T_max=STEPS)),
        (Cosine(end=0.2), partial(lr_scheduler.CosineAnnealingLR, T_max=STEPS, eta_min=0.2)),
        (
            WarmRestarts(cycles=3, growth=2, end=0.1),
            partial(lr_scheduler.CosineAnnealingWarmRestarts, T_0=12, T_mult=2, eta_min=0.1),
        ),
        (WarmRestarts(cycles=4, growth=1), partial(lr_scheduler.CosineAnnealingWarmRestarts, T_0=21)),
        (
            OneCycle(rise=0.25, start=0.04, end=4e-6),
            # torch counts the phases from step 0 to total − 1
            partial(
                lr_scheduler.OneCycleLR, max_lr=1.0, total_steps=STEPS + 1, pct_start=22 / 85, cycle_momentum=False
            ),
        ),
    ],
)
def test_rates_are_those_of_torchs_scheduler(schedule: Schedule, reference: Any) -> None:
    ours = [schedule(step / STEPS) for step in range(STEPS)]
    assert ours == pytest.approx(torchs(reference, STEPS - 1), rel=1e-6, abs=1e-9)


def test_inverse_root_is_vaswanis_formula() -> None:
    """lr ∝ min(step^−0.5, step · warmup^−1.5), here 1 at the end of the warm-up."""
    warmup = 21
    wanted = [warmup**0.5 * min(step**-0.5, step * warmup**-1.5) for step in range(1, STEPS)]
    assert [InverseSqrt(warmup / STEPS)(step / STEPS) for step in range(1, STEPS)] == pytest.approx(wanted)


@pytest.mark.parametrize("make", EVERY)
def test_warm_up_is_linear_and_the_schedule_takes_the_rest(make: Callable[..., Schedule]) -> None:
    plain, warm = make(), make(warmup=0.25)
    assert warm(0.0) == 0.0
    assert warm(0.125) == pytest.approx(plain(0.0) / 2)
    assert [warm(0.25 + 0.75 * p / 8) for p in range(9)] == pytest.approx([plain(p / 8) for p in range(9)])


def test_cycles_end_with_the_horizon_and_start_anew_at_the_full_rate() -> None:
    schedule = WarmRestarts(cycles=3, growth=2.0)
    rates = [schedule(step / 7000) for step in range(7001)]
    rises = [step for step, (a, b) in enumerate(pairwise(rates), start=1) if b > a]
    assert rises == [1000, 3000]
    assert [rates[step] for step in rises] == [1.0, 1.0]
    assert rates[-1] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("patience", [0, 2])
def test_plateau_is_torchs(patience: int) -> None:
    losses = [3.0, 2.0, 2.5, 1.9999, 2.1, 2.2, 1.0, 1.0, 1.0, 0.99999, 1.2, 1.3, 1.4, 0.5]
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=patience)
    plateau, lull = Plateau(factor=0.5, patience_epochs=patience), Lull()
    factors = []
    for loss in losses:
        reference.step(loss)
        lull = plateau.after_epoch(lull, loss)
        assert lull.factor == optimizer.param_groups[0]["lr"]
        factors.append(lull.factor)
    assert factors[-1] < 1.0


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Constant(), True),
        (Constant(warmup=0.1), False),
        (Cosine(), False),
        (Plateau(), False),
        (lambda _: 1.0, False),
    ],
)
def test_only_a_constant_is_constant(schedule: Schedule, expected: bool) -> None:
    assert is_constant(schedule) is expected


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (partial(Constant, warmup=1.0), "schedule.warmup must be at least 0 and below 1 but is 1.0"),
        (partial(Step, factor=0.0), "schedule.factor must be above 0 and at most 1 but is 0.0"),
        (partial(Step, drops=0), "schedule.drops must be at least 1 but is 0"),
        (partial(Exponential, end=0.0), "schedule.end must be above 0 and at most 1 but is 0.0"),
        (partial(Cosine, end=-0.1), "schedule.end must be at least 0 and below 1 but is -0.1"),
        (partial(WarmRestarts, cycles=0), "schedule.cycles must be at least 1 but is 0"),
        (partial(WarmRestarts, growth=0.5), "schedule.growth must be a finite number of at least 1 but is 0.5"),
        (partial(OneCycle, rise=1.0), "schedule.rise must be at least 0 and below 1 but is 1.0"),
        (partial(Plateau, patience_epochs=-1), "schedule.patience_epochs must be at least 0 but is -1"),
        (partial(InverseSqrt, warmup=0.0), "schedule=inverse_sqrt needs schedule.warmup above 0"),
    ],
)
def test_bad_setting_names_knob_value_and_rule(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError) as e:
        make()
    assert message in str(e.value)
