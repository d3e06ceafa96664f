from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trimtab.errors import ConfigError
from trimtab.models.activations import ACTIVATIONS
from trimtab.models.linear import Linear
from trimtab.models.mlp import MLP, widths


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("depth", "width", "parameters"), [(0, 8, 33), (1, 8, 115), (3, 4, 99)])
def test_has_the_asked_size(activation: str, depth: int, width: int, parameters: int) -> None:
    model = MLP((2, 5), 3, depth=depth, width=width, activation=activation, dropout=0.1)
    assert model(torch.zeros(5, 2, 5)).shape == (5, 3)
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize(
    ("normalisation", "parameters"),
    [
        ("none", 10 * 8 + 8 + 8 * 3 + 3),
        ("batch", 10 * 8 + 2 * 8 + 8 * 3 + 3),  # a scale and a shift per unit in place of the bias
        ("layer", 10 * 8 + 8 + 2 * 8 + 8 * 3 + 3),
    ],
)
def test_normalisation_has_its_parameters(normalisation: str, parameters: int) -> None:
    model = MLP((10,), 3, depth=1, width=8, normalisation=normalisation)
    assert sum(p.numel() for p in model.parameters()) == parameters


MODULES = {
    "relu": nn.ReLU(),
    "leaky_relu": nn.LeakyReLU(),
    "elu": nn.ELU(),
    "gelu": nn.GELU(),
    "silu": nn.SiLU(),
    "tanh": nn.Tanh(),
    "sigmoid": nn.Sigmoid(),
    "identity": nn.Identity(),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_is_torch_layers(name: str) -> None:
    module = MODULES[name]
    torch.manual_seed(1)
    plain = nn.Sequential(nn.Linear(4, 6), module, nn.Linear(6, 6), module, nn.Linear(6, 2))
    torch.manual_seed(1)
    ours = MLP((4,), 2, depth=2, width=6, activation=name, initialisation="torch")
    x = torch.randn(7, 4)
    assert torch.equal(ours(x), plain(x))


def test_linear_is_one_torch_layer() -> None:
    torch.manual_seed(1)
    plain = nn.Linear(4, 2)
    torch.manual_seed(1)
    ours = Linear((2, 2), 2, initialisation="torch")
    x = torch.randn(7, 4)
    assert torch.equal(ours(x.reshape(7, 2, 2)), plain(x))


def composed(model: MLP) -> tuple[Tensor, Tensor]:
    """The one matrix and the one bias that a chain of linear layers comes to."""
    layers = [m for m in model.layers if isinstance(m, nn.Linear)]
    weight, bias = torch.eye(layers[0].in_features), torch.zeros(layers[0].in_features)
    for layer in layers:
        weight, bias = layer.weight @ weight, layer.weight @ bias + layer.bias
    return weight, bias


def test_identity_collapses_to_one_linear_map() -> None:
    torch.manual_seed(0)
    x = torch.randn(50, 9)
    linear = MLP((9,), 4, depth=3, width=20, activation="identity", initialisation="torch")
    weight, bias = composed(linear)
    torch.testing.assert_close(linear(x), x @ weight.T + bias)
    bent = MLP((9,), 4, depth=3, width=20, activation="tanh", initialisation="torch")
    weight, bias = composed(bent)
    assert not torch.allclose(bent(x), x @ weight.T + bias, atol=1e-3)


@pytest.mark.parametrize(
    ("features", "outputs", "depth", "width", "taper", "expected"),
    [
        (64, 10, 0, 64, 1.0, []),
        (64, 10, 3, 64, 1.0, [64, 64, 64]),
        (64, 10, 3, 64, 0.5, [64, 32, 16]),
        (64, 10, 4, 10, 0.3, [10, 3, 1, 1]),  # never less than 1
        (64, 10, 3, 1, 0.1, [1, 1, 1]),
        (1000, 1, 2, "auto", 1.0, [100, 10]),
        (16, 4, 1, "auto", 1.0, [8]),  # the geometric mean
        (64, 10, 3, "auto", 1.0, [40, 25, 16]),
        (1, 16, 3, "auto", 1.0, [2, 4, 8]),  # more outputs than inputs: it widens
        (5, 5, 2, "auto", 1.0, [5, 5]),
        (1, 1, 2, "auto", 1.0, [1, 1]),
        (1000, 1, 2, "auto", 0.5, [100, 5]),
    ],
)
def test_widths(features: int, outputs: int, depth: int, width: int | str, taper: float, expected: list[int]) -> None:
    assert widths(features, outputs, depth, width, taper) == expected
    model = MLP((features,), outputs, depth=depth, width=width, taper=taper)
    assert [m.out_features for m in model.layers if isinstance(m, nn.Linear)] == [*expected, outputs]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0}, "model.width must be at least 1 but is 0"),
        ({"width": 2.5}, "model.width must be a whole number but is 2.5"),
        ({"width": True}, "model.width must be a whole number but is True"),
        ({"width": "aut"}, "model.width must be a whole number or auto but is 'aut'"),
        ({"depth": -1}, "model.depth must be at least 0 but is -1"),
        ({"taper": 0.0}, "model.taper must be above 0 and at most 1 but is 0.0"),
        ({"taper": 1.5}, "model.taper must be above 0 and at most 1 but is 1.5"),
        ({"taper": float("nan")}, "model.taper must be above 0 and at most 1 but is nan"),
        ({"dropout": 1.0}, "model.dropout must be at least 0 and below 1 but is 1.0"),
        ({"dropout": float("nan")}, "model.dropout must be at least 0 and below 1 but is nan"),
        ({"dropout": "0.1"}, "model.dropout must be at least 0 and below 1 but is '0.1'"),
        ({"input_dropout": -0.1}, "model.input_dropout must be at least 0 and below 1 but is -0.1"),
        (
            {"activation": "rleu"},
            "model.activation must be one of identity, relu, leaky_relu, elu, gelu, silu, tanh, sigmoid but is "
            "'rleu'; did you mean 'relu'?",
        ),
        (
            {"normalisation": "bach"},
            "model.normalisation must be one of none, batch, layer but is 'bach'; did you mean 'batch'?",
        ),
        ({"shape": (0,)}, "model.shape must be at least 1 but is 0"),
        ({"outputs": 0}, "model.outputs must be at least 1 but is 0"),
    ],
)
def test_bad_argument_names_knob_value_and_rule(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"shape": (4,), "outputs": 2, "depth": 2, "width": 64, **changes}
    with pytest.raises(ConfigError) as e:
        MLP(**arguments)
    assert str(e.value) == message
