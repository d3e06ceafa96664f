from typing import Any

import pytest
import torch
from torch import nn

from trimtab.errors import ConfigError
from trimtab.models.linear import Linear
from trimtab.models.mlp import ACTIVATIONS, MLP


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("depth", "width", "parameters"), [(0, 8, 33), (1, 8, 115), (3, 4, 99)])
def test_mlp_has_the_asked_size(activation: str, depth: int, width: int, parameters: int) -> None:
    model = MLP(10, 3, depth=depth, width=width, activation=activation, dropout=0.1)
    assert model(torch.zeros(5, 10)).shape == (5, 3)
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize(("name", "module"), [("relu", nn.ReLU), ("tanh", nn.Tanh), ("gelu", nn.GELU)])
def test_mlp_is_torch_layers_with_torch_initialisation(name: str, module: type[nn.Module]) -> None:
    torch.manual_seed(1)
    plain = nn.Sequential(nn.Linear(4, 6), module(), nn.Linear(6, 6), module(), nn.Linear(6, 2))
    torch.manual_seed(1)
    ours = MLP(4, 2, depth=2, width=6, activation=name)
    x = torch.randn(7, 4)
    assert torch.equal(ours(x), plain(x))


def test_linear_is_one_torch_layer() -> None:
    torch.manual_seed(1)
    plain = nn.Linear(4, 2)
    torch.manual_seed(1)
    x = torch.randn(7, 4)
    torch.manual_seed(1)
    assert torch.equal(Linear(4, 2)(x), plain(x))


@pytest.mark.parametrize("model", [Linear(50, 3, dropout=0.5), MLP(50, 3, depth=1, width=50, dropout=0.5)])
def test_dropout_acts_in_training_only(model: nn.Module) -> None:
    x = torch.ones(1, 50)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


SIZES: dict[str, Any] = {"depth": 2, "width": 64}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0}, "model.width must be at least 1 but is 0"),
        ({"width": 2.5}, "model.width must be a whole number but is 2.5"),
        ({"width": True}, "model.width must be a whole number but is True"),
        ({"depth": -1}, "model.depth must be at least 0 but is -1"),
        ({"dropout": 1.0}, "model.dropout must be at least 0 and below 1 but is 1.0"),
        ({"dropout": float("nan")}, "model.dropout must be at least 0 and below 1 but is nan"),
        ({"dropout": "0.1"}, "model.dropout must be at least 0 and below 1 but is '0.1'"),
        (
            {"activation": "rleu"},
            "model.activation must be one of relu, tanh, gelu but is 'rleu'; did you mean 'relu'?",
        ),
        ({"features": 0}, "model.features must be at least 1 but is 0"),
        ({"outputs": 0}, "model.outputs must be at least 1 but is 0"),
    ],
)
def test_bad_argument_names_knob_value_and_rule(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"features": 4, "outputs": 2, **SIZES, **changes}
    with pytest.raises(ConfigError) as e:
        MLP(**arguments)
    assert str(e.value) == message
