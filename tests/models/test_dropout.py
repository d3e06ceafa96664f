"""Stateless dropout: masks of the right rate, unlike each other, the same on every call."""

import pytest
import torch
from torch import nn

from trimtab.models.dropout import Dropout, keys, mask, positions, replace

CPU = torch.device("cpu")


def masks(rate: float, number: int = 400) -> torch.Tensor:
    """(masks, 32, 50) of one seed's steps."""
    where = positions((32, 50), CPU)
    drawn = [mask(keys(torch.tensor(7), step, 1)[0], where, torch.tensor(rate)) for step in range(number)]
    return torch.stack(drawn) > 0


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_units_stay_with_their_probability(rate: float) -> None:
    """Five standard deviations of a binomial, over all draws, and of each unit over the steps."""
    drawn = masks(rate).float()
    sd = (rate * (1 - rate)) ** 0.5
    assert abs(float(drawn.mean()) - (1 - rate)) <= 5 * sd / drawn.numel() ** 0.5
    assert float((drawn.mean(0) - (1 - rate)).abs().max()) <= 5.5 * sd / len(drawn) ** 0.5 + 1e-6


def test_steps_and_units_are_not_correlated() -> None:
    drawn = masks(0.5).flatten(1).float() * 2 - 1
    for rows in (drawn, drawn.T[:400]):
        correlation = rows @ rows.T / rows.shape[1]
        correlation.fill_diagonal_(0)
        assert float(correlation.abs().max()) < 6 / rows.shape[1] ** 0.5


def test_a_mask_does_not_depend_on_the_shape_that_it_is_cut_from() -> None:
    key, rate = keys(torch.tensor(1), 3, 2)[1], torch.tensor(0.4)
    small, large = (mask(key, positions(shape, CPU), rate) for shape in ((8, 20), (32, 64)))
    assert torch.equal(small, large[:8, :20])


def test_seeds_steps_and_places_have_keys_of_their_own() -> None:
    found = torch.cat([keys(torch.arange(50), step, 3).flatten() for step in range(50)])
    assert len(found.unique()) == len(found)


def test_it_scales_what_stays_and_does_nothing_in_evaluation() -> None:
    layer, x = Dropout(0.25, 0), torch.ones(64, 100)
    assert layer(x).unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert torch.equal(layer(x), layer(x))
    assert layer.eval()(x) is x


def test_whole_channels_go() -> None:
    dropped = Dropout(0.5, 0, channels=True)(torch.ones(16, 8, 5, 5))
    assert torch.equal(dropped.amax((2, 3)), dropped.amin((2, 3)))


def test_torchs_layers_are_replaced_where_they_drop() -> None:
    model = nn.Sequential(nn.Dropout(0.0), nn.Sequential(nn.Linear(2, 2), nn.Dropout1d(0.3)), nn.Dropout(0.1))
    found = replace(model)
    assert [(d.p, d.place, d.channels) for d in found] == [(0.3, 1, True), (0.1, 2, False)]
    assert type(model[0]) is nn.Dropout
    assert model[1][1] is found[0]
    assert set(model.state_dict()) == {"1.0.weight", "1.0.bias"}
