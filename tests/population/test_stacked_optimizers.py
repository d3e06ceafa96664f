"""Stacked optimizers against torch.optim, step by step, for every option."""

import pytest
import torch
from torch import Tensor

from trimtab.population.flat import Flat, Layout
from trimtab.population.optimizers import KINDS, Adam, Stacked


class AdamOfGPUs(Adam):
    """Takes the way of other devices than CPUs."""

    _fused = Adam._stacked


ALL: dict[str, type[Stacked]] = {**KINDS, "adam of GPUs": AdamOfGPUs}
STEPS = 25
SGD = [{"lr": 0.1, "momentum": 0.0}, {"lr": 0.03, "momentum": 0.9}, {"lr": 0.02, "momentum": 0.5, "nesterov": True}]
ADAM = [
    {"lr": 0.1, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
    {"lr": 0.01, "beta1": 0.5, "beta2": 0.9, "eps": 1e-3},
    {"lr": 0.003, "beta1": 0.0, "beta2": 0.99, "eps": 1e-8},
]
CASES = {
    "sgd": SGD,
    "rmsprop": [{"lr": 0.01, "alpha": 0.99, "eps": 1e-8}, {"lr": 0.1, "alpha": 0.5, "eps": 1e-2}],
    "adam": ADAM,
    "adamw": ADAM,
    "nadam": ADAM,
    "adam of GPUs": ADAM,
}


def alone(kind: str, weight: Tensor, settings: dict[str, float]) -> torch.optim.Optimizer:
    """torch's, without decay: the test decays by itself."""
    given = dict(settings)
    if "beta1" in given:
        given["betas"] = (given.pop("beta1"), given.pop("beta2"))  # type: ignore[assignment]
    names = {"sgd": "SGD", "rmsprop": "RMSprop", "adam": "Adam", "adamw": "AdamW", "nadam": "NAdam"}
    made = names[kind.split()[0]]
    return getattr(torch.optim, made)([weight], weight_decay=0.0, **given)


def hyper(cases: list[dict[str, float]], decays: list[float]) -> dict[str, Tensor]:
    names = {"weight_decay", "nesterov", *(name for case in cases for name in case)}
    rows = [{**dict.fromkeys(names, 0.0), **case, "weight_decay": d} for case, d in zip(cases, decays, strict=True)]
    return {name: torch.tensor([[float(row[name])] for row in rows], dtype=torch.float64) for name in names}


@pytest.mark.parametrize("kind", ALL)
def test_each_member_walks_as_torch_alone(kind: str) -> None:
    cases = CASES[kind]
    decays = [0.1 * n for n in range(len(cases))]
    random = torch.Generator().manual_seed(0)
    flat = Flat(Layout.of({"w": (4, 4), "b": (16,)}), len(cases), torch.device("cpu"), torch.float64)
    flat.rows.data.copy_(torch.randn(flat.rows.shape, generator=random, dtype=torch.float64))
    stacked = ALL[kind](flat.rows, hyper(cases, decays))
    single = [row.clone().requires_grad_() for row in flat.rows.detach()]
    optimizers = [alone(kind, w, case) for w, case in zip(single, cases, strict=True)]
    for step in range(STEPS):
        factor = torch.full((len(cases), 1), 0.95**step, dtype=torch.float64)
        grads = torch.randn(flat.rows.shape, generator=random, dtype=torch.float64)
        for w, optimizer, case, decay, grad in zip(single, optimizers, cases, decays, grads, strict=True):
            lr = case["lr"] * 0.95**step
            optimizer.param_groups[0]["lr"] = lr
            with torch.no_grad():
                w[:16] *= 1.0 - lr * decay
            w.grad = grad.clone()
            optimizer.step()
        with torch.no_grad():
            stacked.begin(grads.clone(), factor[None], flat.layout.weights)
            stacked.step(0)
        close = 1e-5 if kind == "nadam" else 1e-9  # torch keeps NAdam's product of momenta in float32
        torch.testing.assert_close(flat.rows, torch.stack(single).detach(), rtol=close, atol=1e-3 * close)


def test_members_that_stay_walk_on_unchanged() -> None:
    cases = CASES["adamw"]
    grads = torch.randn(3, 16, generator=torch.Generator().manual_seed(1))
    flats = [Flat(Layout.of({"w": (2, 8)}), 3, torch.device("cpu")) for _ in range(2)]
    moved = []
    for leaves, flat in zip((False, True), flats, strict=True):
        settings = {k: v.float() for k, v in hyper(cases, [0.1] * 3).items()}
        stacked = KINDS["adamw"](flat.rows, settings)
        stay = [0, 1, 2]
        for step in range(6):
            if leaves and step == 3:
                stay = [0, 2]
                flat.keep(stay)
                stacked.keep(stay, flat.rows)
            with torch.no_grad():
                stacked.begin(grads[stay] * (step + 1), torch.ones(1, len(stay), 1), 16)
                stacked.step(0)
        moved.append(flat.rows.detach())
    assert torch.equal(moved[0][[0, 2]], moved[1])


@pytest.mark.filterwarnings("ignore:grad and param do not obey")
def test_views_share_memory_and_gradients_and_begin_at_round_addresses() -> None:
    flat = Flat(Layout.of({"b": (2,), "w": (2, 3)}), 2, torch.device("cpu"))
    flat.fill(1, {"w": torch.ones(1, 2)})
    assert flat.rows[1].tolist() == [1.0, 1.0] + [0.0] * 30
    assert (flat.layout.weights, flat.layout.size) == (16, 32)
    assert all(weight[m].data_ptr() % 64 == 0 for weight in flat.parameters.values() for m in range(2))
    (flat.parameters["w"].sum(dim=(1, 2)) * torch.tensor([2.0, 3.0])).sum().backward()
    assert flat.grads.tolist() == [[2.0] * 6 + [0.0] * 26, [3.0] * 6 + [0.0] * 26]
