"""Which members share a stack."""

from functools import partial

import torch
from torch import nn

from trimtab.models.cnn import CNN
from trimtab.models.mlp import MLP
from trimtab.population.members import Member
from trimtab.population.stacks import stacks
from trimtab.trial import optimizers
from trimtab.trial.recipe import Recipe
from trimtab.trial.schedules import Constant

CPU = torch.device("cpu")
ROWS = 1000


def pair(number: int, width: int, depth: int = 2, batch_size: int = 32) -> tuple[Member, nn.Module]:
    model = partial(MLP, depth=depth, width=width)
    recipe = Recipe(model, partial(optimizers.adamw, lr=0.1), Constant(), 1, batch_size, None, "val/loss", 1)
    return Member(number, recipe, 0), model((1, 40), 10)


def numbers(parts: list[list[tuple[Member, nn.Module]]]) -> list[list[int]]:
    return [sorted(m.number for m, _ in part) for part in parts]


def test_alike_share_one() -> None:
    assert numbers(stacks([pair(n, 64) for n in range(8)], ROWS, CPU)) == [[*range(8)]]


def test_batch_sizes_do_not_mix() -> None:
    found = stacks([pair(n, 64, batch_size=32 if n % 2 else 64) for n in range(6)], ROWS, CPU)
    assert sorted(numbers(found)) == [[0, 2, 4], [1, 3, 5]]


def test_the_small_are_not_padded_to_the_large() -> None:
    sizes = [(16, 1), (256, 4), (20, 1), (24, 2)]
    found = stacks([pair(n, width, depth) for n, (width, depth) in enumerate(sizes)], ROWS, CPU)
    assert numbers(found) == [[0, 2, 3], [1]]


def test_nobody_is_lost_and_order_does_not_matter() -> None:
    pairs = [pair(n, 16 + 37 * n % 240, 1 + n % 4, 16 * 2 ** (n % 3)) for n in range(24)]
    found = numbers(stacks(pairs, ROWS, CPU))
    assert sorted(n for part in found for n in part) == [*range(24)]
    assert sorted(numbers(stacks(pairs[::-1], ROWS, CPU))) == sorted(found)
    assert 3 < len(found) < 24


def test_elsewhere_they_stay_together() -> None:
    assert len(stacks([pair(0, 16), pair(1, 256)], ROWS, torch.device("meta"))) == 1


def test_other_networks_are_parted_by_shape() -> None:
    def cnn(number: int, channels: int) -> tuple[Member, nn.Module]:
        model = partial(CNN, channels=channels, blocks=1, kernel=3)
        recipe = Recipe(model, partial(optimizers.adamw, lr=0.1), Constant(), 1, 32, None, "val/loss", 1)
        return Member(number, recipe, 0), model((1, 40), 10)

    assert sorted(numbers(stacks([cnn(0, 8), cnn(1, 16), cnn(2, 8)], ROWS, CPU))) == [[0, 2], [1]]


def test_windows_of_a_stack_stay_in_the_caches() -> None:
    def sizes(channels: int, batch_size: int, count: int) -> list[int]:
        model = partial(CNN, channels=channels, blocks=3, kernel=3)
        recipe = Recipe(model, partial(optimizers.adamw, lr=0.1), Constant(), 1, batch_size, None, "val/loss", 1)
        found = numbers(stacks([(Member(n, recipe, 0), model((1, 40), 10)) for n in range(count)], ROWS, CPU))
        assert sorted(n for part in found for n in part) == [*range(count)]
        return sorted(map(len, found))

    assert sizes(8, 32, 16) == [16]
    assert sizes(32, 32, 10) == [5, 5]  # 32 rows of 20 positions, each with a window of 3 · 32
    assert sizes(64, 256, 3) == [1, 1, 1]
