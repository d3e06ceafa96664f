"""Trains many recipes at once: `train` of `trial/train.py` for each, in stacks."""

from collections.abc import Iterator, Sequence

import pytorch_lightning as pl
import torch
from torch import nn

from trimtab.data.arrays import Arrays, Parts, Problem
from trimtab.errors import TrimtabError
from trimtab.population.engine import Bursts, Population, Seat
from trimtab.population.members import Member, with_rows
from trimtab.population.stacks import Candidate, stacks
from trimtab.trial import seeds
from trimtab.trial.batches import Rows
from trimtab.trial.recipe import Device, built_optimizer, check_recipe
from trimtab.trial.recorder import Recorder
from trimtab.trial.result import TrialResult
from trimtab.trial.session import interruptible, on_device, peak_memory_mb, session

_HERE = Device()


def train_many(
    members: Sequence[Member], train: Arrays, val: Arrays, problem: Problem, device: Device = _HERE
) -> Iterator[tuple[int, TrialResult | Exception]]:
    """Each member's number with its result, or with what ended it, as their stacks end (see stacks.py).

    Args:
        members: what is trained; members that can't share a stack are trained one stack after the other.
        train: rows to learn from.
        val: rows to compare epochs by.
        problem: what the data mean.
        device: where it runs.
    """
    parts = Parts(train, val, problem)
    return train_each([(member, parts) for member in members], device)


def train_each(
    members: Sequence[tuple[Member, Parts[Arrays]]], device: Device = _HERE
) -> Iterator[tuple[int, TrialResult | Exception]]:
    """As `train_many`, each member on what stands beside it: folds of one length share stacks.

    Members on the same rows have the same object.
    """
    candidates: list[Candidate] = []
    refused: list[tuple[int, TrimtabError]] = []
    with session(1, device) as trainer:  # for its device, and to leave the process's random numbers alone
        place = trainer.strategy.root_device
        for given, parts in members:
            member = with_rows(given, len(parts.train.x))
            try:
                candidates.append(Candidate(member, _built(member, parts.problem, place), parts))
            except TrimtabError as e:  # a setting out of its range
                refused.append((member.number, e))
    yield from refused
    for stack in stacks(candidates, place):
        yield from _train_stack(sorted(stack, key=_alike), device)


def _train_stack(stack: list[Candidate], device: Device) -> Iterator[tuple[int, TrialResult | Exception]]:
    done: list[tuple[int, TrialResult | Exception]] = []
    members = [c.member for c in stack]
    with session(max(1, *(m.epochs_left for m in members)), device) as trainer:
        place = trainer.strategy.root_device
        sizes = {c.member.number: sum(p.numel() for p in c.model.parameters() if p.requires_grad) for c in stack}

        def ended(seat: Seat, over: Recorder | Exception, steps: int) -> None:
            parameters, memory = sizes[seat.member.number], peak_memory_mb(place)
            found = over if isinstance(over, Exception) else _result(over, seat, parameters, steps, memory)
            done.append((seat.member.number, found))

        population = Population(members, [c.model for c in stack], _placed(trainer, stack), ended)
        population.release(range(len(stack)))  # who was paused at its end has nothing left to train
        if population.seats:
            with interruptible(), population.program.threads(device.threads):
                trainer.fit(population, Bursts(population.epoch_steps))
            population.trainer = None
    yield from done


def _placed(trainer: pl.Trainer, stack: list[Candidate]) -> list[Parts[Rows]]:
    """What each is trained on, where the Trainer trains; of each set one copy."""
    sets = {id(c.parts): c.parts for c in stack}
    there = {
        key: Parts(on_device(trainer, parts.train), on_device(trainer, parts.val), parts.problem)
        for key, parts in sets.items()
    }
    return [there[id(c.parts)] for c in stack]


def _built(member: Member, problem: Problem, place: torch.device) -> nn.Module:
    """The member's network with the weights that it would have alone, or those of the state that it starts from.

    Raises:
        ConfigError: a setting is out of its range.
    """
    check_recipe(member.recipe, problem)
    seeds.seed_global(member.seed, "weights", place)
    model = member.recipe.model(problem.shape, problem.outputs)
    built_optimizer(member.recipe, model, int(member.recipe.batch_size))
    if member.start is not None:
        model.load_state_dict(member.start.weights)
    return model


def _alike(candidate: Candidate) -> tuple[str, int, int]:
    """Sorts by optimizer, then the deepest first."""
    member, model, _ = candidate
    return member.optimizer[0], -len(list(model.parameters())), member.number


def _result(recorder: Recorder, seat: Seat, parameters: int, steps: int, memory: float) -> TrialResult:
    best, recipe = recorder.best(), seat.member.recipe
    return TrialResult(
        value=best[recipe.metric],
        best_epoch=recorder.best_epoch,
        epochs=len(recorder.curves),
        curves=tuple(recorder.curves),
        best=best,
        per_example=recorder.per_example(),
        parameters=parameters,
        batch_size=int(recipe.batch_size),
        steps=steps,
        weights={name: value.cpu() for name, value in recorder.weights.items()},
        seconds=seat.seconds,
        peak_memory_mb=memory,
        stack_epochs=seat.stack_epochs,
    )
