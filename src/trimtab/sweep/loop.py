"""Ask, run, tell: as many trials at once as there are workers, each told when it ends."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Protocol

from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from optuna.trial import FrozenTrial

from trimtab.errors import DiskError, SweepError
from trimtab.sweep.context import Orders
from trimtab.sweep.executors.local import Executor, TimedOut, WorkerDied
from trimtab.sweep.executors.memory import complaint
from trimtab.sweep.interrupt import Interrupt
from trimtab.sweep.jobs.checkpoints import drop
from trimtab.sweep.outcome import Failed, Outcome, one_line
from trimtab.sweep.store.journal import Journal
from trimtab.sweep.store.study import Study
from trimtab.sweep.supply import Supply
from trimtab.sweep.turns import pauses

Run = Callable[[list[DictConfig], list[Orders]], list[Outcome]]
Configure = Callable[[FrozenTrial], DictConfig]


class Watcher(Protocol):
    """Is told, in the sweeper's process, how the study goes. What it raises ends the sweep."""

    def started(self, study: Study) -> None:
        """The sweep begins or goes on."""

    def finished(self, study: Study, trial: FrozenTrial) -> None:
        """A trial has ended and is safe on disk."""

    def ended(self, study: Study) -> None:
        """The sweep ends, complete or not."""


def run_trials(
    journal: Journal,
    supply: Supply,
    configure: Configure,
    run: Run,
    executor: Executor,
    study: Study,
    watchers: Sequence[Watcher],
    interrupt: Interrupt,
) -> None:
    """Runs trials until the supply has none left.

    Raises:
        SweepError: the baseline cannot run as configured, or the first trials all fail alike.
        KeyboardInterrupt: somebody has asked for the end; the running trials have ended, if asked only once.
        Outage: something outside the trials failed, e.g. the disk is full; the trials it hit stay open.
    """
    running: dict[Future[list[Outcome]], list[FrozenTrial]] = {}
    while True:
        while not interrupt.asked and len(running) < executor.workers and (stack := supply.next()) is not None:
            running.update(_submitted(stack, supply, configure, run, executor))
        if not running:
            if interrupt.asked:
                raise KeyboardInterrupt
            _tell(supply.leave(), study, watchers)
            return
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in sorted(done, key=lambda f: running[f][0].number):
            stack = running.pop(future)
            outcomes = _outcomes(future, stack, study, configure)
            if outcomes is None:
                supply.killed(stack)
                continue
            ended: list[tuple[FrozenTrial, Outcome]] = []
            for trial, outcome in zip(stack, outcomes, strict=True):
                _refuse_bad_input(trial, outcome)
                if not supply.again(trial, outcome):
                    ended.append((trial, outcome))
            _end(ended, journal, study, watchers)
            supply.budget.mark()


def _end(
    ended: Sequence[tuple[FrozenTrial, Outcome]], journal: Journal, study: Study, watchers: Sequence[Watcher]
) -> None:
    """What has ended is on disk before anybody is told; of a pause nobody is."""
    told = [t for t in (journal.tell(ended) if ended else ()) if t.state.is_finished()]
    for trial in told:
        if pauses(trial):
            drop(study.folder(trial))
    _tell(told, study, watchers)


def _tell(ended: Sequence[FrozenTrial], study: Study, watchers: Sequence[Watcher]) -> None:
    for trial in ended:
        for watcher in watchers:
            watcher.finished(study, trial)


def _submitted(
    stack: Sequence[FrozenTrial], supply: Supply, configure: Configure, run: Run, executor: Executor
) -> Iterator[tuple["Future[list[Outcome]]", list[FrozenTrial]]]:
    """Composes here, runs there; a configuration that cannot be composed fails its trial only."""
    going: list[tuple[FrozenTrial, DictConfig]] = []
    for trial in stack:
        failed = supply.poison(trial)
        try:
            if failed is None:
                going.append((trial, configure(trial)))
                continue
        except (HydraException, OmegaConfBaseException) as e:
            failed = Failed(one_line(e.__cause__ or e), bad_input=True)
        yield _settled([failed]), [trial]
    if going:
        trials = [trial for trial, _ in going]
        yield executor.submit(run, [cfg for _, cfg in going], [supply.orders(t) for t in trials]), trials


def _settled(outcomes: list[Outcome]) -> "Future[list[Outcome]]":
    future: Future[list[Outcome]] = Future()
    future.set_result(outcomes)
    return future


def _outcomes(
    future: "Future[list[Outcome]]", stack: Sequence[FrozenTrial], study: Study, configure: Configure
) -> list[Outcome] | None:
    """Of each trial of the stack; None if the worker was killed from outside."""
    try:
        return future.result()
    except WorkerDied as e:
        if e.memory:
            return [Failed(complaint(configure(trial)), again=len(stack) > 1) for trial in stack]
        return [Failed(f"the worker {e}", again=True) for _ in stack] if e.crashed else None
    except TimedOut as e:
        return [Failed(str(e), again=True) for _ in stack]
    except OSError as e:
        raise DiskError.of(study.folder(stack[0]), e) from e


def _refuse_bad_input(trial: FrozenTrial, outcome: Outcome) -> None:
    """The baseline is what the user configured: what is wrong with it is wrong with all trials."""
    if isinstance(outcome, Failed) and outcome.bad_input and trial.user_attrs.get("baseline"):
        raise SweepError(outcome.reason)
