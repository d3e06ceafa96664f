"""A member is a trial in every respect: what it gives alone, it gives in company."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from sample_members import Rows, adamw, mlp, recipe, sgd
from trimtab.data.arrays import Arrays, Parts, Problem
from trimtab.errors import Diverged
from trimtab.models.cnn import CNN
from trimtab.models.gru import GRU
from trimtab.models.linear import Linear
from trimtab.population.members import Member, obstacle
from trimtab.population.train import train_each, train_many
from trimtab.trial import optimizers
from trimtab.trial.augmentation import Augmentation
from trimtab.trial.recipe import Device, Recipe
from trimtab.trial.regularisation import Regularisation
from trimtab.trial.result import TrialResult
from trimtab.trial.schedules import Cosine, OneCycle, Plateau
from trimtab.trial.session import session
from trimtab.trial.train import train

COMPANIES: dict[str, list[Recipe]] = {
    "sizes": [recipe(mlp(width=w, depth=d, taper=t), adamw()) for w, d, t in ((8, 1, 1.0), (30, 3, 0.5), (17, 2, 1.0))],
    "activations": [
        recipe(mlp(activation=a, depth=d), sgd())
        for a, d in (("sigmoid", 2), ("tanh", 1), ("relu", 2), ("gelu", 2), ("identity", 3))
    ],
    "optimizers": [
        recipe(mlp(), partial(getattr(optimizers, kind), lr=1e-3, weight_decay=0.1))
        for kind in ("rmsprop", "adam", "adamw", "nadam", "sgd")
    ]
    + [recipe(mlp(), sgd(nesterov=True))],
    "dropout": [
        recipe(mlp(dropout=p, input_dropout=q, depth=2), adamw()) for p, q in ((0.0, 0.2), (0.5, 0.0), (0.2, 0.1))
    ],
    "schedules": [recipe(mlp(), sgd(), schedule=s) for s in (Cosine(), OneCycle(), Plateau(patience_epochs=0))],
    "penalties": [
        recipe(mlp(), sgd(), regularisation=Regularisation(l2=0.01, l1=0.001)),
        recipe(mlp(width=9), adamw(), regularisation=Regularisation(l1_proximal=0.5, label_smoothing=0.1)),
        recipe(mlp(), sgd(lr=0.5), regularisation=Regularisation(clip_norm=0.1, clip_value=0.02)),
        recipe(mlp(width=9), sgd(), regularisation=Regularisation(gradient_noise=0.01, weight_noise=0.02)),
    ],
    "decay on all": [recipe(mlp(), sgd(weight_decay=0.1), regularisation=Regularisation(decay_on="all"))],
    "batch norm": [recipe(mlp(normalisation="batch", width=w, dropout=0.1), adamw()) for w in (8, 20)],
    "layer norm": [recipe(mlp(normalisation="layer", width=w, dropout=0.1), adamw()) for w in (8, 20)],
    "augmented": [recipe(mlp(), adamw(), augmentation=Augmentation(shift=0.2, noise=n)) for n in (0.0, 0.3)],
    "batches": [recipe(mlp(), adamw(), batch_size=size, lr_scaling="sqrt") for size in (16, 64, "all")],
    "linear": [recipe(partial(Linear, dropout=p), sgd()) for p in (0.0, 0.2)],
    "cnn": [recipe(partial(CNN, blocks=2, channels=4, kernel=3, conv_dropout=p), adamw()) for p in (0.0, 0.2)],
    "noisy cnn": [
        recipe(partial(CNN, blocks=2, channels=3, kernel=3, dense=5, normalisation="layer"), sgd(), regularisation=r)
        for r in (Regularisation(), Regularisation(gradient_noise=0.01, weight_noise=0.02))
    ],
    "gru": [recipe(partial(GRU, depth=2, width=5, bidirectional=b, dropout=0.2), adamw()) for b in (False, True)],
}


def together(recipes: list[Recipe], rows: Rows, **given: Any) -> dict[int, TrialResult | Exception]:
    members = [Member(n, r, seed=n, **given) for n, r in enumerate(recipes)]
    return dict(train_many(members, rows.train, rows.val, rows.problem))


def result(found: TrialResult | Exception) -> TrialResult:
    assert isinstance(found, TrialResult), found
    return found


@pytest.mark.parametrize("name", COMPANIES)
def test_each_agrees_with_itself_alone(name: str, rows: Rows) -> None:
    recipes = COMPANIES[name]
    found = together(recipes, rows)
    for number, single in enumerate(recipes):
        alone, member = train(single, rows.train, rows.val, rows.problem, number), result(found[number])
        for ours, theirs in zip(member.curves, alone.curves, strict=True):
            assert ours == pytest.approx(theirs, rel=2e-4)
        assert member.weights.keys() == alone.weights.keys()
        for key, weight in alone.weights.items():
            torch.testing.assert_close(member.weights[key], weight, rtol=2e-3, atol=2e-4)
        assert (member.best_epoch, member.steps, member.parameters) == (alone.best_epoch, alone.steps, alone.parameters)
        assert member.batch_size == min(alone.batch_size, 150)
        assert member.per_example.shape == alone.per_example.shape


def test_class_weights_and_smoothing_meet_as_in_torch(rows: Rows) -> None:
    weighted = Rows(weights=tuple(np.linspace(0.5, 2.0, 10).tolist()))
    recipes = [recipe(mlp(), sgd(), regularisation=Regularisation(label_smoothing=s)) for s in (0.0, 0.2)]
    found = together(recipes, weighted)
    for number, single in enumerate(recipes):
        alone = train(single, weighted.train, weighted.val, weighted.problem, number)
        assert result(found[number]).curves[-1] == pytest.approx(alone.curves[-1], rel=2e-4)


def test_company_changes_no_bit(rows: Rows) -> None:
    """Perceptrons without batch normalisation, one thread: also after others have left."""
    recipes = [
        recipe(mlp(dropout=0.2), adamw(), epochs=5),
        recipe(mlp(), sgd(), epochs=1),
        recipe(mlp(width=24, depth=1), adamw(), epochs=2),
        recipe(mlp(activation="tanh"), sgd(), epochs=5, schedule=Cosine()),
    ]
    for some in ([0], [0, 3], [3, 2, 1, 0]):
        members = [Member(n, recipes[n], seed=n) for n in some]
        found = dict(train_many(members, rows.train, rows.val, rows.problem))
        everybody = together(recipes, rows)
        for n in some:
            ours, theirs = result(found[n]), result(everybody[n])
            assert ours.curves == theirs.curves
            assert all(torch.equal(ours.weights[k], theirs.weights[k]) for k in ours.weights)


def folds(rows: Rows) -> list[Parts[Arrays]]:
    """Two as long, and one with a row less to learn from."""
    x, y = (np.concatenate([getattr(rows.train, name), getattr(rows.val, name)]) for name in "xy")
    shown = [(slice(0, 150), slice(150, 250)), (slice(100, 250), slice(0, 100)), (slice(101, 250), slice(0, 101))]
    return [Parts(*(Arrays(x[part], y[part]) for part in parts), rows.problem) for parts in shown]


def test_folds_share_a_stack_and_change_no_bit(rows: Rows) -> None:
    data = folds(rows)
    recipes = [recipe(mlp(dropout=0.2), adamw(), epochs=n) for n in (1, 4, 3)]
    members = [(Member(3 * i + f, r, seed=i), of_fold) for i, r in enumerate(recipes) for f, of_fold in enumerate(data)]
    found = dict(train_each(members))
    for member, of_fold in members:
        ours = result(found[member.number])
        alone = result(dict(train_many([member], of_fold.train, of_fold.val, of_fold.problem))[member.number])
        assert ours.curves == alone.curves
        assert all(torch.equal(ours.weights[k], alone.weights[k]) for k in alone.weights)
        np.testing.assert_array_equal(ours.per_example, alone.per_example)
    # Nine in the first epoch, six in the next two, whatever their length.
    assert result(found[6]).stack_epochs == pytest.approx(1 / 9 + 2 / 6)


@pytest.mark.parametrize("name", ["batch norm", "augmented", "cnn", "gru"])
def test_any_network_shares_folds(name: str, rows: Rows) -> None:
    data = folds(rows)[:2]
    members = [(Member(n, r, seed=n), data[n % 2]) for n, r in enumerate(COMPANIES[name])]
    found = dict(train_each(members))
    for member, of_fold in members:
        alone = dict(train_many([member], of_fold.train, of_fold.val, of_fold.problem))[member.number]
        assert result(found[member.number]).curves[-1] == pytest.approx(result(alone).curves[-1], rel=2e-4)


def test_each_fold_has_its_own_units(rows: Rows) -> None:
    """Targets are standardised by the rows of each."""
    data = [
        Parts(
            Arrays(of_fold.train.x, of_fold.train.y.astype(np.float32)),
            Arrays(of_fold.val.x, of_fold.val.y.astype(np.float32)),
            Problem("regression", rows.shape, 1, (), 0.0, scale, None),
        )
        for of_fold, scale in zip(folds(rows)[:2], (1.0, 7.0), strict=True)
    ]
    single = recipe(mlp(), adamw(), metric="val/mae")
    found = dict(train_each([(Member(n, single, seed=n), data[n]) for n in range(2)]))
    for n in range(2):
        alone = train(single, data[n].train, data[n].val, data[n].problem, n)
        assert result(found[n]).stack_epochs == pytest.approx(3 / 2)
        assert result(found[n]).value == pytest.approx(alone.value, rel=2e-4)


@pytest.mark.parametrize("width", [17, 24, 50, 99])
def test_the_place_in_a_stack_changes_no_bit(width: int, rows: Rows) -> None:
    """Products round by where their numbers begin in memory: every row begins alike, and so does all that is in it."""
    same = recipe(mlp(width=width), sgd(), epochs=3, batch_size=16)
    members = [Member(n, same, seed=n) for n in range(5)]
    everybody = dict(train_many(members, rows.train, rows.val, rows.problem))
    for n in (3, 4):
        alone = result(dict(train_many([members[n]], rows.train, rows.val, rows.problem))[n])
        weights = result(everybody[n]).weights
        assert all(torch.equal(weights[k], alone.weights[k]) for k in alone.weights)


@pytest.mark.parametrize("activation", ["elu", "gelu", "sigmoid", "silu", "tanh"])
def test_an_odd_last_batch_changes_no_bit(activation: str, rows: Rows) -> None:
    """Of 22 rows: the last of a tensor's numbers are computed by other formulas than those in its middle."""
    single = recipe(mlp(width=20, activation=activation), sgd())
    alone = result(together([single], rows)[0])
    company = result(together([single] * 4, rows)[0])
    assert all(torch.equal(company.weights[k], alone.weights[k]) for k in alone.weights)


def test_numbers_too_small_for_speed_are_zeros_while_training() -> None:
    small = torch.tensor(1e-38)
    with session(1, Device()):
        assert small * 0.1 == 0.0
    assert small * 0.1 != 0.0


def test_one_that_diverges_leaves_alone(rows: Rows) -> None:
    recipes = [recipe(mlp(), sgd()), recipe(mlp(), sgd(lr=1e30)), recipe(mlp(), adamw())]
    found = together(recipes, rows)
    assert isinstance(found[1], Diverged)
    with pytest.raises(Diverged) as alone:
        train(recipes[1], rows.train, rows.val, rows.problem, 1)
    assert str(found[1]) == str(alone.value)
    assert result(found[0]).epochs == result(found[2]).epochs == 3


def test_patience_ends_a_member_with_its_best_weights(rows: Rows) -> None:
    recipes = [recipe(mlp(), sgd(lr=0.3), epochs=12, patience_epochs=p) for p in (1, 3)]
    found = together(recipes, rows)
    for number, single in enumerate(recipes):
        alone, member = train(single, rows.train, rows.val, rows.problem, number), result(found[number])
        assert (member.epochs, member.best_epoch) == (alone.epochs, alone.best_epoch)
        assert member.epochs < 12


def test_what_a_watcher_raises_ends_its_member_only(rows: Rows) -> None:
    def prune(epoch: int, _: dict[str, float]) -> None:
        if epoch == 2:
            raise RuntimeError("pruned")

    recipes = [recipe(mlp(), sgd()), recipe(mlp(), sgd())]
    members = [Member(0, recipes[0], 0), Member(1, recipes[1], 1, on_epoch=prune)]
    found = dict(train_many(members, rows.train, rows.val, rows.problem))
    assert str(found[1]) == "pruned"
    assert result(found[0]).epochs == 3


@pytest.mark.parametrize(
    ("single", "said"),
    [
        (recipe(mlp(), partial(torch.optim.SGD, lr=0.1)), "conf/optimizer"),
        (recipe(mlp(), sgd(), batch_size="auto"), "batch_size=auto"),
        (recipe(mlp(), sgd()), None),
    ],
)
def test_what_stands_in_the_way(single: Recipe, said: str | None) -> None:
    found = obstacle(single, Device())
    assert found is None if said is None else said in str(found)
