"""What every model of ours keeps to, and that each of its knobs acts."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vjp, vmap
from torch.nn import functional as F

from trimtab.models.cnn import CNN
from trimtab.models.gru import GRU
from trimtab.models.linear import Linear
from trimtab.models.mlp import MLP

SEQUENCE, IMAGE = (2, 12), (2, 6, 6)

Tensors = dict[str, Tensor]
Case = tuple[type[nn.Module], tuple[int, ...], dict[str, Any]]
CASES: dict[str, Case] = {
    "linear": (Linear, SEQUENCE, {}),
    "mlp": (MLP, IMAGE, {"depth": 2, "width": 8}),
    "cnn, sequence": (CNN, SEQUENCE, {"blocks": 2, "channels": 4, "kernel": 3}),
    "cnn, image": (CNN, IMAGE, {"blocks": 2, "channels": 4, "kernel": 3, "dense": 6}),
    "gru": (GRU, SEQUENCE, {"depth": 2, "width": 6}),
}


def made(case: str, **changes: Any) -> nn.Module:
    kind, shape, knobs = CASES[case]
    torch.manual_seed(0)
    return kind(shape, 3, **{**knobs, **changes})


def examples(case: str, rows: int = 40) -> Tensor:
    return torch.randn(rows, *CASES[case][1], generator=torch.Generator().manual_seed(1))


CHANGES = {
    "linear": {"initialisation": "zeros", "dropout": 0.5},
    "mlp": {
        "depth": 1,
        "width": "auto",
        "taper": 0.5,
        "activation": "tanh",
        "initialisation": "orthogonal",
        "normalisation": "layer",
        "dropout": 0.5,
        "input_dropout": 0.5,
    },
    "cnn, sequence": {
        "blocks": 3,
        "channels": 5,
        "kernel": 5,
        "dense": 4,
        "activation": "elu",
        "initialisation": "he_uniform",
        "normalisation": "none",
        "dropout": 0.5,
        "conv_dropout": 0.5,
    },
    "gru": {
        "depth": 1,
        "width": 5,
        "bidirectional": True,
        "initialisation": "xavier_normal",
        "normalisation": "batch",
        "dropout": 0.5,
    },
}
ROWS = [(case, knob, value) for case, changes in CHANGES.items() for knob, value in changes.items()]


@pytest.mark.parametrize(("case", "knob", "value"), ROWS)
def test_every_knob_acts(case: str, knob: str, value: Any) -> None:
    x, before, after = examples(case), made(case), made(case, **{knob: value})
    assert not torch.equal(before(x), after(x))


@pytest.mark.parametrize("case", CHANGES)
def test_every_knob_of_the_constructor_is_among_them(case: str) -> None:
    hints = set(CASES[case][0].__init__.__annotations__)
    assert set(CHANGES[case]) == hints - {"shape", "outputs", "return"}


DROPOUTS = [(case, knob) for case, knob, _ in ROWS if knob.endswith("dropout")]


@pytest.mark.parametrize(("case", "knob"), [*DROPOUTS, ("cnn, image", "dropout"), ("cnn, image", "conv_dropout")])
def test_dropout_acts_in_training_only_and_never_on_the_output(case: str, knob: str) -> None:
    fixed = {"normalisation": "layer"} if "cnn" in case else {}  # batch statistics would follow the training passes
    x, model, without = examples(case), made(case, **fixed, **{knob: 0.5}), made(case, **fixed).eval()
    for net in (model, without):
        nn.init.ones_([m for m in net.modules() if isinstance(m, nn.Linear)][-1].bias)
    assert not torch.equal(model(x), model(x))
    assert not (model(x) == 0).any()
    model.eval()
    assert torch.equal(model(x), without(x))


@pytest.mark.parametrize("normalisation", ["batch", "layer"])
@pytest.mark.parametrize("case", ["mlp", "cnn, sequence", "cnn, image", "gru"])
def test_in_evaluation_an_example_does_not_depend_on_its_company(case: str, normalisation: str) -> None:
    x, model = examples(case), made(case, normalisation=normalisation)
    trained_alone = model(x[:1])
    assert torch.allclose(trained_alone, model(x)[:1], atol=1e-6) == (normalisation == "layer")
    model.eval()
    torch.testing.assert_close(model(x[:1]), model(x)[:1])


@pytest.mark.parametrize("normalisation", ["none", "batch", "layer"])
@pytest.mark.parametrize("case", ["mlp", "cnn, sequence", "cnn, image", "gru"])
def test_learns(case: str, normalisation: str) -> None:
    x = examples(case, 60)
    y = x.flatten(1)[:, :8].sum(1).gt(0).long()
    model = made(case, normalisation=normalisation)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for _ in range(80):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert all(p.grad is not None and p.grad.any() for p in model.parameters()), "a parameter that nothing moves"


@pytest.mark.parametrize("case", CASES)
def test_network_without_a_batch_learns_nothing_of_the_order(case: str) -> None:
    x, model = examples(case), made(case).eval()
    torch.testing.assert_close(model(x.flip(0)), model(x).flip(0))


STACKED = [(case, {}) for case in CASES]
STACKED += [(case, {"normalisation": n}) for case in ("mlp", "cnn, image", "gru") for n in ("batch", "layer")]


@pytest.mark.parametrize(("case", "changes"), STACKED)
@pytest.mark.parametrize("own_rows", [False, True])
def test_members_stack(case: str, changes: dict[str, Any], own_rows: bool) -> None:
    """As populations train them: weights and buffers stacked, the forward pass mapped over members."""
    kind, shape, knobs = CASES[case]
    members = [kind(shape, 3, **{**knobs, **changes}) for _ in range(2)]
    for member in members:
        member(torch.randn(20, *shape))  # running statistics of its own
        member.eval()
    x = examples(case)
    parameters, buffers = stack_module_state(members)

    def forward(parameters: Tensors, buffers: Tensors, x: Tensor) -> Any:
        # torch 2.13 maps a GRU below a gradient only ("Batching rule not implemented for aten::gru.input").
        return vjp(lambda p: functional_call(members[0], (p, buffers), (x,)), parameters)[0]

    given = torch.stack([x, x.flip(0)]) if own_rows else x
    together = vmap(forward, in_dims=(0, 0, 0 if own_rows else None))(parameters, buffers, given)
    expected = torch.stack([member(own) for member, own in zip(members, given if own_rows else [x, x], strict=True)])
    torch.testing.assert_close(together, expected)
