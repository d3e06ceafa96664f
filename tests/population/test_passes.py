"""The written out passes against autograd through each member's own module, one step, every activation and norm."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from sample_members import recipe, sgd
from stacked_networks import check_forward, stacked
from trimtab.models.activations import ACTIVATIONS
from trimtab.models.mlp import MLP
from trimtab.population.flat import Flat
from trimtab.population.members import company
from trimtab.population.mlp import PaddedMLP

BATCH, FEATURES, OUTPUTS = 12, 5, 3
SIZES = [(3, 7), (2, 7), (2, 4), (1, 9)]
"""Depth and width of each member: the deepest first, as in a stack."""


def models(activation: str, normalisation: str) -> list[MLP]:
    torch.manual_seed(0)
    made = [
        MLP((FEATURES,), OUTPUTS, depth=depth, width=width, activation=activation, normalisation=normalisation)
        for depth, width in SIZES
    ]
    for p in (p for model in made for p in model.parameters()):
        nn.init.normal_(p, std=0.5)  # biases and scales too: equal ones would hide a mistake
    return made


def gradients(network: PaddedMLP, flat: Flat, member: int) -> dict[str, Tensor]:
    """A member's gradients as its own module names them."""
    found = network.state(member, {name: p.grad for name, p in flat.parameters.items() if p.grad is not None})
    return {name: grad for name, grad in found.items() if "running" not in name and "batches" not in name}


@pytest.mark.filterwarnings("ignore:grad and param do not obey")
@pytest.mark.parametrize("normalisation", ["none", "batch", "layer"])
@pytest.mark.parametrize("activation", [*ACTIVATIONS, "mixed"])
def test_outputs_gradients_and_statistics_are_autograds(activation: str, normalisation: str) -> None:
    if activation == "mixed":
        members = [models(kind, normalisation)[m] for m, kind in enumerate(("gelu", "tanh", "sigmoid", "gelu"))]
    else:
        members = models(activation, normalisation)
    stack, flat = stacked(members, PaddedMLP)
    x, wanted = torch.randn(len(members), BATCH, FEATURES), torch.randn(len(members), BATCH, OUTPUTS)
    outputs = stack.forward(flat.parameters, x, 0)
    stack.backward(wanted)
    for m, model in enumerate(members):
        expected = model.train()(x[m])
        expected.backward(wanted[m])
        torch.testing.assert_close(outputs[m], expected)
        ours = gradients(stack, flat, m)
        assert ours.keys() == dict(model.named_parameters()).keys()
        for name, p in model.named_parameters():
            torch.testing.assert_close(ours[name], p.grad, atol=2e-5, rtol=1e-4, msg=f"{m} {name}")
        statistics = {n: v for n, v in stack.state(m, flat.parameters).items() if n in dict(model.named_buffers())}
        for name, buffer in model.named_buffers():
            torch.testing.assert_close(statistics[name], buffer)


@pytest.mark.filterwarnings("ignore:grad and param do not obey")
@pytest.mark.parametrize("normalisation", ["none", "batch", "layer"])
def test_after_some_have_left_and_of_a_single_row(normalisation: str) -> None:
    """Where weights and gradients lie has changed; a single row has no statistics of its own."""
    members = models("relu", normalisation)
    stack, flat = stacked(members, PaddedMLP)
    stack.forward(flat.parameters, torch.randn(len(members), BATCH, FEATURES), 0)
    stack.keep([0, 2])
    flat.keep([0, 2])
    x, wanted = torch.randn(2, 1, FEATURES), torch.randn(2, 1, OUTPUTS)
    outputs = stack.forward(flat.parameters, x, 0)
    stack.backward(wanted)
    for m in range(2):
        model = MLP((FEATURES,), OUTPUTS, depth=SIZES[2 * m][0], width=SIZES[2 * m][1], normalisation=normalisation)
        model.load_state_dict(stack.state(m, flat.parameters))
        expected = model.train(normalisation != "batch")(x[m])
        expected.backward(wanted[m])
        torch.testing.assert_close(outputs[m], expected)
        for name, p in model.named_parameters():
            torch.testing.assert_close(gradients(stack, flat, m)[name], p.grad, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("normalisation", ["none", "batch", "layer"])
def test_padding_has_no_gradient(normalisation: str) -> None:
    members = models("sigmoid", normalisation)
    stack, flat = stacked(members, PaddedMLP)
    shapes = [{name: tuple(w.shape) for name, w in stack.load(m).items()} for m in range(len(members))]
    stack.forward(flat.parameters, torch.randn(len(members), BATCH, FEATURES), 0)
    stack.backward(torch.randn(len(members), BATCH, OUTPUTS))
    for m, own in enumerate(shapes):
        for corner in flat.layout.corners(flat.grads, m, own).values():
            corner.zero_()
    assert not flat.grads.any()


class Doubled(MLP):
    """Not what its layers alone would compute."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def test_a_network_derived_from_ours_keeps_its_own_forward_pass() -> None:
    members = [Doubled((FEATURES,), OUTPUTS, depth=1, width=4) for _ in range(2)]
    check_forward(members, torch.randn(2, BATCH, FEATURES))


def test_members_that_drop_and_those_that_do_not_share_no_stack_of_derived_networks() -> None:
    """Ours leaves its dropout out at 0: one of them would be computed as the other."""
    rates = (0.0, 0.2, 0.5)
    none, some, more = (company(recipe(partial(Doubled, depth=1, width=4, dropout=rate), sgd())) for rate in rates)
    assert none != some == more
    assert len({company(recipe(partial(MLP, depth=1, width=4, dropout=rate), sgd())) for rate in rates}) == 1
