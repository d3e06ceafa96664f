"""Population based training: what is copied, what moves, and who came from whom."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from sample_members import Rows, adamw, mlp, recipe, sgd
from trimtab.data.arrays import Parts
from trimtab.errors import ConfigError, Diverged, Pruned
from trimtab.population import pbt
from trimtab.population.engine import Population
from trimtab.population.members import Member
from trimtab.population.pbt import Evolved, Moving, Settings, evolve, exploited, explored, lineage, turned, values_of
from trimtab.population.state import MemberState
from trimtab.population.train import train_many
from trimtab.trial.batches import Rows as Tensors
from trimtab.trial.recipe import Device, Recipe
from trimtab.trial.regularisation import Regularisation
from trimtab.trial.schedules import Cosine

LR = Moving("optimizer.lr", 1e-4, 1.0, log=True)
MOMENTUM = Moving("optimizer.momentum", 0.0, 0.99, log=False)
DROPOUT = Moving("model.dropout", 0.0, 0.5, log=False)
L2 = Moving("regularisation.l2", 1e-6, 1e-2, log=True)
KNOBS = [LR, MOMENTUM, DROPOUT, L2]
SETTINGS = Settings(members=8, epochs=7, every=2)
SEED = 2  # one whose winner is a copy's copy
START = recipe(mlp(dropout=0.1), sgd(lr=0.05), schedule=Cosine(), patience_epochs=1)


def run(rows: Rows, knobs: list[Moving] = KNOBS, settings: Settings = SETTINGS, seed: int = 0) -> Evolved:
    return evolve(START, knobs, rows.train, rows.val, rows.problem, seed, settings, Device("cpu"))


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_what_is_cut_off_goes_on_from_the_last_round(
    rows: Rows, evolved: Evolved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rounds: int
) -> None:
    left = iter(range(rounds))

    def cut(*given: Any) -> Any:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return train_many(*given)

    given = (START, KNOBS, rows.train, rows.val, rows.problem, SEED, SETTINGS, Device("cpu"), tmp_path / "round.pt")
    monkeypatch.setattr(pbt, "train_many", cut)
    with pytest.raises(KeyboardInterrupt):
        evolve(*given)
    calls: list[Any] = []
    monkeypatch.setattr(pbt, "train_many", lambda *a: (calls.append(a), train_many(*a))[1])
    again = evolve(*given)
    assert len(calls) == 4 - rounds
    assert again.winner == evolved.winner
    pd.testing.assert_frame_equal(again.table, evolved.table, check_exact=True)
    assert all(torch.equal(again.result.weights[n], w) for n, w in evolved.result.weights.items())
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def evolved(rows: Rows) -> Evolved:
    return run(rows, seed=SEED)


def states_of(rows: Rows, *members: Member) -> dict[int, MemberState]:
    found: dict[int, MemberState] = {}

    def pause(epoch: int, _: dict[str, float]) -> None:
        raise Pruned(f"paused after {epoch}")

    pausing = [replace(m, on_epoch=pause, on_pruned=lambda s, n=m.number: found.update({n: s})) for m in members]
    list(train_many(pausing, rows.train, rows.val, rows.problem))
    return found


def stack(rows: Rows, *members: Member) -> Population:
    """As the engine builds it from the members' states."""
    models = [m.recipe.model(rows.problem.shape, rows.problem.outputs) for m in members]
    for member, model in zip(members, models, strict=True):
        assert member.start is not None
        model.load_state_dict(member.start.weights)
    train, val = (Tensors(torch.tensor(a.x), torch.tensor(a.y)) for a in (rows.train, rows.val))
    return Population(members, models, [Parts(train, val, rows.problem)] * len(members), lambda *_: None)


@pytest.mark.filterwarnings("ignore:grad and param do not obey")
@pytest.mark.parametrize("settings", [{}, {"normalisation": "batch", "dropout": 0.2}])
def test_exploiting_copies_rows(settings: dict[str, Any], rows: Rows) -> None:
    """Weights, buffers and the optimizer's memory are the parent's, batches and noise its own."""
    given = recipe(mlp(**settings), adamw())
    members = [Member(n, given, seed=n) for n in range(3)]
    states = states_of(rows, *members)
    copied = [states[0], states[1], exploited(states[2], states[0])]
    made = stack(rows, *(replace(m, start=s) for m, s in zip(members, copied, strict=True)))
    ours, other, theirs = made.state(2), made.state(1), made.state(0)
    assert all(torch.equal(ours.weights[k], theirs.weights[k]) for k in theirs.weights)
    assert not torch.equal(other.weights["layers.output.weight"], theirs.weights["layers.output.weight"])
    for one, same in zip(ours.memory, theirs.memory, strict=True):
        assert all(torch.equal(one[k], same[k]) for k in same)
    assert ours.products == theirs.products
    assert all(torch.equal(ours.streams[k], states[2].streams[k]) for k in ours.streams)
    assert not torch.equal(ours.streams["batches"], theirs.streams["batches"])


def test_the_winners_lineage_is_its_curve(evolved: Evolved) -> None:
    path = lineage(evolved.table, evolved.winner)
    assert path["epoch"].tolist() == list(range(1, SETTINGS.epochs + 1))
    assert path["member"].iloc[-1] == evolved.winner
    assert path["member"].nunique() == 3
    assert path["parent"].tolist()[1:] == path["member"].tolist()[:-1]
    assert path["val/loss"].tolist() == [row["val/loss"] for row in evolved.result.curves]
    assert path["val/loss"].min() == evolved.result.value
    assert evolved.result.best_epoch == path["val/loss"].argmin() + 1


def test_the_worst_become_copies_of_the_best_and_of_nobody_else(evolved: Evolved) -> None:
    table = evolved.table
    copies = table[table["parent"] != table["member"]]
    assert set(copies["epoch"]) == {3, 5, 7}
    for epoch, made in copies.groupby("epoch"):
        before = table[table["epoch"] == epoch - 1].sort_values("val/loss")["member"].tolist()
        assert set(made["member"]) == set(before[-SETTINGS.replaced :])
        assert set(made["parent"]) <= set(before[: SETTINGS.replaced])


def test_knobs_move_with_copies_alone_and_within_their_ranges(evolved: Evolved) -> None:
    table = evolved.table
    at = table.set_index(["epoch", "member"])
    for row in table.to_dict("records"):
        now = [row[k.name] for k in KNOBS]
        begun = now == [0.05, 0.9, 0.1, 0.0]  # the recipe's own, wherever the ranges are
        assert begun or all(k.low <= value <= k.high for k, value in zip(KNOBS, now, strict=True))
        if row["epoch"] > 1:
            before = [at.loc[(row["epoch"] - 1, row["parent"]), k.name] for k in KNOBS]
            assert (now == before) == (row["parent"] == row["member"])
    assert at.loc[(1, 0), [k.name for k in KNOBS]].tolist() == [0.05, 0.9, 0.1, 0.0]


def test_the_rate_is_the_knobs(evolved: Evolved) -> None:
    """Times the schedule's factor, whose horizon is all epochs."""
    table = evolved.table
    factors = np.array([Cosine()((epoch - 1) / SETTINGS.epochs) for epoch in table["epoch"]])
    np.testing.assert_allclose(table["lr"], table["optimizer.lr"] * factors, rtol=1e-5)


def test_equal_seeds_give_equal_tables_and_others_do_not(evolved: Evolved, rows: Rows) -> None:
    again, other = run(rows, seed=SEED), run(rows, seed=SEED + 1)
    pd.testing.assert_frame_equal(again.table, evolved.table, check_exact=True)
    assert all(torch.equal(again.result.weights[k], w) for k, w in evolved.result.weights.items())
    assert not other.table["val/loss"].equals(evolved.table["val/loss"])


def test_members_that_diverge_are_replaced(rows: Rows) -> None:
    knobs = [replace(LR, high=1e30)]
    found = run(rows, knobs, Settings(members=8, epochs=4, every=2))
    per_epoch = found.table.groupby("epoch")["member"].count()
    assert per_epoch[1] < 8
    assert per_epoch[3] > per_epoch[2]
    with pytest.raises(Diverged):
        evolve(
            turned(START, {LR.name: 1e30}), [replace(LR, low=1e29, high=1e30)], rows.train, rows.val, rows.problem, 0,
            SETTINGS, Device("cpu"),
        )  # fmt: skip


def test_exploring_multiplies_or_draws_anew() -> None:
    random = np.random.default_rng(0)
    values = {LR.name: 0.01, DROPOUT.name: 0.45}
    moved = [explored(values, [LR, DROPOUT], Settings(), random) for _ in range(400)]
    factors = np.round([m[LR.name] / 0.01 for m in moved], 9)
    up, down = (factors == 1.2).mean(), (factors == round(1 / 1.2, 9)).mean()
    assert 0.3 < up < 0.45
    assert 0.3 < down < 0.45
    assert 0.15 < 1 - up - down < 0.35
    assert max(m[DROPOUT.name] for m in moved) == 0.5


def test_a_recipe_is_turned_where_the_knob_is() -> None:
    given: Recipe = replace(START, regularisation=Regularisation(l1=0.5))
    values = {"optimizer.lr": 0.3, "model.dropout": 0.25, "regularisation.l2": 0.01}
    made = turned(given, values)
    assert values_of(made, [LR, DROPOUT, L2]) == values
    assert made.regularisation.l1 == 0.5
    assert Member(0, made, 0).optimizer[1]["momentum"] == 0.9


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"members": 1}, "--members must be at least 2 but is 1"),
        ({"every": 0}, "--every must be at least 1"),
        ({"share": 0.6}, "--share must be above 0 and at most 0.5"),
        ({"perturb": 1.0}, "--perturb must be above 1 but is 1"),
        ({"resample": 2.0}, "--resample must be from 0 to 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Settings(**settings)
