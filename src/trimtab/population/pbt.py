"""Population based training (Jaderberg et al. 2017, https://arxiv.org/abs/1711.09846): knobs that move while it trains.

Every few epochs all members pause. The worst go on from copies of the best (exploit: weights, buffers and the
optimizer's memory) with knobs changed a little (explore). What is found is not a setting of the knobs but a schedule:
read it along the lineage of the best member.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from trimtab.data.arrays import Arrays, Problem
from trimtab.errors import ConfigError, Diverged, Pruned
from trimtab.paths import atomic
from trimtab.population.members import Member
from trimtab.population.state import MemberState
from trimtab.population.train import train_many
from trimtab.sweep.seeds import derive
from trimtab.trial.metrics import METRICS
from trimtab.trial.recipe import Device, Recipe
from trimtab.trial.result import TrialResult

MOVABLE = (
    *(f"optimizer.{name}" for name in ("lr", "momentum", "alpha", "beta1", "beta2", "eps", "weight_decay")),
    *(f"model.{name}" for name in ("dropout", "input_dropout", "conv_dropout")),
    *(f"regularisation.{name}" for name in ("l2", "l1", "l1_proximal", "label_smoothing", "clip_norm", "clip_value")),
    *(f"regularisation.{name}" for name in ("gradient_noise", "weight_noise")),
)
"""Knobs that a network in training can have changed: they leave its shapes and its optimizer's memory alone."""

Values = dict[str, float]


@dataclass(frozen=True)
class Moving:
    """A knob that moves, and where: on a log scale, or evenly."""

    name: str
    low: float
    high: float
    log: bool

    def drawn(self, random: np.random.Generator) -> float:
        """A value from all of its range."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        value = random.uniform(low, high)
        return self.within(math.exp(value) if self.log else value)

    def within(self, value: float) -> float:
        """The value of the range that is nearest."""
        return float(min(max(value, self.low), self.high))


@dataclass(frozen=True)
class Settings:
    """How a population evolves.

    Attributes:
        members: trained side by side.
        epochs: of each.
        every: epochs between two copies.
        share: of the members that are replaced by copies of as many best ones.
        perturb: a copy's knobs are multiplied by this, or divided, …
        resample: … or with this probability drawn anew.

    Raises:
        ConfigError: one is out of its range.
    """

    members: int = 16
    epochs: int = 30
    every: int = 2
    share: float = 0.25
    perturb: float = 1.2
    resample: float = 0.25

    def __post_init__(self) -> None:
        for name, least in (("members", 2), ("epochs", 1), ("every", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"--{name} must be at least {least} but is {getattr(self, name)}")
        if not 0 < self.share <= 0.5:
            raise ConfigError(f"--share must be above 0 and at most 0.5, best and worst apart, but is {self.share:g}")
        if not self.perturb > 1:
            raise ConfigError(f"--perturb must be above 1 but is {self.perturb:g}")
        if not 0 <= self.resample <= 1:
            raise ConfigError(f"--resample must be from 0 to 1 but is {self.resample:g}")

    @property
    def replaced(self) -> int:
        """Members that are replaced each time; at least one."""
        return max(1, int(self.share * self.members))


@dataclass(frozen=True)
class Evolved:
    """What a population came to.

    Attributes:
        table: a row per epoch and member: epoch, member, parent (the member whose weights it went on from, mostly
            itself), the curves' columns, and each knob's value during the epoch. None of an epoch that diverged.
        winner: the member whose lineage has the best epoch.
        result: of that lineage.
    """

    table: pd.DataFrame
    winner: int
    result: TrialResult


@dataclass(frozen=True)
class Plan:
    """What a member does in the next round.

    Attributes:
        values: of its knobs.
        parent: whose weights it goes on from.
        state: what it goes on from; None at the very start.
    """

    values: Values
    parent: int
    state: MemberState | None = None


def evolve(
    recipe: Recipe,
    knobs: Sequence[Moving],
    train: Arrays,
    val: Arrays,
    problem: Problem,
    seed: int,
    settings: Settings,
    device: Device,
    kept: Path | None = None,
) -> Evolved:
    """Trains a population; equal arguments give equal results.

    Args:
        recipe: what all have in common; member 0 begins with its knobs, the others with drawn ones. Patience does not
            count, and a schedule runs over all epochs.
        knobs: that move.
        train: rows to learn from.
        val: rows that decide which members are the best, by the recipe's metric.
        problem: what the data mean.
        seed: gives the members' seeds and every draw.
        settings: how it evolves.
        device: where it runs.
        kept: a file with the population between two rounds, for a call that goes on after a kill; gone at the end.

    Raises:
        Diverged: all members did.
    """
    recipe = replace(recipe, epochs=settings.epochs, horizon_epochs=settings.epochs, patience_epochs=None)
    random = np.random.default_rng(derive(seed, 0, "pbt"))
    plans = [Plan({k.name: k.drawn(random) for k in knobs}, number) for number in range(settings.members)]
    plans[0] = Plan({**plans[0].values, **values_of(recipe, knobs)}, 0)
    rows: list[dict[str, float]] = []
    done = 0
    if kept is not None and kept.exists():
        done, rows, plans = _went_on(kept, random)
    for end in (*range(done + settings.every, settings.epochs, settings.every), settings.epochs):
        states: dict[int, MemberState] = {}
        members = [_member(n, plan, recipe, seed, end, rows, states) for n, plan in enumerate(plans)]
        ends = dict(train_many(members, train, val, problem, device))
        _check(ends)
        if end == settings.epochs:
            break
        values = {int(r["member"]): r[recipe.metric] for r in rows if r["epoch"] == end}
        ranked = _ranked({n: value for n, value in values.items() if n in states}, recipe.metric)
        plans = [Plan(plan.values, n, states.get(n, plan.state)) for n, plan in enumerate(plans)]
        for number, parent in _copies(ranked, settings, random):
            values_now = explored(plans[parent].values, knobs, settings, random)
            plans[number] = Plan(values_now, parent, exploited(plans[number].state, states[parent]))
        if kept is not None:
            _keep(kept, end, rows, plans, random)
    if kept is not None:
        kept.unlink(missing_ok=True)
    return _evolved(rows, ends, recipe.metric)


def _keep(
    path: Path, end: int, rows: Sequence[Mapping[str, float]], plans: Sequence[Plan], random: np.random.Generator
) -> None:
    """Writes all that the next rounds follow from."""
    kept = {"end": end, "rows": rows, "plans": [vars(plan) for plan in plans], "random": random.bit_generator.state}
    with atomic(path) as new:
        torch.save(kept, new)


def _went_on(path: Path, random: np.random.Generator) -> tuple[int, list[dict[str, float]], list[Plan]]:
    """The other way round: epochs done, rows and plans; the draws go on where they were."""
    kept = torch.load(path)
    random.bit_generator.state = kept["random"]
    return kept["end"], kept["rows"], [Plan(**plan) for plan in kept["plans"]]


def _member(
    number: int,
    plan: Plan,
    recipe: Recipe,
    seed: int,
    end: int,
    rows: list[dict[str, float]],
    states: dict[int, MemberState],
) -> Member:
    """A member until the epoch `end`; its curves go to `rows`, its state to `states`."""
    first = 1 + (plan.state.epoch if plan.state else 0)

    def on_epoch(epoch: int, row: dict[str, float]) -> None:
        parent = plan.parent if epoch == first else number
        rows.append({"epoch": epoch, "member": number, "parent": parent, **row, **plan.values})
        if epoch == end < recipe.epochs:
            raise Pruned("the round is over")

    def on_pruned(state: MemberState) -> None:
        states[number] = state

    return Member(
        number, turned(recipe, plan.values), derive(seed, number), on_epoch, start=plan.state, on_pruned=on_pruned
    )


def _check(ends: Mapping[int, TrialResult | Exception]) -> None:
    """A member may diverge, all may not; whatever else ends one is an error."""
    errors = [end for end in ends.values() if isinstance(end, Exception) and not isinstance(end, Pruned)]
    for error in errors:
        if not isinstance(error, Diverged) or len(errors) == len(ends):
            raise error


def _ranked(values: Mapping[int, float], metric: str) -> list[int]:
    """Members, the best first; of equals the first."""
    sign = 1.0 if METRICS[metric].direction == "minimize" else -1.0
    return sorted(values, key=lambda number: (sign * values[number], number))


def _copies(ranked: Sequence[int], settings: Settings, random: np.random.Generator) -> list[tuple[int, int]]:
    """(Member that is replaced, the one it becomes a copy of): the worst, and all that diverged."""
    best = ranked[: settings.replaced]
    diverged = sorted(set(range(settings.members)) - set(ranked))
    worst = [*ranked[len(best) :][::-1][: max(settings.replaced - len(diverged), 0)], *diverged]
    return [(number, best[int(random.integers(len(best)))]) for number in sorted(worst)]


def exploited(own: MemberState | None, parent: MemberState) -> MemberState:
    """The parent's network, optimizer and notes; its own batches and noise go on, so that copies part ways."""
    return parent if own is None else replace(parent, streams=own.streams)


def explored(
    values: Mapping[str, float], knobs: Sequence[Moving], settings: Settings, random: np.random.Generator
) -> Values:
    """Each knob perturbed, or drawn anew, within its range."""
    found = {}
    for knob in knobs:
        anew, up, fresh = random.random() < settings.resample, random.random() < 0.5, knob.drawn(random)
        factor = settings.perturb if up else 1.0 / settings.perturb
        found[knob.name] = fresh if anew else knob.within(values[knob.name] * factor)
    return found


def _evolved(rows: list[dict[str, float]], ends: Mapping[int, TrialResult | Exception], metric: str) -> Evolved:
    results = {n: end for n, end in ends.items() if isinstance(end, TrialResult)}
    winner = _ranked({n: result.value for n, result in results.items()}, metric)[0]
    table = pd.DataFrame(rows).sort_values(["epoch", "member"], ignore_index=True)
    return Evolved(table.astype({"epoch": int, "member": int, "parent": int}), winner, results[winner])


def lineage(table: pd.DataFrame, winner: int) -> pd.DataFrame:
    """The rows of `Evolved.table` that a member's weights went through, from the first epoch to the last."""
    places = {(int(e), int(m)): i for i, (e, m) in enumerate(zip(table["epoch"], table["member"], strict=True))}
    path, member = [], winner
    for epoch in range(int(table["epoch"].max()), 0, -1):
        path.append(places[epoch, member])
        member = int(table["parent"].iloc[path[-1]])
    return table.iloc[path[::-1]].reset_index(drop=True)


def values_of(recipe: Recipe, knobs: Sequence[Moving]) -> Values:
    """What a recipe has these knobs at, except those that it leaves at nothing."""
    found = {}
    for knob in knobs:
        group, _, key = knob.name.partition(".")
        owner = getattr(recipe, group)
        value = owner.keywords.get(key) if isinstance(owner, partial) else getattr(owner, key, None)
        if value is not None:
            found[knob.name] = float(value)
    return found


def turned(recipe: Recipe, values: Mapping[str, float]) -> Recipe:
    """The recipe with these knobs."""
    by_group: dict[str, dict[str, float]] = {}
    for name, value in values.items():
        group, _, key = name.partition(".")
        by_group.setdefault(group, {})[key] = value
    return replace(
        recipe,
        optimizer=partial(recipe.optimizer, **by_group.get("optimizer", {})),
        model=partial(recipe.model, **by_group.get("model", {})),
        regularisation=replace(recipe.regularisation, **by_group.get("regularisation", {})),  # type: ignore[arg-type]
    )
