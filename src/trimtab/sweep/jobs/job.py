"""Runs trials as Hydra jobs, one by one or together: own directory, `.hydra/`, job log, `HydraConfig`."""

import copy
import logging
import pickle
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, chdir, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra import version
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, env_override, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from trimtab import errors
from trimtab.errors import Diverged, TrimtabError, outage
from trimtab.sweep.context import Notes, Orders, taking_notes
from trimtab.sweep.executors.memory import complaint, ran_out
from trimtab.sweep.jobs.checkpoints import checkpointed, keep
from trimtab.sweep.jobs.job_output import own_console, own_logging, write_hydra_files
from trimtab.sweep.jobs.trial import Trial
from trimtab.sweep.outcome import Failed, Outcome, Pruned, judge, one_line, pruned
from trimtab.sweep.repeats import Repeats, repeated
from trimtab.sweep.settings import directions
from trimtab.sweep.space.compose import written

log = logging.getLogger(__name__)
SURE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    NotImplementedError,
    SyntaxError,
    TypeError,
    ValueError,
)
"""What Python raises for a wrong program or value: the same again on every try."""
_NONE = Orders()


@dataclass(frozen=True)
class Job:
    """The task with what Hydra needs around it; travels to worker processes.

    Attributes:
        task: the application's function.
        context: Hydra's, with its callbacks.
        hydra: state of Hydra's singletons and resolvers for another process; None in this one.
        together: whether trials are given to `task.population`.
    """

    task: TaskFunction
    context: HydraContext
    hydra: Any = None
    together: bool = False

    def portable(self) -> "Job":
        """A job that can be pickled into another process."""
        return replace(self, hydra=Singleton.get_state())

    def __call__(self, cfgs: Sequence[DictConfig], orders: Sequence[Orders]) -> list[Outcome]:
        """Runs the task with each configuration, together or one by one; where there are seeds or folds, on each.

        Raises:
            Outage: something outside the trial failed.
            OSError: the disk is full, or the trial's directory cannot be written; not the trial's
                fault either.
        """
        if self.hydra is not None:
            _enter(self.hydra)
        if self.together:
            return self._together(cfgs, orders)
        return [self._alone(cfg, o) for cfg, o in zip(cfgs, orders, strict=True)]

    def _alone(self, cfg: DictConfig, orders: Orders) -> Outcome:
        if (repeats := orders.repeats) is None:
            return self._once(cfg, orders)
        return repeated(repeats, lambda i: self._once(*_nth(cfg, orders, repeats, i)))

    def _once(self, cfg: DictConfig, orders: Orders) -> Outcome:
        """One Hydra job."""
        with _hydra_of(cfg) as folder, own_console(folder) if self.hydra is not None else nullcontext(), own_logging():
            configure_log(cfg.hydra.job_logging, cfg.hydra.verbose)
            if cfg.hydra.output_subdir is not None:
                write_hydra_files(cfg, folder / cfg.hydra.output_subdir)
            with env_override(cfg.hydra.job.env_set), _directory(folder if _changes(cfg.hydra.job.chdir) else None):
                return self._run(cfg, orders)

    def _together(self, cfgs: Sequence[DictConfig], orders: Sequence[Orders]) -> list[Outcome]:
        """All trials at once; of a configuration on several seeds or folds all of them, whatever the first ones say."""
        jobs: list[tuple[DictConfig, Orders]] = []
        places: list[list[int]] = []
        for cfg, order in zip(cfgs, orders, strict=True):
            runs = [(cfg, order)]
            if (repeats := order.repeats) is not None:
                runs = [_nth(cfg, order, repeats, i) for i in range(len(repeats.each))]
            places.append([*range(len(jobs), len(jobs) + len(runs))])
            jobs += runs
        outcomes = self._population(jobs)
        return [
            outcomes[at[0]] if order.repeats is None else repeated(order.repeats, lambda i, at=at: outcomes[at[i]])  # type: ignore[misc]
            for order, at in zip(orders, places, strict=True)
        ]

    def _population(self, jobs: Sequence[tuple[DictConfig, Orders]]) -> list[Outcome]:
        """Several Hydra jobs at once; what they print and log stands in the first one's folder."""
        begun = time.perf_counter()
        trials = [self._begin(*job) for job in jobs]
        with ExitStack() as around:
            if self.hydra is not None:
                around.enter_context(own_console(trials[0].directory))
            around.enter_context(own_logging())
            around.enter_context(env_override(jobs[0][0].hydra.job.env_set))
            _log_into_each(trials)
            found = self._found(trials)
            share = (time.perf_counter() - begun) / len(trials)
            return [self._end(*ended, share) for ended in zip(trials, found, (o for _, o in jobs), strict=True)]

    def _begin(self, cfg: DictConfig, orders: Orders) -> Trial:
        with _hydra_of(cfg) as folder:
            if cfg.hydra.output_subdir is not None:
                write_hydra_files(cfg, folder / cfg.hydra.output_subdir)
            task_cfg = _without_hydra(cfg)
            OmegaConf.resolve(task_cfg)
            self.context.callbacks.on_job_start(config=cfg, task_function=self.task)
            with checkpointed(orders.stretch) as checkpoint:
                notes = Notes(rule=orders.rule, checkpoint=checkpoint)
        return Trial(cfg.hydra.job.num, orders.seed, task_cfg, folder, cfg, notes)

    def _found(self, trials: Sequence[Trial]) -> list[Any]:
        """What each trial returned or raised."""
        found: list[Any] = [RuntimeError("task.population ended without a result for this trial") for _ in trials]
        try:
            for place, result in self.task.population(trials):  # type: ignore[attr-defined]
                found[place] = result
        except (Exception, SystemExit) as e:
            if (outside := outage(e)) is not None:
                raise outside from outside.__cause__
            log.error("the population failed", exc_info=True)
            return [e if isinstance(f, RuntimeError) else f for f in found]
        return found

    def _end(self, trial: Trial, found: Any, orders: Orders, seconds: float) -> Outcome:
        """The trial's outcome, told to Hydra's callbacks."""
        cfg, notes = trial.job, trial.notes
        job = _job_return(cfg, trial.cfg)
        job.return_value, job.status = found, JobStatus.COMPLETED
        outcome: Outcome
        if notes.pruned or isinstance(found, errors.Pruned):
            with trial.active():
                outcome, job.return_value = _pruned(notes, notes.pruned or str(found), seconds, orders)
        elif isinstance(found, BaseException):
            log.error("trial %d failed", trial.number, exc_info=found)
            outcome, job.status = _failure(found, trial.cfg, seconds), JobStatus.FAILED
        else:
            outcome = judge(found, notes, seconds, len(directions(cfg.hydra.sweeper.direction)))
        with trial.active():
            self.context.callbacks.on_job_end(config=cfg, job_return=job)
        return outcome

    def _run(self, cfg: DictConfig, orders: Orders) -> Outcome:
        """The task between Hydra's callbacks."""
        task_cfg = _without_hydra(cfg)
        job = _job_return(cfg, task_cfg)
        self.context.callbacks.on_job_start(config=cfg, task_function=self.task)
        try:
            objectives = len(directions(cfg.hydra.sweeper.direction))
            outcome, job.return_value = _judged(self.task, task_cfg, objectives, orders)
            job.status = JobStatus.COMPLETED
        except _Failure as e:
            outcome, job.return_value = e.outcome, e.__cause__
            job.status = JobStatus.FAILED
        self.context.callbacks.on_job_end(config=cfg, job_return=job)
        return outcome


@contextmanager
def _hydra_of(cfg: DictConfig) -> Iterator[Path]:
    """Makes the job's folder and `HydraConfig` for the time of the job; what `run_job` does with 15 ms less copying."""
    instance = HydraConfig.instance()
    before = instance.cfg
    instance.cfg = cfg  # type: ignore[assignment]  # `hydra:` resolves from here on
    try:
        folder = Path(str(cfg.hydra.sweep.dir), str(cfg.hydra.sweep.subdir)).absolute()
        with open_dict(cfg.hydra.runtime):
            cfg.hydra.runtime.output_dir = str(folder)
        OmegaConf.set_readonly(cfg.hydra, True)
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    finally:
        instance.cfg = before


def _job_return(cfg: DictConfig, task_cfg: DictConfig) -> JobReturn:
    """What Hydra's callbacks are told of a job, without its end."""
    return JobReturn(list(cfg.hydra.overrides.task), task_cfg, cfg, str(Path.cwd()), str(cfg.hydra.job.name))


def _log_into_each(trials: Sequence[Trial]) -> None:
    """Gives every trial its job log; each has all that is logged from here on."""
    root = logging.getLogger()
    handlers: list[logging.Handler] = []
    for trial in trials:
        with trial.active():
            configure_log(trial.job.hydra.job_logging, trial.job.hydra.verbose)
        shown = [h for h in root.handlers if not isinstance(h, logging.FileHandler)]
        handlers += [h for h in root.handlers if h not in shown]
    root.handlers[:] = [*shown, *handlers]


def _changes(chdir: bool | None) -> bool:
    """`hydra.job.chdir`; left open it is as the application's version_base has it."""
    return not version.base_at_least("1.2") if chdir is None else chdir


@contextmanager
def _directory(folder: Path | None) -> Iterator[None]:
    """`hydra.job.chdir`."""
    if folder is None:
        yield
        return
    with chdir(folder):
        yield


def _without_hydra(cfg: DictConfig) -> DictConfig:
    """A copy of what the task gets: all but Hydra's own node, which is most of a composed configuration.

    OmegaConf's copies are deep, `copy.copy` too: 7 ms for the whole. Pickle copies the rest in 0.6 ms, but can't name a
    class that came into a worker by value, as those of the application's main module do.
    """
    content = cfg.__dict__["_content"]
    hydra = content.pop("hydra")
    try:
        copied: DictConfig = pickle.loads(pickle.dumps(cfg))
    except (pickle.PicklingError, AttributeError, TypeError):
        return copy.deepcopy(cfg)
    finally:
        content["hydra"] = hydra
    return copied


def _nth(cfg: DictConfig, orders: Orders, repeats: Repeats, index: int) -> tuple[DictConfig, Orders]:
    """Configuration and orders of a trial's run on a seed or fold; pruners compare trials by their first."""
    if index == 0:
        return cfg, orders
    seed = repeats.each[index] if repeats.what == "seed" else orders.seed
    return _changed(cfg, repeats, index), replace(orders, rule=None, seed=seed)


def _changed(cfg: DictConfig, repeats: Repeats, index: int) -> DictConfig:
    """The configuration of a later run, which has a folder of its own below its trial's."""
    key, value = repeats.key, repeats.each[index]
    copied = copy.deepcopy(cfg)
    OmegaConf.update(copied, key, value)
    OmegaConf.set_readonly(copied.hydra, False)  # the first run's job has made it so
    with open_dict(copied.hydra):
        others = [line for line in written(cfg.hydra.overrides.task) if not line.startswith(f"{key}=")]
        copied.hydra.overrides.task = [*others, f"{key}={value}"]
        copied.hydra.sweep.subdir = f"{cfg.hydra.sweep.subdir}/{repeats.what}-{index}"
    return copied


_entered = False


def _enter(hydra: Any) -> None:
    """In a worker: once, gives this process the sweeper's Hydra."""
    global _entered
    if not _entered:
        setup_globals()
        Singleton.set_state(hydra)
        _entered = True


class _Failure(Exception):
    """Carries the outcome of a task that raised."""

    def __init__(self, outcome: Failed) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


def _judged(task: TaskFunction, cfg: DictConfig, objectives: int, orders: Orders) -> tuple[Outcome, Any]:
    """Runs the task: its outcome and what it returned, or told last if it was pruned.

    Raises:
        Outage: the task raised it, or something that came from it.
        OSError: the disk is full.
        _Failure: the task raised anything else.
    """
    begun = time.perf_counter()
    with checkpointed(orders.stretch) as folder, taking_notes(orders.rule, folder) as notes:
        try:
            returned = task(cfg)
        except (Exception, SystemExit) as e:
            if (outside := outage(e)) is not None:
                # Itself: what it is wrapped in would lose it on the way out of a worker. Not logged: the sweep says it,
                # and on a full disk the log's handlers fail too.
                raise outside from outside.__cause__
            if not (notes.pruned or isinstance(e, errors.Pruned)):
                log.error("the trial failed", exc_info=True)
                raise _Failure(_failure(e, cfg, time.perf_counter() - begun)) from e
            return _pruned(notes, str(e), time.perf_counter() - begun, orders)
        if notes.pruned:
            return _pruned(notes, notes.pruned, time.perf_counter() - begun, orders)
    return judge(returned, notes, time.perf_counter() - begun, objectives), returned


def _pruned(notes: Notes, reason: str, seconds: float, orders: Orders) -> tuple[Outcome, float | None]:
    """Once the rule has spoken, what the task does about it (raise, wrap, return a number) changes nothing."""
    paused = bool(notes.pruned) and orders.stretch is not None
    outcome = pruned(notes, notes.pruned or reason or "the task pruned itself", seconds, paused=paused)
    if paused:
        keep(orders.stretch or 0)
    return outcome, outcome.value if isinstance(outcome, Pruned) else None


def _failure(error: BaseException, cfg: DictConfig, seconds: float) -> Failed:
    if ran_out(error):
        return Failed(complaint(cfg), seconds=seconds)
    bad_input = isinstance(error, TrimtabError) and not isinstance(error, Diverged)
    text = str(error) if bad_input else one_line(error)
    if isinstance(error, SystemExit):
        text = f"the task called sys.exit({error.code!r})"
    again = not isinstance(error, (TrimtabError, *SURE, SystemExit))
    return Failed(text, bad_input=bad_input, again=again, seconds=seconds)
