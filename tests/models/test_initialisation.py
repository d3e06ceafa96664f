import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn import init

from trimtab.errors import ConfigError
from trimtab.models.activations import ACTIVATIONS
from trimtab.models.initialisation import INITIALISATIONS, SCHEMES, initialise
from trimtab.models.mlp import MLP

IN, OUT = 300, 200


def drawn(scheme: str, activation: str, layer: nn.Module | None = None) -> Tensor:
    torch.manual_seed(0)
    made = layer or nn.Linear(IN, OUT)
    torch.manual_seed(1)
    initialise(made, scheme, activation)
    weight: Tensor = made.get_parameter("weight").detach()
    return weight


# The formulas of the papers that SCHEMES names.
VARIANCES = {
    ("xavier_uniform", "tanh"): 2 / (IN + OUT),
    ("xavier_normal", "sigmoid"): 2 / (IN + OUT),
    ("xavier_uniform", "relu"): 2 / (IN + OUT),
    ("he_uniform", "relu"): 2 / IN,
    ("he_normal", "relu"): 2 / IN,
    ("he_normal", "gelu"): 2 / IN,
    ("he_normal", "tanh"): 2 / IN,
    ("he_normal", "leaky_relu"): 2 / (1 + 0.01**2) / IN,
    ("he_uniform", "identity"): 1 / IN,
    ("he_normal", "identity"): 1 / IN,
    ("lecun_uniform", "relu"): 1 / IN,
    ("lecun_normal", "tanh"): 1 / IN,
    ("zeros", "relu"): 0.0,
    ("constant", "relu"): 0.0,
    ("torch", "relu"): 1 / (3 * IN),
}


@pytest.mark.parametrize(("scheme", "activation"), VARIANCES)
def test_variance_follows_the_formula(scheme: str, activation: str) -> None:
    weight = drawn(scheme, activation).double()
    assert weight.var().item() == pytest.approx(VARIANCES[scheme, activation], rel=0.02, abs=1e-12)
    assert weight.mean().item() == pytest.approx(1 / IN if scheme == "constant" else 0, abs=1e-3)


@pytest.mark.parametrize("scheme", ["xavier_uniform", "he_uniform", "lecun_uniform"])
def test_uniform_schemes_are_bounded(scheme: str) -> None:
    weight = drawn(scheme, "relu")
    assert weight.abs().max().item() == pytest.approx(math.sqrt(3 * VARIANCES[scheme, "relu"]), rel=1e-2)


REFERENCES: dict[tuple[str, str], Callable[[Tensor], object]] = {
    ("xavier_uniform", "relu"): init.xavier_uniform_,
    ("xavier_normal", "tanh"): init.xavier_normal_,
    ("he_uniform", "relu"): lambda w: init.kaiming_uniform_(w, nonlinearity="relu"),
    ("he_normal", "silu"): lambda w: init.kaiming_normal_(w, nonlinearity="relu"),
    ("he_normal", "leaky_relu"): lambda w: init.kaiming_normal_(w, a=0.01, nonlinearity="leaky_relu"),
    ("he_normal", "identity"): lambda w: init.kaiming_normal_(w, nonlinearity="linear"),
    ("lecun_normal", "relu"): lambda w: init.normal_(w, std=1 / math.sqrt(w[0].numel())),
    ("orthogonal", "identity"): init.orthogonal_,
    ("orthogonal", "relu"): lambda w: init.orthogonal_(w, gain=math.sqrt(2)),
    ("orthogonal", "tanh"): lambda w: init.orthogonal_(w, gain=5 / 3),
    ("orthogonal", "sigmoid"): lambda w: init.orthogonal_(w, gain=1),
    ("zeros", "relu"): init.zeros_,
}


@pytest.mark.parametrize("layer", [nn.Linear(6, 5), nn.Conv1d(3, 5, 3), nn.Conv2d(2, 5, 3)])
@pytest.mark.parametrize(("scheme", "activation"), REFERENCES)
def test_weights_are_those_of_torch(scheme: str, activation: str, layer: nn.Module) -> None:
    ours = drawn(scheme, activation, layer)
    expected = torch.empty_like(ours)
    torch.manual_seed(1)
    REFERENCES[scheme, activation](expected)
    torch.testing.assert_close(ours, expected)
    assert layer.get_parameter("bias").abs().sum() == 0


AUTO = {
    "identity": "xavier_uniform",
    "relu": "he_normal",
    "leaky_relu": "he_normal",
    "elu": "he_normal",
    "gelu": "he_normal",
    "silu": "he_normal",
    "tanh": "xavier_uniform",
    "sigmoid": "xavier_uniform",
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_auto_is_right_for_the_activation(activation: str) -> None:
    assert torch.equal(drawn("auto", activation), drawn(AUTO[activation], activation))


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "elu", "gelu", "silu", "tanh"])
def test_auto_keeps_the_signal_through_ten_layers(activation: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(256, 200)
    model = MLP((200,), 10, depth=10, width=200, activation=activation)
    before_output = model.layers[:-1](x)
    assert 0.05 < before_output.square().mean().sqrt() < 10


def test_xavier_lets_a_deep_relu_network_fade_where_he_does_not() -> None:
    x = torch.randn(256, 200)
    scales = {}
    for scheme in ("xavier_normal", "he_normal"):
        torch.manual_seed(0)
        model = MLP((200,), 10, depth=20, width=200, initialisation=scheme)
        scales[scheme] = model.layers[:-1](x).square().mean().sqrt().item()
    assert scales["xavier_normal"] < 0.01 < 0.3 < scales["he_normal"]


def test_layer_before_the_output_has_no_activation_behind_it() -> None:
    torch.manual_seed(0)
    output = MLP((10,), 100, depth=1, width=500, initialisation="he_normal").layers[-1]
    assert output.get_parameter("weight").var().item() == pytest.approx(1 / 500, rel=0.03)


@pytest.mark.parametrize("scheme", ["zeros", "constant"])
@pytest.mark.parametrize("activation", ["tanh", "gelu", "sigmoid", "leaky_relu"])
def test_symmetry_never_breaks(scheme: str, activation: str) -> None:
    torch.manual_seed(0)
    x, y = torch.randn(64, 5), torch.randint(3, (64,))
    model = MLP((5,), 3, depth=2, width=7, activation=activation, initialisation=scheme)
    start = [p.detach().clone() for p in model.parameters()]
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    for _ in range(20):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    assert any(not torch.equal(p, before) for p, before in zip(model.parameters(), start, strict=True))
    for layer in (m for m in model.layers[:-1] if isinstance(m, nn.Linear)):
        torch.testing.assert_close(layer.weight, layer.weight[:1].expand_as(layer.weight))
        torch.testing.assert_close(layer.bias, layer.bias[:1].expand_as(layer.bias))


@pytest.mark.parametrize("scheme", ["xavier_normal", "he_normal", "lecun_normal"])
def test_each_gate_is_a_matrix_of_its_own(scheme: str) -> None:
    torch.manual_seed(0)
    layer = nn.GRU(400, 200)
    initialise(layer, scheme, "sigmoid")
    expected = {"xavier_normal": 2 / 600, "he_normal": 2 / 400, "lecun_normal": 1 / 400}[scheme]
    for gate in layer.weight_ih_l0.chunk(3):
        assert gate.var().item() == pytest.approx(expected, rel=0.03)


def test_auto_is_orthogonal_where_a_state_recurs() -> None:
    layer = nn.GRU(4, 6, bidirectional=True)
    initialise(layer, "auto", "sigmoid")
    for weight in (layer.weight_hh_l0, layer.weight_hh_l0_reverse):
        for gate in weight.chunk(3):
            torch.testing.assert_close(gate @ gate.T, torch.eye(6))
    gate = layer.weight_ih_l0[:6]
    assert gate.abs().max() <= math.sqrt(6 / (4 + 6))
    assert layer.bias_ih_l0.abs().sum() == layer.bias_hh_l0.abs().sum() == 0


def test_unknown_scheme_is_named() -> None:
    assert set(INITIALISATIONS) == {"auto", "torch", *SCHEMES}
    with pytest.raises(ConfigError, match=r"model.initialisation must be one of .* is 'xavier'; did you mean 'xavier_"):
        initialise(nn.Linear(2, 2), "xavier", "relu")
