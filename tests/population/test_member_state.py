"""A member that is paused goes on exactly where it was, alone, in company, and from a file."""

from dataclasses import replace
from functools import partial
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch

from sample_members import Rows, adamw, mlp, recipe, sgd
from trimtab.errors import Pruned
from trimtab.models.cnn import CNN
from trimtab.population.members import Member
from trimtab.population.state import MemberState
from trimtab.population.train import train_many
from trimtab.trial import optimizers
from trimtab.trial.augmentation import Augmentation
from trimtab.trial.recipe import Recipe
from trimtab.trial.regularisation import Regularisation
from trimtab.trial.result import TrialResult
from trimtab.trial.schedules import OneCycle, Plateau

EPOCHS, PAUSE = 5, 2


def kind(name: str, **settings: Any) -> Any:
    return partial(getattr(optimizers, name), lr=3e-3, weight_decay=0.1, **settings)


def long(model: Any, optimizer: Any, **settings: Any) -> Recipe:
    return recipe(model, optimizer, epochs=EPOCHS, **settings)


RECIPES = {
    **{name: long(mlp(), kind(name)) for name in ("rmsprop", "adam", "adamw", "nadam", "sgd")},
    "nesterov": long(mlp(width=9), sgd(nesterov=True)),
    "dropout": long(mlp(dropout=0.3, input_dropout=0.1, depth=1), adamw()),
    "noise": long(mlp(), sgd(), regularisation=Regularisation(gradient_noise=0.01, weight_noise=0.02)),
    "augmented": long(mlp(), adamw(), augmentation=Augmentation(shift=0.2, noise=0.3)),
    "plateau": long(mlp(), sgd(lr=1e-6), schedule=Plateau(patience_epochs=0, factor=0.3)),
    "one cycle": long(mlp(depth=3), adamw(), schedule=OneCycle()),
    "patience": recipe(mlp(), sgd(lr=0.3), epochs=12, patience_epochs=2),
}
APPROXIMATE = {
    "batch norm": long(mlp(normalisation="batch", dropout=0.1), adamw()),
    "cnn": long(partial(CNN, blocks=2, channels=4, kernel=3, conv_dropout=0.2), adamw()),
}


def trained(rows: Rows, *members: Member) -> dict[int, TrialResult | Exception]:
    return dict(train_many(members, rows.train, rows.val, rows.problem))


def pausing(member: Member, states: dict[int, MemberState], after: int = PAUSE) -> Member:
    def on_epoch(epoch: int, _: dict[str, float]) -> None:
        if epoch == after:
            raise Pruned(f"paused after {epoch}")

    return replace(member, on_epoch=on_epoch, on_pruned=lambda state: states.update({member.number: state}))


def paused(rows: Rows, *members: Member, after: int = PAUSE) -> dict[int, MemberState]:
    states: dict[int, MemberState] = {}
    ends = trained(rows, *(pausing(m, states, after) for m in members))
    assert {type(end) for end in ends.values()} == {Pruned}
    return states


def assert_same(ours: TrialResult | Exception, theirs: TrialResult | Exception) -> None:
    assert isinstance(ours, TrialResult)
    assert isinstance(theirs, TrialResult)
    assert ours.curves == theirs.curves
    assert (ours.best, ours.best_epoch, ours.epochs, ours.steps) == (
        theirs.best,
        theirs.best_epoch,
        theirs.epochs,
        theirs.steps,
    )
    assert all(torch.equal(ours.weights[k], theirs.weights[k]) for k in theirs.weights)
    np.testing.assert_array_equal(ours.per_example, theirs.per_example)


def test_all_go_on_as_if_never_paused(rows: Rows) -> None:
    members = [Member(n, r, seed=n) for n, r in enumerate(RECIPES.values())]
    never = trained(rows, *members)
    states = paused(rows, *members)
    after = trained(rows, *(replace(m, start=states[m.number]) for m in members))
    for name, number in zip(RECIPES, never, strict=False):
        assert states[number].epoch == PAUSE, name
    for member in members:
        assert_same(after[member.number], never[member.number])
    assert never[list(RECIPES).index("patience")].epochs < 12  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["adamw", "nadam", "noise", "dropout"])
def test_company_and_file_change_no_bit(name: str, rows: Rows) -> None:
    """Paused alone, gone on from a file's bytes beside members at other epochs; all of one width, without padding."""
    member = Member(0, RECIPES[name], seed=7)
    never = trained(rows, member)[0]
    file = BytesIO()
    torch.save(paused(rows, member)[0], file)
    file.seek(0)
    read = torch.load(file, weights_only=True)
    others = [Member(1, RECIPES["sgd"], seed=1), Member(2, RECIPES["one cycle"], seed=2)]
    ahead = paused(rows, others[1], after=4)[2]
    found = trained(rows, replace(member, start=read), others[0], replace(others[1], start=ahead))
    assert_same(found[0], never)
    undisturbed = trained(rows, *others)
    assert_same(found[1], undisturbed[1])
    assert_same(found[2], undisturbed[2])


@pytest.mark.parametrize("name", APPROXIMATE)
def test_buffers_go_on_too(name: str, rows: Rows) -> None:
    members = [Member(n, APPROXIMATE[name], seed=n) for n in range(2)]
    never = trained(rows, *members)
    states = paused(rows, *members)
    after = trained(rows, replace(members[1], start=states[1]))[1]
    fresh = never[1]
    assert isinstance(after, TrialResult)
    assert isinstance(fresh, TrialResult)
    for ours, theirs in zip(after.curves, fresh.curves, strict=True):
        assert ours == pytest.approx(theirs, rel=2e-4)
    for key, weight in fresh.weights.items():
        torch.testing.assert_close(after.weights[key], weight, rtol=2e-3, atol=2e-4)
    counts = [key for key in fresh.weights if key.endswith("num_batches_tracked")]
    assert counts
    assert all(after.weights[key] == fresh.best_epoch * 5 for key in counts)  # 150 rows in batches of 32


def test_who_paused_at_the_end_is_over_at_once(rows: Rows) -> None:
    """By epochs or by patience; beside one that trains, and alone."""
    last, tired = Member(0, RECIPES["adamw"], seed=0), Member(1, RECIPES["patience"], seed=1)
    never = trained(rows, last, tired)
    exhausted = never[1].epochs  # type: ignore[union-attr]
    starts = {0: paused(rows, last, after=EPOCHS)[0], 1: paused(rows, tired, after=exhausted)[1]}
    for others in ((), (Member(2, RECIPES["sgd"], seed=2),)):
        found = trained(rows, replace(last, start=starts[0]), replace(tired, start=starts[1]), *others)
        assert_same(found[0], never[0])
        assert_same(found[1], never[1])


def test_a_state_is_a_copy(rows: Rows) -> None:
    """Taken in the middle of a stack that trains on, it stays as it was taken."""
    member = Member(0, RECIPES["adamw"], seed=0)
    alone = paused(rows, member)[0]
    beside = paused(rows, member, Member(1, RECIPES["noise"], seed=1))[0]
    assert all(torch.equal(alone.weights[k], beside.weights[k]) for k in alone.weights)
    for ours, theirs in zip(alone.memory, beside.memory, strict=True):
        assert all(torch.equal(ours[k], theirs[k]) for k in ours)
    assert alone.products == beside.products
    assert alone.weights["layers.linear_1.weight"].shape == (24, 20)


def test_another_optimizers_memory_is_refused(rows: Rows) -> None:
    state = paused(rows, Member(0, RECIPES["sgd"], seed=0))[0]
    with pytest.raises(ValueError, match="trains by adamw but starts from a state of sgd"):
        trained(rows, Member(0, RECIPES["adamw"], seed=0, start=state))


def test_losses_of_each_step_are_told_before_they_are_checked(rows: Rows) -> None:
    told: list[torch.Tensor] = []
    trained(rows, Member(0, long(mlp(), sgd(lr=1e30)), seed=0, on_losses=told.append))
    assert [len(t) for t in told] == [5]
    assert not told[0].isfinite().all()
