"""The sweep from start to end: plan, open the study, run trials, write the tables."""

import logging
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf
from optuna.trial import FrozenTrial

from trimtab.errors import SweepError, TrimtabError
from trimtab.paths import write_text
from trimtab.sweep.executors.machine import machine
from trimtab.sweep.interrupt import Interrupt
from trimtab.sweep.jobs.job import Job
from trimtab.sweep.limits import AlikeFailures, FailureRate
from trimtab.sweep.loop import Watcher, run_trials
from trimtab.sweep.outcome import one_line
from trimtab.sweep.preview import preview
from trimtab.sweep.progress import display
from trimtab.sweep.samplers.auto import Choice, choice, settle
from trimtab.sweep.samplers.designs import Grid
from trimtab.sweep.samplers.sampler import refuse_misfit
from trimtab.sweep.samplers.warm import warm_trials
from trimtab.sweep.settings import Settings
from trimtab.sweep.space.check import Plan, check_key, plan
from trimtab.sweep.space.compose import Composer, plain
from trimtab.sweep.space.fingerprint import Pieces, digest, pieces, refuse_other
from trimtab.sweep.space.grammar import parse
from trimtab.sweep.store.database import FILE as STORED
from trimtab.sweep.store.database import Claims, remember
from trimtab.sweep.store.earlier import say_change, say_machine
from trimtab.sweep.store.journal import FILE, Journal, lock
from trimtab.sweep.store.study import Study, open_study
from trimtab.sweep.store.table import write_best, write_front, write_table
from trimtab.sweep.store.tidy import KeepBest
from trimtab.sweep.supply import Supply

log = logging.getLogger(__name__)
INTERRUPTED = 130
"""Exit code of a sweep stopped by SIGINT, as of any program."""


@dataclass(frozen=True)
class Sweep:
    """One call of the sweeper, checked and ready to run."""

    settings: Settings
    plan: Plan
    pieces: Pieces
    directory: Path
    total: int
    workers: int
    master: DictConfig
    choice: Choice

    @property
    def name(self) -> str:
        """The study's: as given, or its fingerprint."""
        return self.settings.study_name or digest(self.pieces)

    @property
    def shared(self) -> bool:
        """Whether other sweeps may work on the study at the same time."""
        return self.settings.schedule == "async" and (self.settings.storage or "").startswith("postgresql")

    @property
    def resume(self) -> str:
        """What to type to go on."""
        raw = self.master.hydra.sweep._get_node("dir")._value()
        if "${now" not in str(raw):
            return "the same command goes on"
        return f"the same command with {shlex.quote(f'hydra.sweep.dir={self.directory}')} goes on"


def sweep(
    settings: Settings,
    arguments: Sequence[str],
    context: HydraContext,
    task: TaskFunction,
    master: DictConfig,
) -> Path:
    """Sweeps a study to its budget; what an earlier sweep in its directory has done stays.

    Returns:
        The study's directory.

    Raises:
        SweepError: the search space, the study or the settings are not usable; every trial failed.
        Outage: something outside the trials failed; the same command goes on.
        SystemExit: with 130, after SIGINT.
    """
    _refuse_alone(settings, task)
    ready = prepare(settings, arguments, context, master)
    if settings.dry_run:
        study = _existing(ready)
        name = str(study.attributes.get("sampler", ready.choice.name)) if study else ready.choice.name
        ready = _settled(ready, name)
        print(preview(ready.plan.space, name, study, ready.directory, ready.total, ready.workers, settings))
        return ready.directory
    claims = None if settings.storage is None else Claims(settings.storage, ready.name, shared=ready.shared)
    with nullcontext() if ready.shared else lock(ready.directory), claims.held() if claims else nullcontext():
        _run(ready, context, task, claims)
    return ready.directory


def prepare(settings: Settings, arguments: Sequence[str], context: HydraContext, master: DictConfig) -> Sweep:
    """Checks everything that can be checked before a trial runs; writes nothing."""
    _refuse_launcher(master)
    wishes = parse(plain(settings.params), arguments, context.config_loader)
    composer = Composer(context.config_loader, master)
    planned = plan(
        wishes, composer, plain(settings.try_first), settings.custom_search_space, baseline=settings.baseline
    )
    refuse_misfit(settings.sampler, planned.space, len(settings.directions), warm=settings.warm_start is not None)
    for name, key in (("seed_key", settings.seed_key), ("fold_key", settings.fold_key)):
        if key:
            check_key(key, planned.baseline, f"hydra.sweeper.{name}")
            if key in planned.space.names:
                raise SweepError(f"{key!r} is both a knob and hydra.sweeper.{name}")
    settings.sampler.points(planned.space)  # a grid may refuse its space
    workers = _workers(settings)
    directory = Path(str(master.hydra.sweep.dir))
    made = pieces(planned, plain(master.hydra.sweeper))
    chosen = choice(settings, planned.space)
    return Sweep(settings, planned, made, directory, settings.n_trials, workers, master, chosen)


def _run(ready: Sweep, context: HydraContext, task: TaskFunction, claims: Claims | None) -> None:
    journal = _open(ready, claims)
    study = Study.of(journal, ready.directory)
    refuse_other(str(ready.directory), study.attributes["pieces"], ready.pieces)
    say_machine(study.attributes.get("machine", {}))
    ready = _settled(ready, str(study.attributes.get("sampler", ready.choice.name)))
    source = None if ready.settings.warm_start is None else Path(ready.settings.warm_start)
    warm = warm_trials(source, ready.directory, ready.plan, ready.settings.directions)
    supply = Supply(journal, ready.plan, ready.settings, ready.total, warm)
    executor = ready.settings.executor(ready.workers, **_timeout(ready.settings))
    job = Job(task, context, together=ready.settings.population.size > 1)
    job = job if executor.workers == 1 else job.portable()

    def configure(trial: FrozenTrial) -> DictConfig:
        return ready.plan.composer.job(supply.overrides(trial), trial.number, ready.directory)

    shown = display(ready.settings.progress, ready.total, executor.workers)
    failures = FailureRate(ready.settings.max_failure_rate, ready.total)
    alike = AlikeFailures(ready.settings.give_up_after)
    tidy = [KeepBest(ready.settings.keep_trials)] if ready.settings.keep_trials else []
    watchers: list[Watcher] = [shown, failures, alike, *ready.settings.callbacks, *tidy]
    interrupt = Interrupt()
    with _told_of_the_end(watchers, study):
        try:
            with shown, interrupt.caught(), executor:
                for watcher in watchers:
                    watcher.started(study)
                run_trials(journal, supply, configure, job, executor, study, watchers, interrupt)
        except BaseException as e:
            with suppress(TrimtabError):
                supply.release()
                _write(study)
            if not isinstance(e, KeyboardInterrupt):
                raise
            print(f"stopped with {len(study.finished)} of {ready.total} trials done; {ready.resume}")
            sys.exit(INTERRUPTED)
        _write(study)
    if supply.budget.spent:
        print(f"{supply.budget.spent}: no further trials")
    _refuse_failure(study)


@contextmanager
def _told_of_the_end(watchers: Sequence[Watcher], study: Study) -> Iterator[None]:
    """Tells every watcher when the block ends; an error of theirs comes after all of them and gives way to the block's.

    Only the first error is raised; the others, or all if the block raised itself, are logged.
    """
    try:
        yield
    except BaseException:
        _log(_end(watchers, study))
        raise
    errors = _end(watchers, study)
    _log(errors[1:])
    if errors:
        raise errors[0]


def _log(errors: Sequence[Exception]) -> None:
    for error in errors:
        log.error("at the end of the sweep: %s", one_line(error))


def _end(watchers: Sequence[Watcher], study: Study) -> list[Exception]:
    """What the watchers raise when they are told."""
    errors: list[Exception] = []
    for watcher in watchers:
        try:
            watcher.ended(study)
        except Exception as e:
            errors.append(e)
    return errors


def _open(ready: Sweep, claims: Claims | None) -> Journal:
    knobs = ready.plan.space.describe()
    url = ready.settings.storage
    if url is not None:
        remember(ready.directory, url, ready.name)
    elif not (ready.directory / FILE).exists():
        say_change(ready.directory, ready.pieces)
    write_text(ready.directory / "multirun.yaml", OmegaConf.to_yaml(ready.master))
    return Journal(
        ready.directory,
        ready.name,
        ready.settings.directions,
        {
            "fingerprint": digest(ready.pieces),
            "pieces": ready.pieces,
            "knobs": knobs,
            "seed": ready.settings.seed,
            "sampler": ready.choice.name,
            "machine": machine(),
        },
        url,
        claims,
    )


def _settled(ready: Sweep, name: str) -> Sweep:
    """With the sampler that was chosen when the study began, if it isn't the one that is set; says why."""
    settings, sampler = ready.settings, settle(ready.settings.sampler, name)
    if sampler is not settings.sampler:
        why = ready.choice.why if name == ready.choice.name else "it was chosen when this study began"
        print(f"sampler {name}: {why}")
        refuse_misfit(sampler, ready.plan.space, len(settings.directions))
    if isinstance(sampler, Grid):
        given = [ready.plan.default()] if settings.baseline else []
        inside = [point.params for point in (*given, *ready.plan.first) if point.inside]
        sampler = replace(sampler, without=inside)
    settings = replace(settings, sampler=sampler)
    return replace(ready, settings=settings, total=_total(settings, ready.plan))


def _timeout(settings: Settings) -> dict[str, float]:
    """Only where there is one: an executor of somebody else's need not know of it."""
    return {} if settings.timeout_s is None else {"timeout_s": settings.timeout_s}


def _existing(ready: Sweep) -> Study | None:
    if not any((ready.directory / name).exists() for name in (FILE, STORED)):
        return None
    study = open_study(ready.directory)
    refuse_other(str(ready.directory), study.attributes["pieces"], ready.pieces)
    return study


def _write(study: Study) -> None:
    write_table(study, study.directory / "trials.csv")
    write_best(study, study.directory / "optimization_results.yaml")
    write_front(study, study.directory / "pareto.html")


def _refuse_failure(study: Study) -> None:
    if study.finished and not study.ranked:
        if not study.failures:
            raise SweepError(
                f"all {len(study.finished)} trials were pruned, so there is no best one; loosen hydra.sweeper.pruner, "
                "or leave the baseline alone with hydra.sweeper.prune_baseline=false"
            )
        reason, count = next(iter(study.failures.items()))
        raise SweepError(
            f"all {len(study.finished)} trials failed, {count} of them by: {reason}; the trials' "
            f"folders in {study.directory} hold their logs"
        )


def _refuse_alone(settings: Settings, task: TaskFunction) -> None:
    if settings.population.size > 1 and not hasattr(task, "population"):
        raise SweepError(
            f"hydra.sweeper.population.size is {settings.population.size}, but the task has no attribute population, "
            "which would run trials together; set it to 1, or see docs/sweeper.md"
        )


def _refuse_launcher(master: DictConfig) -> None:
    launcher = master.hydra.runtime.choices.get("hydra/launcher")
    if launcher not in (None, "basic"):
        raise SweepError(
            f"hydra/sweeper=trimtab runs trials itself, but hydra/launcher is {launcher!r}; leave it "
            "at basic and choose hydra/sweeper/executor=inline or processes"
        )


def _total(settings: Settings, planned: Plan) -> int:
    """The budget, no larger than the number of points there are to propose."""
    points = settings.sampler.points(planned.space)
    if points is None:
        return settings.n_trials
    largest = points + settings.before
    if settings.n_trials > largest:
        print(f"{largest} trials instead of {settings.n_trials}: the grid has {points} points{_besides(settings)}")
    return min(settings.n_trials, largest)


def _besides(settings: Settings) -> str:
    """What is tried besides the grid."""
    first = "the one that is" if settings.before == 1 else f"the {settings.before} that are"
    return f", besides {first} tried first" if settings.before else ""


def _workers(settings: Settings) -> int:
    if settings.schedule == "async":
        return min(settings.n_jobs, settings.n_trials)
    if settings.n_jobs > settings.lag:
        print(
            f"{settings.lag} workers instead of {settings.n_jobs}: trial n waits for trial n - "
            f"{settings.lag} (hydra.sweeper.lag, another lag is another study; or hydra.sweeper.schedule=async)"
        )
    return min(settings.n_jobs, settings.lag, settings.n_trials)
