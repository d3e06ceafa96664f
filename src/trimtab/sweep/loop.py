"""Ask, run, tell: as many trials at once as there are workers, each told when it ends."""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Protocol

from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from optuna.trial import FrozenTrial

from trimtab.errors import DiskError, SweepError
from trimtab.sweep.checkpoints import drop
from trimtab.sweep.context import Orders
from trimtab.sweep.executors import Executor, TimedOut, WorkerDied
from trimtab.sweep.interrupt import Interrupt
from trimtab.sweep.journal import Journal
from trimtab.sweep.memory import complaint
from trimtab.sweep.outcome import Failed, Outcome, Pruned, one_line
from trimtab.sweep.study import Study
from trimtab.sweep.supply import Supply
from trimtab.sweep.turns import pauses

Run = Callable[[DictConfig, Orders], Outcome]
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
    running: dict[Future[Outcome], FrozenTrial] = {}
    while True:
        while not interrupt.asked and len(running) < executor.workers and (trial := supply.next()) is not None:
            running[_submit(trial, supply, configure, run, executor)] = trial
        if not running:
            if interrupt.asked:
                raise KeyboardInterrupt
            for paused, end in supply.leftovers():
                _end(paused, end, journal, study, watchers)
            return
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in sorted(done, key=lambda f: running[f].number):
            trial = running.pop(future)
            outcome = _outcome(future, trial, study.folder(trial), configure)
            if supply.again(trial, outcome) or outcome is None:
                continue
            _refuse_bad_input(trial, outcome)
            if isinstance(outcome, Pruned) and outcome.paused:
                journal.pause(trial, outcome)
            else:
                _end(trial, outcome, journal, study, watchers)
            supply.budget.mark()


def _end(trial: FrozenTrial, outcome: Outcome, journal: Journal, study: Study, watchers: Sequence[Watcher]) -> None:
    """What has ended is on disk before anybody is told."""
    ended = journal.tell(trial, outcome)
    if pauses(ended):
        drop(study.folder(ended))
    for watcher in watchers:
        watcher.finished(study, ended)


def _submit(
    trial: FrozenTrial, supply: Supply, configure: Configure, run: Run, executor: Executor
) -> "Future[Outcome]":
    """Composes here, runs there; a configuration that cannot be composed fails its trial only."""
    failed = supply.poison(trial)
    try:
        return _settled(failed) if failed else executor.submit(run, configure(trial), supply.orders(trial))
    except (HydraException, OmegaConfBaseException) as e:
        return _settled(Failed(one_line(e.__cause__ or e), bad_input=True))


def _settled(outcome: Outcome) -> "Future[Outcome]":
    future: Future[Outcome] = Future()
    future.set_result(outcome)
    return future


def _outcome(future: "Future[Outcome]", trial: FrozenTrial, folder: Path, configure: Configure) -> Outcome | None:
    """None if the worker was killed from outside."""
    try:
        return future.result()
    except WorkerDied as e:
        if e.memory:
            return Failed(complaint(configure(trial)))
        return Failed(f"the worker {e}", again=True) if e.crashed else None
    except TimedOut as e:
        return Failed(str(e), again=True)
    except OSError as e:
        raise DiskError.of(folder, e) from e


def _refuse_bad_input(trial: FrozenTrial, outcome: Outcome | None) -> None:
    """The baseline is what the user configured: what is wrong with it is wrong with all trials."""
    if isinstance(outcome, Failed) and outcome.bad_input and trial.user_attrs.get("baseline"):
        raise SweepError(outcome.reason)
