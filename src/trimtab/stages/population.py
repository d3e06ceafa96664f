"""Trials that are trained together: what `train.task` does for one, for several in one tensor program."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

import trimtab
import trimtab.tracking.store  # else each worker imports it for its first run
from trimtab.data.arrays import Arrays, Parts
from trimtab.data.folds import Fold
from trimtab.population.members import Member, obstacle
from trimtab.population.train import train_each
from trimtab.stages import unpack
from trimtab.stages.train import complete, mlflow_run, of_the_study
from trimtab.sweep.jobs.trial import Trial
from trimtab.tracking.runs import RunWriter
from trimtab.trial.checkpoint import Kept
from trimtab.trial.recorder import OnEpoch
from trimtab.trial.train import Device, Recipe, TrialResult, save_result, train

Result = TrialResult | Exception


def population(trials: Sequence[Trial]) -> Iterator[tuple[int, float | Exception]]:
    """Trains the configured recipes; the objective of each, or what ended it, by its position.

    A recipe that no stack takes is trained alone.
    """
    data = {fold: of_the_study(cfg) for fold, cfg in {unpack.fold(t.cfg): t.cfg for t in trials}.items()}
    with ExitStack() as left:  # whatever ends the population ends the runs that are still open
        runs = {place: _opened(trial, left) for place, trial in enumerate(trials)}
        for place, found in _trained(trials, [run for run, _ in runs.values()], data):
            run, closing = runs[place]
            try:
                with trials[place].active(), closing:
                    yield place, _kept(trials[place], run, found)
            except Exception as e:
                if found is not e:
                    raise
                yield place, e


def _opened(trial: Trial, left: ExitStack) -> tuple[RunWriter, ExitStack]:
    """The trial's MLflow run, and what closes it."""
    closing = left.enter_context(ExitStack())
    with trial.active():
        return closing.enter_context(mlflow_run(trial.cfg, trial.directory)), closing


def _kept(trial: Trial, run: RunWriter, found: Result) -> float:
    """Writes a trial's files and ends its run; raises what ended the trial."""
    if isinstance(found, Exception):
        raise found
    save_result(trial.directory, found)
    complete(run, found, trial.directory)
    return found.value


def _trained(
    trials: Sequence[Trial], runs: Sequence[RunWriter], data: Mapping[Fold | None, Parts[Arrays]]
) -> Iterator[tuple[int, Result]]:
    """Position and result of each trial, in the order in which they end.

    Folds are trained together too, where they are of one length (see `train_each`).
    """
    members: dict[Device, list[tuple[Member, Parts[Arrays]]]] = {}
    for place, (trial, run) in enumerate(zip(trials, runs, strict=True)):
        with trial.active():
            try:
                recipe, device = unpack.recipe(trial.cfg), unpack.device(trial.cfg)
            except Exception as e:
                yield place, e
                continue
            rows, on_epoch = data[unpack.fold(trial.cfg)], _told(trial, run, recipe)
            if obstacle(recipe, device) is None:
                member = _going_on(Member(place, recipe, trial.cfg.seed, on_epoch), trial.notes.checkpoint)
                members.setdefault(device, []).append((member, rows))
            else:
                yield place, _alone(recipe, trial, device, rows, on_epoch)
    for device, given in members.items():
        yield from train_each(given, device)


def _going_on(member: Member, folder: Path | None) -> Member:
    """The member from where it paused, keeping its state for the next pause."""
    if folder is None:
        return member
    path = folder / "member.pt"
    start = torch.load(path) if path.exists() else None
    return replace(member, start=start, on_pruned=partial(torch.save, f=path))


def _told(trial: Trial, run: RunWriter, recipe: Recipe) -> OnEpoch:
    def on_epoch(epoch: int, row: Mapping[str, float]) -> None:
        with trial.active():
            run.epoch(epoch, row)
            trimtab.record(epochs=epoch)
            trimtab.report(epoch, row[recipe.metric])  # last: it may end the trial

    return on_epoch


def _alone(recipe: Recipe, trial: Trial, device: Device, data: Parts[Arrays], on_epoch: OnEpoch) -> Result:
    kept = Kept.of(trial.notes.checkpoint, trial.directory)
    try:
        return train(recipe, data.train, data.val, data.problem, trial.cfg.seed, device, on_epoch, kept)
    except Exception as e:
        return e
