"""Flips, shifts and noise: against a slow reference, by their statistics, and silent at 0."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from trimtab.errors import ConfigError
from trimtab.trial.augmentation import Augmentation, flipped, shifted

SHAPES = {"table": (5,), "sequence": (2, 10), "image": (3, 8, 6)}
GRIDS = ("sequence", "image")


def batch(kind: str, rows: int = 64) -> Tensor:
    return torch.randn(rows, *SHAPES[kind], generator=torch.Generator().manual_seed(1))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def flipped_one_by_one(x: Tensor, probability: float, source: torch.Generator) -> Tensor:
    draws = torch.rand(len(x), generator=source).tolist()
    return torch.stack([e.flip(-1) if draw < probability else e for e, draw in zip(x, draws, strict=True)])


def shifted_one_by_one(x: Tensor, share: float, source: torch.Generator) -> Tensor:
    """numpy's padding, and a window of it."""
    sides = x.shape[2:]
    most = [int(share * side + 0.5) for side in sides]
    by = [torch.randint(-m, m + 1, (len(x), 1), generator=source)[:, 0].tolist() for m in most]
    moved = []
    for i, example in enumerate(x.numpy()):
        padded = np.pad(example, [(0, 0), *((m, m) for m in most)], mode="edge")
        windows = (slice(m - b[i], m - b[i] + side) for m, b, side in zip(most, by, sides, strict=True))
        moved.append(padded[(slice(None), *windows)])
    return torch.tensor(np.stack(moved))


@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize("value", [0.1, 0.3, 0.5, 1.0])
@pytest.mark.parametrize(("ours", "reference"), [(flipped, flipped_one_by_one), (shifted, shifted_one_by_one)])
def test_a_batch_is_its_examples(
    ours: Callable[..., Tensor], reference: Callable[..., Tensor], value: float, kind: str
) -> None:
    x = batch(kind)
    assert torch.equal(ours(x, value, generator()), reference(x, value, generator()))


def test_a_shift_by_hand() -> None:
    x = torch.arange(5.0).expand(200, 1, 5)
    rows = {tuple(row) for row in shifted(x, 0.4, generator())[:, 0].tolist()}
    assert rows == {(2, 3, 4, 4, 4), (1, 2, 3, 4, 4), (0, 1, 2, 3, 4), (0, 0, 1, 2, 3), (0, 0, 0, 1, 2)}


def test_each_shift_is_as_probable() -> None:
    x = torch.arange(20.0).expand(20_000, 1, 20)
    by = 10 - shifted(x, 0.1, generator())[:, 0, 10]
    counts = torch.bincount((by + 2).long(), minlength=5)
    assert counts.tolist() == pytest.approx([4000] * 5, abs=5 * np.sqrt(3200))


def test_height_and_width_move_apart() -> None:
    y, x = torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="ij")
    moved = shifted(torch.stack([y, x]).expand(5000, 2, 9, 9), 0.3, generator())[:, :, 4, 4] - 4
    assert abs(np.corrcoef(moved.T.numpy())[0, 1]) < 5 / np.sqrt(5000)
    assert moved.amax(0).tolist() == [3, 3]


@pytest.mark.parametrize("probability", [0.2, 0.5, 1.0])
def test_so_many_are_flipped(probability: float) -> None:
    x = torch.arange(4.0).expand(10_000, 2, 4)
    share = (flipped(x, probability, generator())[:, :, 0] == 3).float()
    assert share.mean().item() == pytest.approx(probability, abs=5 * np.sqrt(0.25 / 10_000))
    assert torch.equal(share[:, 0], share[:, 1])  # the channels of an example go together


@pytest.mark.parametrize("kind", SHAPES)
def test_noise_has_its_deviation(kind: str) -> None:
    x = batch(kind, 4000)
    noise = Augmentation(noise=0.3)(x, generator()) - x
    assert noise.std().item() == pytest.approx(0.3, rel=0.03)
    assert noise.mean().item() == pytest.approx(0, abs=0.01)
    assert torch.corrcoef(noise.flatten(1).T).triu(1).abs().max() < 5 / np.sqrt(4000)


@pytest.mark.parametrize("kind", SHAPES)
def test_nothing_is_done_at_0(kind: str) -> None:
    x, source = batch(kind), generator()
    assert torch.equal(Augmentation()(x, source), x)
    assert torch.equal(source.get_state(), generator().get_state())  # nor drawn


@pytest.mark.parametrize("kind", GRIDS)
def test_the_generator_decides(kind: str) -> None:
    x = batch(kind)
    before, augment = x.clone(), Augmentation(flip=0.5, shift=0.2, noise=0.1)
    torch.manual_seed(3)
    first = augment(x, generator())
    torch.manual_seed(4)
    assert torch.equal(augment(x, generator()), first)
    assert not torch.equal(augment(x, generator(1)), first)
    assert torch.equal(x, before)
    assert (first.shape, first.dtype) == (x.shape, x.dtype)


@pytest.mark.parametrize("kind", GRIDS)
def test_the_work_is_done_where_the_batch_lies(kind: str) -> None:
    """torch's meta device has no values, but refuses tensors of another device as an accelerator does."""
    x = torch.empty(4, *SHAPES[kind], device="meta")
    assert Augmentation(flip=0.5, shift=0.2, noise=0.1)(x, generator()).device == x.device


@pytest.mark.parametrize("knob", ["flip", "shift"])
def test_a_table_has_no_neighbours(knob: str) -> None:
    with pytest.raises(ConfigError, match=rf"augmentation\.{knob} needs sequences or images.*it is 0\.5; set it to 0"):
        Augmentation(**{knob: 0.5}).check((7,))


@pytest.mark.parametrize("shape", [(1, 40), (3, 8, 8)])
def test_grids_have(shape: tuple[int, ...]) -> None:
    Augmentation(flip=0.5, shift=0.5, noise=0.5).check(shape)


def test_noise_is_for_tables_too() -> None:
    Augmentation(noise=0.5).check((7,))


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"flip": 1.5}, "augmentation.flip must be from 0 to 1 but is 1.5"),
        ({"shift": -0.1}, "augmentation.shift must be from 0 to 1 but is -0.1"),
        ({"noise": -1}, "augmentation.noise must be at least 0 but is -1"),
        ({"noise": float("nan")}, "augmentation.noise must be at least 0 but is nan"),
        ({"noise": float("inf")}, "augmentation.noise must be at least 0 but is inf"),
        ({"flip": True}, "augmentation.flip must be from 0 to 1 but is True"),
    ],
)
def test_knobs_have_ranges(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Augmentation(**knobs)
    assert str(caught.value) == message
