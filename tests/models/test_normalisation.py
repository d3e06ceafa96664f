import pytest
import torch
from torch import Tensor, nn

from trimtab.models.normalisation import normalised


def settled(norm: nn.Module, reference: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs in evaluation after three batches of training, equal in training as well."""
    for part in x.chunk(3):
        torch.testing.assert_close(norm(part), reference(part))
    return norm.eval()(x), reference.eval()(x)


@pytest.mark.parametrize(
    ("shape", "reference"), [((6,), nn.BatchNorm1d(6)), ((6, 5), nn.BatchNorm1d(6)), ((6, 5, 4), nn.BatchNorm2d(6))]
)
def test_batch_is_that_of_torch(shape: tuple[int, ...], reference: nn.Module) -> None:
    torch.manual_seed(0)
    ours, theirs = settled(normalised("batch", 6), reference, 3 * torch.randn(30, *shape) + 2)
    assert torch.equal(ours, theirs)


def test_batch_normalises_in_training_and_by_running_statistics_afterwards() -> None:
    torch.manual_seed(0)
    norm, x = normalised("batch", 2), 3 * torch.randn(4000, 2) + 5
    for _ in range(100):
        outputs = norm(x)
    torch.testing.assert_close(outputs.mean(0), torch.zeros(2), atol=1e-4, rtol=0)
    norm.eval()
    torch.testing.assert_close(norm(x[:1]), (x[:1] - x.mean(0)) / x.std(0), atol=1e-3, rtol=0)


@pytest.mark.parametrize("shape", [(3,), (3, 1), (3, 1, 1)])
def test_batch_of_a_single_value_per_channel_is_normalised_as_in_evaluation(shape: tuple[int, ...]) -> None:
    norm = normalised("batch", 3)
    norm(torch.randn(8, *shape))
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    lone = torch.randn(1, *shape)
    trained = norm(lone)
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())
    assert torch.equal(trained, norm.eval()(lone))


def test_layer_is_that_of_torch() -> None:
    x = torch.randn(5, 6)
    torch.testing.assert_close(normalised("layer", 6)(x), nn.LayerNorm(6)(x))
    maps = torch.randn(5, 6, 4, 3)
    torch.testing.assert_close(normalised("layer", 6)(maps), nn.LayerNorm([6, 4, 3])(maps))


def test_none_is_nothing() -> None:
    x = torch.randn(5, 6)
    assert torch.equal(normalised("none", 6)(x), x)
