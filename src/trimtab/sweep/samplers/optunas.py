"""Optuna's samplers. Those that learn are made afresh for each trial, from its seed."""

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from trimtab.errors import SweepError
from trimtab.sweep.samplers.sampler import OF_STUDY, Can, Endless, Proposal
from trimtab.sweep.seeds import derive
from trimtab.sweep.space.knobs import Space


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
