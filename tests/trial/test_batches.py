from typing import get_args

import pytest
import torch
from torch import nn

from trimtab.trial import seeds
from trimtab.trial.batches import CHUNK, Batches, Rows, outputs_of


def rows(number: int) -> Rows:
    return Rows(torch.arange(2.0 * number).reshape(number, 2), torch.arange(number))


@pytest.mark.parametrize(
    ("number", "size", "sizes"), [(10, 4, [4, 4, 2]), (8, 4, [4, 4]), (3, 8, [3]), (1, 1, [1]), (5, 1, [1] * 5)]
)
def test_every_epoch_holds_every_row_once(number: int, size: int, sizes: list[int]) -> None:
    batches = Batches(rows(number), size, seeds.generator(0, "batches"))
    assert len(batches) == len(sizes)
    assert batches.sizes().tolist() == sizes
    for _ in range(2):
        epoch = list(batches)
        assert [len(x) for x, _ in epoch] == sizes
        assert sorted(torch.cat([y for _, y in epoch]).tolist()) == list(range(number))
        assert all(torch.equal(x[:, 0], 2.0 * y) for x, y in epoch)


def test_order_is_new_each_epoch_and_follows_from_the_seed() -> None:
    def orders(seed: int) -> list[list[int]]:
        batches = Batches(rows(20), 20, seeds.generator(seed, "batches"))
        return [y.tolist() for _ in range(2) for _, y in batches]

    assert orders(0) == orders(0)
    assert orders(0) != orders(1)
    assert orders(0)[0] != orders(0)[1]


def test_streams_of_one_seed_differ() -> None:
    streams = get_args(seeds.Stream)
    assert len({seeds.derive(seed, stream) for seed in (0, 1) for stream in streams}) == 2 * len(streams) == 12
    assert seeds.derive(0, "weights") == 0x03B4290604C66D74  # stored results depend on it


@pytest.mark.parametrize("training", [True, False])
def test_outputs_evaluate_in_chunks_and_leave_the_mode(training: bool) -> None:
    model = nn.Sequential(nn.Linear(2, 1), nn.Dropout(0.9)).train(training)
    x = torch.randn(CHUNK + 3, 2)
    outputs = outputs_of(model, x)
    assert model.training is training
    torch.testing.assert_close(outputs, model[0](x), rtol=1e-5, atol=1e-6)
    assert not outputs.requires_grad
