"""Stacked convolutional networks against autograd through each member's own module: one step, every kind of map."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stacked_networks import check_forward, stacked
from trimtab.models.activations import ACTIVATIONS
from trimtab.models.cnn import CNN
from trimtab.models.dropout import keys, replace
from trimtab.population import maps
from trimtab.population.cnn import StackedCNN
from trimtab.population.flat import Flat

BATCH, OUTPUTS, MEMBERS = 6, 3, 3
SHAPES: dict[str, tuple[int, ...]] = {
    "an odd sequence": (2, 13),
    "sides that are not alike": (2, 7, 4),
    "pooled to a point": (1, 3),
}


def models(shape: tuple[int, ...], **settings: Any) -> list[CNN]:
    torch.manual_seed(0)
    given = {"blocks": 3, "channels": 3, "kernel": 3, **settings}
    made = [CNN(shape, OUTPUTS, **given) for _ in range(MEMBERS)]
    for p in (p for model in made for p in model.parameters()):
        nn.init.normal_(p, std=0.5)  # biases and scales too: equal ones would hide a mistake
    return made


def check(stack: StackedCNN, flat: Flat, members: list[CNN], x: Tensor, drops: Tensor | None = None) -> None:
    wanted = torch.randn(len(members), x.shape[1], OUTPUTS)
    stack.begin(None if drops is None else drops.unsqueeze(0))
    outputs = stack.forward(flat.parameters, x.clone(), 0)
    flat.grads.zero_()
    stack.backward(wanted)
    grads = {name: p.grad for name, p in flat.parameters.items() if p.grad is not None}
    for m, model in enumerate(members):
        expected = model.train()(x[m])
        expected.backward(wanted[m])
        torch.testing.assert_close(outputs[m], expected)
        for name, p in model.named_parameters():
            torch.testing.assert_close(grads[name][m], p.grad, atol=3e-5, rtol=1e-4, msg=f"{m} {name}")
        now = stack.state(m, flat.parameters)
        assert {name for name in now if "dropout" not in name} == model.state_dict().keys()
        for name, buffer in model.state_dict().items():
            torch.testing.assert_close(now[name], buffer)
    torch.testing.assert_close(
        stack.forward(flat.parameters, x, None),
        torch.stack([model.eval()(x[m]) for m, model in enumerate(members)]),
    )


@pytest.mark.parametrize("normalisation", ["none", "batch", "layer"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_outputs_gradients_and_statistics_are_autograds(activation: str, normalisation: str) -> None:
    members = models(SHAPES["an odd sequence"], activation=activation, normalisation=normalisation)
    check(*stacked(members, StackedCNN), members, torch.randn(MEMBERS, BATCH, *SHAPES["an odd sequence"]))


@pytest.mark.parametrize("normalisation", ["none", "batch"])
@pytest.mark.parametrize("kernel", [1, 5])
def test_large_images_are_convolved_by_torch(kernel: int, normalisation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "MOST_WINDOWS", 0)
    shape = SHAPES["sides that are not alike"]
    members = models(shape, kernel=kernel, normalisation=normalisation)
    stack, flat = stacked(members, StackedCNN)
    monkeypatch.setattr(maps, "windows", None)
    check(stack, flat, members, torch.randn(MEMBERS, BATCH, *shape))


@pytest.mark.parametrize("settings", [{"kernel": 1}, {"kernel": 5}, {"dense": 4}, {"blocks": 1}], ids=str)
@pytest.mark.parametrize("kind", SHAPES)
def test_maps_of_any_sides(kind: str, settings: dict[str, int]) -> None:
    members = models(SHAPES[kind], **settings)
    check(*stacked(members, StackedCNN), members, torch.randn(MEMBERS, BATCH, *SHAPES[kind]))


@pytest.mark.parametrize("normalisation", ["none", "batch", "layer"])
def test_after_some_have_left_and_of_a_single_row(normalisation: str) -> None:
    """Where weights and gradients lie has changed; a single value has no statistics of its own."""
    shape = SHAPES["pooled to a point"]
    members = models(shape, dense=4, normalisation=normalisation)
    stack, flat = stacked(members, StackedCNN)
    check(stack, flat, members, torch.randn(MEMBERS, BATCH, *shape))
    stack.keep([0, 2])
    flat.keep([0, 2])
    staying = [members[0], members[2]]
    for model in staying:
        model.zero_grad()
    check(stack, flat, staying, torch.randn(2, 1, *shape))


def test_members_drop_what_each_drops_alone() -> None:
    shape, seeds = SHAPES["sides that are not alike"], torch.tensor([3, 4, 5])
    rates = [(0.0, 0.3), (0.5, 0.0), (0.2, 0.6)]
    members = [m for p, q in rates for m in models(shape, dropout=p, conv_dropout=q)[:1]]
    stack, flat = stacked(members, StackedCNN)
    drops = keys(seeds, 7, stack.places)
    for m, model in enumerate(members):
        for layer in replace(model):
            layer.key = drops[m, layer.place]
    check(stack, flat, members, torch.randn(MEMBERS, BATCH, *shape), drops)


class Doubled(CNN):
    """Not what its layers alone would compute."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def test_a_network_derived_from_ours_keeps_its_own_forward_pass() -> None:
    shape = SHAPES["an odd sequence"]
    members = [Doubled(shape, OUTPUTS, blocks=1, channels=2, kernel=3, normalisation="none") for _ in range(2)]
    check_forward(members, torch.randn(2, BATCH, *shape))
