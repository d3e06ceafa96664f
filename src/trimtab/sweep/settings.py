"""The keys of `hydra.sweeper`, checked. Light: importing it imports neither Optuna nor Hydra."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

from trimtab.errors import SweepError
from trimtab.sweep.together import Together

if TYPE_CHECKING:
    from optuna.study import StudyDirection

    from trimtab.sweep.executors.local import Executor
    from trimtab.sweep.pruners.pruner import Pruner
    from trimtab.sweep.samplers.sampler import Sampler

Direction = Literal["minimize", "maximize"]
What = Literal["seed", "fold"]
_ALONE = Together()


@dataclass(frozen=True)
class Settings:
    """How a study is swept.

    Attributes:
        sampler: who proposes the next trial.
        executor: given the number of workers, and `timeout_s` if there is one, makes what trials run on.
        direction: whether small or large objectives are good; a list of it for several objectives.
        n_trials: total of the study, trial 0 included; raising it continues the study.
        n_jobs: trials that run at once; the table does not depend on it.
        lag: trial n sees the outcomes of trials up to n - lag; more workers than that would idle.
        seed: the study's seed; another seed is another study.
        seed_key: dotted key of the configuration that each trial's own seed is put into.
        seeds: how many seeds, the same for all, each configuration is run on; its value is their mean.
        fold_key: dotted key of the configuration that takes the number of a fold, counted from 0.
        folds: how many folds each configuration is run on, all with the trial's own seed; its value is their mean.
        baseline: whether trial 0 runs without swept overrides.
        params: knobs, in Hydra's override grammar or as `{values, role, when}`.
        try_first: points to run after the baseline and before the sampler is asked: mappings from knobs to values.
        warm_start: directory of an earlier study to learn from.
        custom_search_space: dotted name of a function `(cfg, trial) → None` that suggests further knobs.
        max_failure_rate: share of the trials that may fail before the sweep gives up.
        ignore: dotted keys that may change without making it another study.
        study_name: the study's name; its fingerprint when null.
        callbacks: objects with `started(study)`, `finished(study, trial)`, `ended(study)`.
        pruner: which trials end early, judged by what they `report`.
        prune_baseline: whether trial 0 may be pruned as well.
        max_step: the last step that a trial reports, for pruners that ask for it; None if unknown.
        pause: whether the task keeps what it needs to go on from a pause, for pruners that can pause trials.
        schedule: `reproducible` (trial n sees what `lag` allows, whoever was faster) or `async` (whoever is free asks
            and sees all that has ended).
        minutes: the study gets no further trials after so many minutes of sweeping, over all calls.
        target: the study gets no further trials once one is as good as this.
        timeout_s: seconds that a trial may run.
        retries: how often a trial is run again after it crashed or timed out; divergence, want of memory and bad input
            are never tried again.
        give_up_after: if so many first trials fail by the same error, the sweep ends; 0 is never.
        storage: `postgresql://…` for a study shared by machines; null is a journal file in the sweep's directory.
        population: how trials are run together, by a task that can (`task.population`).
        keep_trials: how many of the best trials keep their directories; null is all.
        max_starts: starts without an end after which a trial counts as failed.
        progress: `live` (a table), `quiet` (a line now and then), `none`, or `auto`.
        dry_run: show what would run, and run nothing.
    """

    sampler: "Sampler"
    executor: "Callable[..., Executor]"
    direction: Direction | Sequence[Direction] = "minimize"
    n_trials: int = 20
    n_jobs: int = 1
    lag: int = 8
    seed: int = 0
    seed_key: str | None = None
    seeds: int = 1
    fold_key: str | None = None
    folds: int = 1
    baseline: bool = True
    params: Any = field(default_factory=dict)
    try_first: Any = ()
    warm_start: str | None = None
    custom_search_space: str | None = None
    max_failure_rate: float = 1.0
    ignore: Sequence[str] = ()
    study_name: str | None = None
    callbacks: Sequence[Any] = ()
    pruner: "Pruner | None" = None
    prune_baseline: bool = False
    max_step: int | None = None
    pause: bool = False
    schedule: Literal["reproducible", "async"] = "reproducible"
    minutes: float | None = None
    target: float | None = None
    timeout_s: float | None = None
    retries: int = 1
    give_up_after: int = 5
    storage: str | None = None
    population: Together = _ALONE
    keep_trials: int | None = None
    max_starts: int = 10
    progress: Literal["auto", "live", "quiet", "none"] = "auto"
    dry_run: bool = False

    def __post_init__(self) -> None:
        for name in ("n_trials", "n_jobs", "lag", "seeds", "folds", "max_starts"):
            if getattr(self, name) <= 0:
                raise SweepError(
                    f"hydra.sweeper.{name} must be positive but is {getattr(self, name)}; set it to 1 or more"
                )
        if not 0 <= self.max_failure_rate <= 1:
            raise SweepError(f"hydra.sweeper.max_failure_rate is {self.max_failure_rate}; give a share from 0 to 1")
        for direction in self.directions or ("",):
            if direction not in ("minimize", "maximize"):
                raise SweepError(
                    f"hydra.sweeper.direction is {self.direction!r}; it can be minimize, maximize or a list of these, "
                    "one per objective"
                )
        if self.pruner is not None:
            self.pruner.check()
            if len(self.directions) > 1 and not self.pruner.idle:
                raise SweepError(
                    "a pruner compares one objective, but hydra.sweeper.direction names "
                    f"{len(self.directions)}; take hydra/sweeper/pruner=none"
                )
        if self.repeated is not None:
            self._check_repeats(self.repeated)
        if self.population.size > 1 and self.timeout_s is not None:
            raise SweepError(
                "hydra.sweeper.timeout_s is kept for trials that run alone, but hydra.sweeper.population.size is "
                f"{self.population.size}; set it to 1"
            )
        self._one_of("progress", ("auto", "live", "quiet", "none"))
        self._one_of("schedule", ("reproducible", "async"))
        for name in ("minutes", "timeout_s", "keep_trials"):
            if (given := getattr(self, name)) is not None and not given > 0:
                raise SweepError(f"hydra.sweeper.{name} must be positive but is {given}; null is no limit")
        for name in ("retries", "give_up_after"):
            if getattr(self, name) < 0:
                raise SweepError(f"hydra.sweeper.{name} cannot be negative but is {getattr(self, name)}; 0 is never")
        if self.target is not None and len(self.directions) > 1:
            raise SweepError(
                f"hydra.sweeper.target is of one objective, but hydra.sweeper.direction names {len(self.directions)}; "
                "leave target null"
            )

    def _check_repeats(self, what: What) -> None:
        given = f"hydra.sweeper.{what}s={getattr(self, f'{what}s')}"
        if self.seeds > 1 and self.folds > 1:
            raise SweepError(
                f"a configuration is run on several seeds or on several folds, but hydra.sweeper.seeds is {self.seeds} "
                f"and hydra.sweeper.folds {self.folds}; set one of them to 1"
            )
        if getattr(self, f"{what}_key") is None:
            raise SweepError(
                f"{given} needs the key of the configuration that takes a {what}; set hydra.sweeper.{what}_key to it"
            )
        if len(self.directions) > 1:
            raise SweepError(
                f"{given} takes the mean of one objective, but hydra.sweeper.direction names "
                f"{len(self.directions)}; take {what}s=1"
            )
        if getattr(self.pruner, "pause", False):
            raise SweepError(
                f"a trial that pauses runs on one {what}; set hydra.sweeper.pruner.pause=false or "
                f"hydra.sweeper.{what}s=1"
            )

    @property
    def repeated(self) -> What | None:
        """What each configuration is run on several of."""
        if self.seeds > 1:
            return "seed"
        return "fold" if self.folds > 1 else None

    @property
    def sampler_seed(self) -> int:
        """What the sampler draws from: its own seed, or the study's."""
        own: int | None = getattr(self.sampler, "seed", None)
        return self.seed if own is None else own

    @property
    def before(self) -> int:
        """Trials that come before the sampler is asked: the baseline and the points to try first."""
        return int(self.baseline) + len(self.try_first)

    @property
    def directions(self) -> tuple[Direction, ...]:
        """One per objective."""
        return directions(self.direction)

    def _one_of(self, name: str, allowed: tuple[str, ...]) -> None:
        if getattr(self, name) not in allowed:
            raise SweepError(f"hydra.sweeper.{name} is {getattr(self, name)!r}; it can be {', '.join(allowed)}")


def directions(direction: Any) -> tuple[Direction, ...]:
    """`hydra.sweeper.direction`, one or several, as a tuple."""
    return (cast("Direction", direction),) if isinstance(direction, str) else tuple(direction)


def named(directions: Iterable["StudyDirection"]) -> tuple[Direction, ...]:
    """Optuna's directions in our words."""
    return tuple("maximize" if d.name == "MAXIMIZE" else "minimize" for d in directions)
