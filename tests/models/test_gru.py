from typing import Any

import pytest
import torch
from torch import nn

from trimtab.errors import ConfigError
from trimtab.models.gru import GRU


def gru_parameters(inputs: int, width: int) -> int:
    """Three gates, each with two matrices and two biases (torch.nn.GRU)."""
    return 3 * width * (inputs + width + 2)


@pytest.mark.parametrize(
    ("changes", "parameters"),
    [
        ({"depth": 1}, gru_parameters(2, 4) + 4 * 5 + 5),
        ({"depth": 3}, gru_parameters(2, 4) + 2 * gru_parameters(4, 4) + 4 * 5 + 5),
        ({"depth": 2, "bidirectional": True}, 2 * gru_parameters(2, 4) + 2 * gru_parameters(8, 4) + 8 * 5 + 5),
        ({"depth": 2, "normalisation": "batch"}, gru_parameters(2, 4) + gru_parameters(4, 4) + 2 * 8 + 4 * 5 + 5),
        ({"depth": 2, "normalisation": "layer"}, gru_parameters(2, 4) + gru_parameters(4, 4) + 2 * 8 + 4 * 5 + 5),
    ],
)
def test_has_the_asked_size(changes: dict[str, Any], parameters: int) -> None:
    model = GRU((2, 7), 5, **{"width": 4, **changes})
    assert model(torch.randn(3, 2, 7)).shape == (3, 5)
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("depth", [1, 3])
def test_is_the_deep_gru_of_torch(depth: int, bidirectional: bool) -> None:
    ours = GRU((2, 7), 5, depth=depth, width=4, bidirectional=bidirectional)
    plain = nn.GRU(2, 4, num_layers=depth, batch_first=True, bidirectional=bidirectional)
    weights = [value for layer in ours.recurrent for value in layer.state_dict().values()]
    plain.load_state_dict(dict(zip(plain.state_dict(), weights, strict=True)))
    x = torch.randn(3, 2, 7)
    steps, _ = plain(x.transpose(1, 2))
    ends = torch.cat([steps[:, -1, :4], steps[:, 0, 4:]], 1)
    torch.testing.assert_close(ours(x), ours.output(ends))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"shape": (10,)},
            "model=gru needs sequences (channels, length), but one example has the shape (10,); take model=mlp",
        ),
        (
            {"shape": (1, 8, 8)},
            "model=gru needs sequences (channels, length), but one example has the shape (1, 8, 8); take model=cnn",
        ),
        ({"depth": 0}, "model.depth must be at least 1 but is 0"),
        ({"width": 0}, "model.width must be at least 1 but is 0"),
        ({"bidirectional": 1}, "model.bidirectional must be true or false but is 1"),
        (
            {"normalisation": "layers"},
            "model.normalisation must be one of none, batch, layer but is 'layers'; did you mean 'layer'?",
        ),
        ({"dropout": 1.0}, "model.dropout must be at least 0 and below 1 but is 1.0"),
        ({"outputs": 0}, "model.outputs must be at least 1 but is 0"),
    ],
)
def test_bad_argument_names_knob_value_and_rule(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"shape": (1, 40), "outputs": 2, "depth": 1, "width": 4, **changes}
    with pytest.raises(ConfigError) as e:
        GRU(**arguments)
    assert str(e.value) == message
