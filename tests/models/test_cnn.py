from typing import Any

import pytest
import torch
from torch import nn

from trimtab.errors import ConfigError
from trimtab.models.cnn import CNN

SIZES: dict[str, Any] = {"blocks": 2, "channels": 4, "kernel": 3}


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("shape", [(1, 40), (3, 7), (2, 1), (1, 8, 8), (3, 5, 9), (1, 1, 1), (2, 1, 16)])
@pytest.mark.parametrize("blocks", [1, 3, 6])
def test_takes_any_extent(shape: tuple[int, ...], blocks: int) -> None:
    """Pooling ends before a side vanishes, however many blocks there are."""
    model = CNN(shape, 5, **SIZES | {"blocks": blocks, "kernel": 1})
    assert model(torch.randn(3, *shape)).shape == (3, 5)


def convolutions(model: CNN) -> list[nn.Conv1d | nn.Conv2d]:
    return [m for m in model.modules() if isinstance(m, nn.Conv1d | nn.Conv2d)]


@pytest.mark.parametrize(
    ("shape", "channels"),
    [
        ((1, 40), [4, 8, 16, 32, 64, 128, 128]),  # 40, 20, 10, 5, 2, 1: five poolings
        ((1, 8, 8), [4, 8, 16, 32, 32, 32, 32]),
        ((1, 2, 8), [4, 8, 16, 32, 32, 32, 32]),  # the longer side is pooled on
        ((1, 1), [4, 4, 4, 4, 4, 4, 4]),
    ],
)
def test_channels_double_after_each_pooling(shape: tuple[int, ...], channels: list[int]) -> None:
    model = CNN(shape, 5, **SIZES | {"blocks": 7, "kernel": 1})
    assert [layer.out_channels for layer in convolutions(model)] == channels


@pytest.mark.parametrize(
    ("shape", "changes", "expected"),
    [
        ((2, 40), {"normalisation": "none"}, (2 * 4 * 3 + 4) + (4 * 8 * 3 + 8) + (8 * 5 + 5)),
        ((2, 8, 8), {"normalisation": "none"}, (2 * 4 * 9 + 4) + (4 * 8 * 9 + 8) + (8 * 5 + 5)),
        ((2, 40), {"normalisation": "batch"}, (2 * 4 * 3 + 8) + (4 * 8 * 3 + 16) + (8 * 5 + 5)),
        ((2, 40), {"normalisation": "layer"}, (2 * 4 * 3 + 4 + 8) + (4 * 8 * 3 + 8 + 16) + (8 * 5 + 5)),
        (
            (2, 40),
            {"normalisation": "none", "dense": 6},
            (2 * 4 * 3 + 4) + (4 * 8 * 3 + 8) + (8 * 6 + 6) + (6 * 5 + 5),
        ),
        (
            (2, 40),
            {"normalisation": "batch", "dense": 6},
            (2 * 4 * 3 + 8) + (4 * 8 * 3 + 16) + (8 * 6 + 12) + (6 * 5 + 5),
        ),
    ],
)
def test_has_the_asked_size(shape: tuple[int, ...], changes: dict[str, Any], expected: int) -> None:
    assert parameters(CNN(shape, 5, **SIZES | changes)) == expected


@pytest.mark.parametrize("shape", [(2, 12), (2, 6, 6)])
def test_is_torch_layers(shape: tuple[int, ...]) -> None:
    ours = CNN(shape, 5, **SIZES, dense=6, normalisation="none", activation="tanh")
    sequence = len(shape) == 2
    conv, pool, mean = (
        (nn.Conv1d, nn.MaxPool1d, nn.AdaptiveAvgPool1d) if sequence else (nn.Conv2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d)
    )
    plain = nn.Sequential(
        conv(2, 4, 3, padding=1), nn.Tanh(), pool(2), conv(4, 8, 3, padding=1), nn.Tanh(), pool(2),
        mean(1), nn.Flatten(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 5),
    )  # fmt: skip
    plain.load_state_dict(dict(zip(plain.state_dict(), ours.state_dict().values(), strict=True)))
    x = torch.randn(3, *shape)
    torch.testing.assert_close(ours(x), plain(x))


@pytest.mark.parametrize("shape", [(1, 4), (1, 4, 1), (1, 1, 4)])
def test_kernel_may_be_larger_than_the_input_while_all_of_it_meets_data(shape: tuple[int, ...]) -> None:
    model = CNN(shape, 2, **SIZES | {"blocks": 1, "kernel": 7}, normalisation="none", activation="identity")
    model(torch.randn(64, *shape)).sum().backward()
    gradient = convolutions(model)[0].weight.grad
    assert gradient is not None
    assert (gradient[0, 0] != 0).sum() == 7
    with pytest.raises(ConfigError) as e:
        CNN(shape, 2, **SIZES | {"kernel": 9})
    assert str(e.value) == (
        f"model.kernel must be at most 7 but is 9: in data with sides {shape[1:]} its outer weights "
        "would meet padding only"
    )


def test_channels_are_dropped_whole() -> None:
    torch.manual_seed(0)
    model = CNN((1, 8, 8), 2, **SIZES, conv_dropout=0.5)
    seen: list[torch.Tensor] = []
    dropout = next(m for m in model.modules() if isinstance(m, nn.Dropout2d))
    dropout.register_forward_hook(lambda _, given, out: seen.append((out == 0) & (given[0] != 0)))
    model(torch.randn(50, 1, 8, 8))
    lost, alive = seen[0].flatten(2), seen[0].flatten(2).any(2)
    assert 0.3 < alive.float().mean() < 0.7
    assert lost[alive].float().mean() > 0.5  # the rest were zeros of relu


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"shape": (10,)},
            "model=cnn needs sequences (channels, length) or images (channels, height, width), "
            "but one example has the shape (10,); take model=mlp",
        ),
        ({"kernel": 4}, "model.kernel must be odd but is 4; take 3 or 5"),
        ({"kernel": 0}, "model.kernel must be at least 1 but is 0"),
        ({"kernel": 3.0}, "model.kernel must be a whole number but is 3.0"),
        ({"blocks": 0}, "model.blocks must be at least 1 but is 0"),
        ({"channels": 0}, "model.channels must be at least 1 but is 0"),
        ({"dense": -1}, "model.dense must be at least 0 but is -1"),
        ({"dropout": 1}, "model.dropout must be at least 0 and below 1 but is 1"),
        ({"conv_dropout": 1.0}, "model.conv_dropout must be at least 0 and below 1 but is 1.0"),
        ({"shape": (1, 0)}, "model.shape must be at least 1 but is 0"),
        ({"outputs": 0}, "model.outputs must be at least 1 but is 0"),
    ],
)
def test_bad_argument_names_knob_value_and_rule(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"shape": (1, 40), "outputs": 2, **SIZES, **changes}
    with pytest.raises(ConfigError) as e:
        CNN(**arguments)
    assert str(e.value) == message
