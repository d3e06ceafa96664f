"""Which members share a stack."""

from functools import partial

import numpy as np
import pytest
import torch

from trimtab.data.arrays import Arrays, Parts, Problem
from trimtab.models.cnn import CNN
from trimtab.models.mlp import MLP
from trimtab.population.members import Member
from trimtab.population.stacks import JOINED_BYTES, Candidate, stacks
from trimtab.trial import optimizers
from trimtab.trial.recipe import Recipe
from trimtab.trial.schedules import Constant

CPU, META = torch.device("cpu"), torch.device("meta")
CLASSES = tuple("0123456789")


def parts(
    train: int = 1000, val: int = 250, weights: tuple[float, ...] | None = None, features: int = 40
) -> Parts[Arrays]:
    x, y = np.zeros((train, 1, features), np.float32), np.zeros(train, np.int64)
    problem = Problem("classification", (1, features), 10, CLASSES, 0.0, 1.0, weights)
    return Parts(Arrays(x, y), Arrays(x[:val], y[:val]), problem)


PARTS = parts()


def candidate(number: int, width: int, depth: int = 2, batch_size: int = 32, rows: Parts[Arrays] = PARTS) -> Candidate:
    model = partial(MLP, depth=depth, width=width)
    recipe = Recipe(model, partial(optimizers.adamw, lr=0.1), Constant(), 1, batch_size, None, "val/loss", 1)
    return Candidate(Member(number, recipe, 0), model((1, 40), 10), rows)


def numbers(found: list[list[Candidate]]) -> list[list[int]]:
    return [sorted(c.member.number for c in stack) for stack in found]


def convolving(number: int, shape: tuple[int, ...], batch_size: int) -> Candidate:
    model = partial(CNN, channels=16, blocks=2, kernel=3)
    recipe = Recipe(model, partial(optimizers.adamw, lr=0.1), Constant(), 1, batch_size, None, "val/loss", 1)
    return Candidate(Member(number, recipe, 0), model(shape, 10), PARTS)


def test_what_is_compiled_shares_one_whatever_it_is() -> None:
    candidates = [candidate(n, 16 + 37 * n % 240, 1 + n % 4, 16 * 2 ** (n % 3)) for n in range(24)]
    others = [candidate(24, 8, rows=parts(train=7)), convolving(25, (1, 8, 8), 32), convolving(26, (1, 4000), 256)]
    assert numbers(stacks([*candidates, *others], CPU)) == [[*range(27)]]


def test_large_images_are_not_compiled() -> None:
    found = stacks([convolving(n, (3, 32, 32), batch_size) for n, batch_size in enumerate((16, 256))], CPU)
    assert sorted(numbers(found)) == [[0], [1]]


def test_alike_share_one_elsewhere() -> None:
    assert len(stacks([candidate(n, width) for n, width in enumerate((16, 256))], META)) == 1


def test_batch_sizes_do_not_mix_elsewhere() -> None:
    found = stacks([candidate(n, 64, batch_size=32 if n % 2 else 64) for n in range(6)], META)
    assert sorted(numbers(found)) == [[0, 2, 4], [1, 3, 5]]


@pytest.mark.parametrize(
    ("other", "apart"),
    [
        (parts(), False),
        (parts(train=1001), True),
        (parts(val=251), True),
        (parts(weights=(2.0,) * 10), True),
    ],
)
def test_folds_of_one_length_share_one(other: Parts[Arrays], apart: bool) -> None:
    found = stacks([candidate(n, 64, rows=PARTS if n % 2 else other) for n in range(4)], META)
    assert sorted(numbers(found)) == ([[0, 2], [1, 3]] if apart else [[0, 1, 2, 3]])


def test_large_folds_are_not_copied_side_by_side() -> None:
    features = JOINED_BYTES // 4_000 + 1
    large = [parts(features=features), parts(features=features)]
    assert sorted(numbers(stacks([candidate(n, 64, rows=large[n % 2]) for n in range(4)], META))) == [[0, 2], [1, 3]]


class Own(CNN):
    """One that the loops are not written for."""


def test_other_networks_are_parted_by_shape() -> None:
    def cnn(number: int, channels: int) -> Candidate:
        model = partial(Own, channels=channels, blocks=1, kernel=3)
        recipe = Recipe(model, partial(optimizers.adamw, lr=0.1), Constant(), 1, 32, None, "val/loss", 1)
        return Candidate(Member(number, recipe, 0), model((1, 40), 10), PARTS)

    assert sorted(numbers(stacks([cnn(0, 8), cnn(1, 16), cnn(2, 8)], CPU))) == [[0, 2], [1]]


def test_windows_of_a_stack_stay_in_the_caches() -> None:
    def sizes(channels: int, batch_size: int, count: int) -> list[int]:
        model = partial(Own, channels=channels, blocks=3, kernel=3)
        recipe = Recipe(model, partial(optimizers.adamw, lr=0.1), Constant(), 1, batch_size, None, "val/loss", 1)
        found = numbers(stacks([Candidate(Member(n, recipe, 0), model((1, 40), 10), PARTS) for n in range(count)], CPU))
        assert sorted(n for part in found for n in part) == [*range(count)]
        return sorted(map(len, found))

    assert sizes(8, 32, 16) == [16]
    assert sizes(32, 32, 10) == [5, 5]  # 32 rows of 20 positions, each with a window of 3 · 32
    assert sizes(64, 256, 3) == [1, 1, 1]
