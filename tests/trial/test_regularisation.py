from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trimtab.errors import ConfigError
from trimtab.trial import seeds
from trimtab.trial.metrics import data_loss
from trimtab.trial.optimizers import adam, sgd
from trimtab.trial.regularisation import (
    Fuzz,
    Regularisation,
    clip,
    noise,
    noise_variance,
    penalty,
    soft_threshold,
)
from trimtab.trial.session import threads
from trimtab.trial.train import Device, refit

CPU = Device("cpu")


def weights_of(case: Any, seed: int = 4, **settings: Any) -> dict[str, Tensor]:
    """Of the network after all epochs under a regularisation."""
    changed = case.change(regularisation=Regularisation(**settings))
    return refit(changed.recipe, changed.train, changed.problem, seed, CPU).state_dict()


def close(a: dict[str, Tensor], b: dict[str, Tensor], **tolerance: float) -> bool:
    return all(torch.allclose(a[name], b[name], **(tolerance or {"rtol": 1e-4, "atol": 1e-6})) for name in a | b)


@pytest.fixture
def case(digits: Any) -> Any:
    return digits.change(optimizer=partial(sgd, lr=0.05, momentum=0.9))


@pytest.fixture
def torchs_decay(case: Any) -> Any:
    """torch's own weight decay, which it adds to the gradient: what L2 in the loss must equal."""

    def made(optimizer: Any, decay_on: str = "weights", **settings: Any) -> dict[str, Tensor]:
        changed = case.change(
            optimizer=partial(optimizer, **settings), regularisation=Regularisation(decay_on=decay_on)
        )
        return refit(changed.recipe, changed.train, changed.problem, 4, CPU).state_dict()

    return made


@pytest.mark.parametrize("decay_on", ["weights", "all"])
def test_l2_in_the_loss_is_torchs_coupled_decay(case: Any, torchs_decay: Any, decay_on: str) -> None:
    wanted = torchs_decay(torch.optim.SGD, decay_on, lr=0.05, momentum=0.9, weight_decay=0.1)
    assert close(weights_of(case, l2=0.1, decay_on=decay_on), wanted)
    other = torchs_decay(torch.optim.Adam, decay_on, lr=0.01, weight_decay=0.1)
    assert close(weights_of(case.change(optimizer=partial(adam, lr=0.01)), l2=0.1, decay_on=decay_on), other)
    assert not close(wanted, weights_of(case))


def test_decoupled_and_coupled_decay_differ_in_adam_alone(case: Any, torchs_decay: Any) -> None:
    """Without momentum SGD's are the same: so `experiment=classic` means what torch's weight_decay does."""
    plain = case.change(optimizer=partial(sgd, lr=0.05, weight_decay=0.1))
    assert close(weights_of(plain), torchs_decay(torch.optim.SGD, lr=0.05, weight_decay=0.1))
    decoupled = case.change(optimizer=partial(adam, lr=0.01, weight_decay=0.1))
    assert not close(weights_of(decoupled), torchs_decay(torch.optim.Adam, lr=0.01, weight_decay=0.1))


def test_penalty_and_its_gradient() -> None:
    weights = [torch.tensor([[1.0, -2.0], [0.0, 3.0]], requires_grad=True), torch.tensor([[-4.0]], requires_grad=True)]
    both = penalty(weights, l2=0.1, l1=0.01)
    assert both.item() == pytest.approx(0.5 * 0.1 * 30 + 0.01 * 10)
    for weight, gradient in zip(weights, torch.autograd.grad(both, weights), strict=True):
        torch.testing.assert_close(gradient, 0.1 * weight + 0.01 * weight.sign())
    assert penalty(weights, l2=0.1, l1=0.0).item() == pytest.approx(1.5)
    assert penalty(weights, l2=0.0, l1=0.01).item() == pytest.approx(0.1)


def test_soft_threshold_is_the_proximal_operator() -> None:
    """argmin over u of threshold · |u| + (u − w)² / 2, found by trying."""
    weights = torch.tensor([-2.0, -0.3, 0.0, 0.2, 0.31, 5.0], dtype=torch.float64)
    tried = torch.linspace(-6, 6, 120_001, dtype=torch.float64)
    best = [tried[(0.3 * tried.abs() + 0.5 * (tried - w) ** 2).argmin()] for w in weights]
    torch.testing.assert_close(soft_threshold(weights, 0.3), torch.stack(best), atol=2e-4, rtol=0)


def test_proximal_l1_gives_exact_zeros_and_l1_in_the_loss_does_not(case: Any) -> None:
    def zeros(**settings: Any) -> float:
        found = weights_of(case, **settings)
        return float(torch.cat([w.flatten() for w in found.values() if w.ndim > 1]).eq(0).float().mean())

    assert zeros() == 0.0
    assert zeros(l1=0.1) < 0.01
    assert 0.1 < zeros(l1_proximal=0.1) < 1.0


def test_proximal_l1_follows_each_step_at_its_rate(case: Any) -> None:
    """Two full-batch steps of SGD by hand."""
    case = case.change(optimizer=partial(sgd, lr=0.05), batch_size="all", epochs=2, model=Plain)
    found = weights_of(case, l1_proximal=0.2)
    model = Plain(case.problem.shape, case.problem.outputs)
    with threads(1):
        for _ in range(2):
            order = torch.arange(len(case.train.x))
            loss = F.cross_entropy(model(torch.tensor(case.train.x)[order]), torch.tensor(case.train.y)[order])
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            with torch.no_grad():
                for p, g in zip(model.parameters(), gradients, strict=True):
                    moved = p - 0.05 * g
                    p.copy_(soft_threshold(moved, 0.05 * 0.2) if p.ndim > 1 else moved)
    assert close(found, model.state_dict())
    assert (found["layer.weight"] == 0).any()


class Plain(nn.Module):
    """Logistic regression that starts from the same weights whatever the generator."""

    def __init__(self, shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(shape[0], outputs)
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.linspace(-0.1, 0.1, p.numel()).reshape(p.shape))

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.layer(x)
        return outputs


def one_step(case: Any, **settings: Any) -> Tensor:
    """How far one full-batch step of SGD at rate 1 moves the weights of `Plain`: the gradient that was used."""
    start = Plain(case.problem.shape, case.problem.outputs).state_dict()
    case = case.change(optimizer=partial(sgd, lr=1.0), batch_size="all", epochs=1, model=Plain)
    end = weights_of(case, **settings)
    return torch.cat([(start[name] - end[name]).flatten() for name in start])


def test_clipping_by_norm_and_value_is_torchs(case: Any) -> None:
    free = one_step(case)
    norm, largest = float(free.norm()), float(free.abs().max())
    torch.testing.assert_close(one_step(case, clip_norm=norm / 2), free / 2, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(one_step(case, clip_norm=norm * 2), free)
    limit = largest / 2
    torch.testing.assert_close(one_step(case, clip_value=limit), free.clamp(-limit, limit), rtol=1e-3, atol=1e-6)
    both = one_step(case, clip_value=limit, clip_norm=norm / 4)
    assert float(both.norm()) == pytest.approx(norm / 4, rel=1e-3)


def test_clip_leaves_what_is_small() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, 4.0])
    clip([parameter], clip_norm=6.0, clip_value=5.0)
    assert parameter.grad.tolist() == [3.0, 4.0]


def test_noise_on_the_gradient_has_its_variance_and_comes_after_clipping(case: Any) -> None:
    added = one_step(case, gradient_noise=0.04) - one_step(case)
    assert float(added.std()) == pytest.approx(0.2, rel=0.1)
    assert abs(float(added.mean())) < 0.03
    clipped = one_step(case, gradient_noise=0.04, clip_norm=1e-6)
    torch.testing.assert_close(clipped, added, rtol=1e-3, atol=1e-4)
    start = seeds.generator(4, "gradient_noise")
    torch.testing.assert_close(added[:5], 0.2 * torch.randn(640, generator=start)[:5], rtol=1e-3, atol=1e-4)


def test_variance_falls_as_the_paper_says() -> None:
    assert [noise_variance(0.3, step) for step in (0, 1, 99)] == pytest.approx([0.3, 0.3 / 2**0.55, 0.3 / 100**0.55])


def test_noise_depends_on_its_stream_alone(case: Any) -> None:
    for settings in ({"gradient_noise": 0.01}, {"weight_noise": 0.01}):
        noisy = weights_of(case, **settings)
        assert all(torch.equal(noisy[name], again) for name, again in weights_of(case, **settings).items())
        assert not close(noisy, weights_of(case))
        assert not close(noisy, weights_of(case, seed=5, **settings))


def test_fuzz_is_there_for_the_gradient_and_gone_for_the_step(case: Any) -> None:
    """The gradient at noisy weights moves the clean ones."""
    model = Plain(case.problem.shape, case.problem.outputs)
    with torch.no_grad():
        for p, n in zip(
            model.parameters(),
            noise(list(model.parameters()), 0.5, seeds.generator(4, "weight_noise")),
            strict=True,
        ):
            p += n
    loss = F.cross_entropy(model(torch.tensor(case.train.x)), torch.tensor(case.train.y))
    wanted = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])
    torch.testing.assert_close(one_step(case, weight_noise=0.5), wanted, rtol=1e-3, atol=1e-5)


def test_fuzz_comes_off_bit_by_bit() -> None:
    weights = [nn.Parameter(torch.randn(50, 3)), nn.Parameter(torch.randn(50))]
    before = [w.detach().clone() for w in weights]
    fuzz = Fuzz(weights, 0.1, torch.Generator().manual_seed(0))
    fuzz.add()
    assert all(0.05 < (w - b).std().item() < 0.2 for w, b in zip(weights, before, strict=True))
    fuzz.remove()
    assert all(torch.equal(w, b) for w, b in zip(weights, before, strict=True))


@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 2.0, 0.5])])
def test_label_smoothing_is_torchs_with_class_weights(weights: Tensor | None, digits: Any) -> None:
    logits, targets = torch.randn(50, 3), torch.randint(0, 3, (50,))
    found = data_loss(logits, targets, digits.problem, weights, 0.1)
    assert torch.equal(found, F.cross_entropy(logits, targets, weights, label_smoothing=0.1))
    assert not torch.equal(found, F.cross_entropy(logits, targets, weights))


def test_scores_are_of_the_data_alone(case: Any) -> None:
    """Penalties and smoothing are trained on, but no part of what trials are compared by."""
    plain = case.change(optimizer=partial(sgd, lr=1e-9))
    wanted = plain.run()
    for settings in ({"l2": 10.0, "l1": 10.0}, {"label_smoothing": 0.5}, {"weight_noise": 1.0}):
        found = plain.change(regularisation=Regularisation(**settings)).run()  # type: ignore[arg-type]
        assert found.value == pytest.approx(wanted.value, rel=1e-4), settings
        smoothed = "label_smoothing" in settings or "weight_noise" in settings
        assert (
            found.curves[0]["train/loss"] == pytest.approx(wanted.curves[0]["train/loss"], rel=1e-4)
        ) is not smoothed


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"l2": -1.0}, "regularisation.l2 must be a finite number of at least 0 but is -1.0"),
        (
            {"weight_noise": float("nan")},
            "regularisation.weight_noise must be a finite number of at least 0 but is nan",
        ),
        ({"label_smoothing": 1.0}, "regularisation.label_smoothing must be at least 0 and below 1 but is 1.0"),
        ({"clip_norm": 0.0}, "regularisation.clip_norm=0 lets no gradient pass; null switches clipping off"),
        ({"clip_value": -1.0}, "regularisation.clip_value must be a finite number of at least 0 but is -1.0"),
        ({"decay_on": "weigths"}, "regularisation.decay_on must be one of weights, all but is 'weigths'"),
    ],
)
def test_bad_setting_names_knob_value_and_rule(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as e:
        Regularisation(**settings)
    assert message in str(e.value)


def test_smoothing_needs_classes(diabetes: Any) -> None:
    with pytest.raises(ConfigError, match=r"label_smoothing=0.1 needs classes, but the task is regression"):
        diabetes.change(regularisation=Regularisation(label_smoothing=0.1)).run()
