"""Who proposes the next trial: what a sampler is, and what it can do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, ClassVar, Protocol

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import TrialState, create_trial

from trimtab.errors import SweepError
from trimtab.sweep.space.knobs import Space, Value

OF_STUDY = "study:"
"""Marks what a proposal remembers of the study, not of its trial."""


@dataclass(frozen=True)
class Proposal:
    """A point of the space, with whatever the sampler wants to remember of it."""

    params: dict[str, Value]
    distributions: dict[str, BaseDistribution]
    memory: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, space: Space, params: dict[str, Value], memory: dict[str, Any]) -> "Proposal":
        """Adds the distributions of the knobs that exist."""
        return cls(params, {name: space[name].distribution for name in params}, memory)


@dataclass(frozen=True)
class Can:
    """What a sampler is able to do.

    Attributes:
        learns: whether outcomes change what it proposes.
        one: searches studies of one objective.
        several: searches studies of several objectives.
        choices: searches knobs that are no numbers.
        conditions: searches knobs that only exist under conditions.
        warm: learns from an earlier study (hydra.sweeper.warm_start).
        custom: can be asked by a function of the user (hydra.sweeper.custom_search_space).
        instead: what to take where it can't.
        needs: packages beyond the base dependencies.
    """

    learns: bool = True
    one: bool = True
    several: bool = True
    choices: bool = True
    conditions: bool = True
    warm: bool = True
    custom: bool = False
    instead: str = "tpe"
    needs: tuple[str, ...] = ()


class Sampler(Protocol):
    """Proposes points; must be a function of its arguments alone."""

    can: ClassVar[Can]

    def propose(self, space: Space, view: optuna.Study, study_seed: int, index: int) -> Proposal:
        """The point of trial `index`, counted without the baseline and the points to try first.

        A sampler that learns adds its trial to the view; others leave the view alone.
        """

    def points(self, space: Space) -> int | None:
        """How many different points it can propose; None if there is no end.

        Raises:
            SweepError: the sampler cannot search such a space.
        """


class Endless:
    """A sampler that never runs out of points."""

    def points(self, space: Space) -> int | None:
        """No end."""
        return None


def refuse_misfit(sampler: Sampler, space: Space, objectives: int, *, warm: bool = False) -> None:
    """Holds the study against what its sampler is able to do.

    Raises:
        SweepError: names the sampler, the knob and another sampler.
    """
    name, can = name_of(sampler), sampler.can
    missing = [p for p in can.needs if find_spec(p) is None]
    if missing:
        raise SweepError(
            f"hydra/sweeper/sampler={name} needs {' and '.join(missing)}; run pip install 'trimtab[search]', or take "
            f"hydra/sweeper/sampler={can.instead}"
        )
    for knob in space.knobs:
        if not can.choices and isinstance(knob.distribution, CategoricalDistribution):
            raise _misfit(name, can, f"searches numbers only, but {knob.key!r} is a choice ({knob.origin})")
        if not can.conditions and knob.when:
            raise _misfit(name, can, f"cannot search {knob.key!r}, which exists only under a condition ({knob.origin})")
    if not can.custom and space.extend is not None:
        raise _misfit(name, can, "cannot search what hydra.sweeper.custom_search_space adds")
    if warm and not (can.warm and can.learns):
        raise _misfit(name, can, "learns nothing from hydra.sweeper.warm_start")
    if not (can.one if objectives == 1 else can.several):
        what = "one objective" if objectives == 1 else f"{objectives} objectives"
        raise _misfit(name, can, f"is not made for {what} (hydra.sweeper.direction)")


def _misfit(name: str, can: Can, rule: str) -> SweepError:
    return SweepError(f"hydra/sweeper/sampler={name} {rule}; take hydra/sweeper/sampler={can.instead}")


def name_of(sampler: Sampler) -> str:
    """Its option in `hydra/sweeper/sampler`, or the class of a foreign one."""
    name: str = getattr(sampler, "name", type(sampler).__name__.lower())
    return name


def enter(
    view: optuna.Study, space: Space, params: dict[str, Value], memory: Mapping[str, Any] | None = None
) -> Proposal:
    """Adds a point to the view as running, for samplers that learn without Optuna's."""
    proposal = Proposal.of(space, params, dict(memory or {}))
    view.add_trial(
        create_trial(
            state=TrialState.RUNNING,
            params=params,
            distributions=proposal.distributions,
            system_attrs=proposal.memory,
        )
    )
    return proposal
