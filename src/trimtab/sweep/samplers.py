"""Who proposes the next trial. Samplers that learn are made afresh for each trial, from its seed."""

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, ClassVar, Protocol

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import TrialState, create_trial

from trimtab.errors import SweepError
from trimtab.sweep.seeds import derive
from trimtab.sweep.space import Space, Value

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
    return sampler.name if isinstance(sampler, Foreign) else type(sampler).__name__.lower()


@dataclass(frozen=True)
class Tpe(Endless):
    """Tree-structured Parzen estimator (Bergstra et al. 2011), multivariate.

    Trials whose outcome is not to be seen yet count as bad (constant liar), which spreads the
    workers. Conditional knobs are modelled one by one: Optuna's `group=True` is experimental.

    Attributes:
        n_startup_trials: finished trials before it stops drawing at random.
        n_ei_candidates: draws among which the most promising is taken; more exploit more.
        multivariate: models knobs together, not one by one.
        seed: in place of the study's, for proposals alone.
    """

    n_startup_trials: int = 10
    n_ei_candidates: int = 24
    multivariate: bool = True
    seed: int | None = None
    can: ClassVar[Can] = Can(custom=True, instead="random")

    def propose(self, space: Space, view: optuna.Study, study_seed: int, index: int) -> Proposal:
        """See `Sampler`."""
        sampler = TPESampler(
            n_startup_trials=self.n_startup_trials,
            n_ei_candidates=self.n_ei_candidates,
            multivariate=self.multivariate,
            group=False,
            constant_liar=True,
            seed=derive(study_seed, index, "ask"),
        )
        return _ask(sampler, space, view)


@dataclass(frozen=True)
class Random(Endless):
    """Independent draws, uniform on each knob's scale.

    Attributes:
        seed: in place of the study's, for proposals alone.
    """

    seed: int | None = None
    can: ClassVar[Can] = Can(learns=False, custom=True)

    def propose(self, space: Space, view: optuna.Study, study_seed: int, index: int) -> Proposal:
        """See `Sampler`."""
        return _ask(RandomSampler(seed=derive(study_seed, index, "ask")), space, view)


@dataclass(frozen=True)
class Gp(Endless):
    """Gaussian process with expected improvement; hypervolume improvement for several objectives.

    Attributes:
        n_startup_trials: finished trials before it stops drawing at random.
        deterministic_objective: whether equal settings give equal values; no noise is fitted then.
        seed: in place of the study's, for proposals alone.
    """

    n_startup_trials: int = 10
    deterministic_objective: bool = False
    seed: int | None = None
    can: ClassVar[Can] = Can(conditions=False, needs=("torch", "scipy"))

    def propose(self, space: Space, view: optuna.Study, study_seed: int, index: int) -> Proposal:
        """See `Sampler`."""
        with _experimental():
            sampler = optuna.samplers.GPSampler(
                n_startup_trials=self.n_startup_trials,
                deterministic_objective=self.deterministic_objective,
                seed=derive(study_seed, index, "ask"),
                warn_independent_sampling=False,
            )
        with _one_thread():
            return _ask(sampler, space, view)


@dataclass(frozen=True)
class Foreign(Endless):
    """A sampler of Optuna's, as `_target_` in `hydra.sweeper.sampler` names it.

    Attributes:
        name: of its class.
        make: its class, or a function that returns one.
        settings: its arguments, without the seed.
        seed: in place of the study's, for proposals alone.
    """

    name: str
    make: Callable[..., BaseSampler]
    settings: Mapping[str, Any]
    seed: int | None = None
    can: ClassVar[Can] = Can(custom=True)

    def __post_init__(self) -> None:
        if "seed" not in inspect.signature(self.make).parameters:
            raise SweepError(
                f"hydra.sweeper.sampler names {self.name}, which takes no seed, so that its proposals could not be "
                "repeated; take one of the options of hydra/sweeper/sampler"
            )

    def propose(self, space: Space, view: optuna.Study, study_seed: int, index: int) -> Proposal:
        """See `Sampler`."""
        with _experimental():
            sampler = self.make(**self.settings, seed=derive(study_seed, index, "ask"))
        return _ask(sampler, space, view)


@contextmanager
def _experimental() -> Iterator[None]:
    """Optuna warns of what it may still change; the version is pinned to a major one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


@contextmanager
def _one_thread() -> Iterator[None]:
    """Torch on one thread: the matrices are small, sums depend on the number of threads, and workers need the rest."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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


def _ask(sampler: BaseSampler, space: Space, view: optuna.Study) -> Proposal:
    view.sampler = sampler
    storage, study = view._storage, view._study_id
    before = storage.get_study_system_attrs(study).keys()
    trial = view.ask()
    space.choose(lambda knob: knob.suggest(trial))
    if space.extend is not None:
        space.extend(trial)
    asked = storage.get_trial(trial._trial_id)
    # What a sampler keeps in the study (NSGA-II: the parents of a generation) would not be the same if it were
    # worked out again after more trials have ended.
    kept = {f"{OF_STUDY}{k}": v for k, v in storage.get_study_system_attrs(study).items() if k not in before}
    return Proposal(dict(asked.params), dict(asked.distributions), {**asked.system_attrs, **kept})
