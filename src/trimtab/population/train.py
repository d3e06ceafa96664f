"""Trains many recipes at once: `train` of `trial/train.py` for each, in stacks."""

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from trimtab.data.arrays import Arrays, Problem
from trimtab.errors import TrimtabError
from trimtab.population.engine import Bursts, Population, Seat
from trimtab.population.members import Member, with_rows
from trimtab.population.stacks import Pair, stacks
from trimtab.trial import seeds
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
    given = [with_rows(m, len(train.x)) for m in members]
    pairs: list[Pair] = []
    refused: list[tuple[int, TrimtabError]] = []
    with session(1, device) as trainer:  # for its device, and to leave the process's random numbers alone
        place = trainer.strategy.root_device
        for member in given:
            try:
                pairs.append((member, _built(member, problem, place)))
            except TrimtabError as e:  # a setting out of its range
                refused.append((member.number, e))
    yield from refused
    for stack in stacks(pairs, len(train.x), place):
        yield from _train_stack(sorted(stack, key=_alike), train, val, problem, device)


def _train_stack(
    pairs: list[Pair], train: Arrays, val: Arrays, problem: Problem, device: Device
) -> Iterator[tuple[int, TrialResult | Exception]]:
    done: list[tuple[int, TrialResult | Exception]] = []
    with session(max(1, *(m.epochs_left for m, _ in pairs)), device) as trainer:
        place = trainer.strategy.root_device
        sizes = {m.number: sum(p.numel() for p in model.parameters() if p.requires_grad) for m, model in pairs}

        def ended(seat: Seat, over: Recorder | Exception, steps: int) -> None:
            parameters, memory = sizes[seat.member.number], peak_memory_mb(place)
            found = over if isinstance(over, Exception) else _result(over, seat, parameters, steps, memory)
            done.append((seat.member.number, found))

        rows, kept = on_device(trainer, train), on_device(trainer, val)
        population = Population([m for m, _ in pairs], [model for _, model in pairs], problem, rows, kept, ended)
        population.release(range(len(pairs)))  # who was paused at its end has nothing left to train
        if population.seats:
            with interruptible():
                trainer.fit(population, Bursts(population.epoch_steps))
            population.trainer = None
    yield from done


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


def _alike(pair: Pair) -> tuple[str, int, int]:
    """Sorts by optimizer, then the deepest first."""
    member, model = pair
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
