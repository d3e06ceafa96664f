"""Trains many recipes at once: `train` of `trial/train.py` for each, in stacks."""

from collections.abc import Iterator, Sequence
from itertools import groupby

import torch
from torch import nn

from trimtab.data.arrays import Arrays, Problem
from trimtab.population.engine import Bursts, Population
from trimtab.population.members import Member, company, with_rows
from trimtab.trial import seeds
from trimtab.trial.recipe import Device
from trimtab.trial.recorder import Recorder
from trimtab.trial.result import TrialResult
from trimtab.trial.session import interruptible, on_device, peak_memory_mb, session

_HERE = Device()


def train_many(
    members: Sequence[Member], train: Arrays, val: Arrays, problem: Problem, device: Device = _HERE
) -> Iterator[tuple[int, TrialResult | Exception]]:
    """Each member's number with its result, or with what ended it, when its stack has ended.

    Args:
        members: what is trained; members that can't share a stack are trained one stack after the other.
        train: rows to learn from.
        val: rows to compare epochs by.
        problem: what the data mean.
        device: where it runs.
    """
    given = [with_rows(m, len(train.x)) for m in members]
    alike = sorted(given, key=lambda m: (repr(company(m.recipe)), m.number))
    for _, stack in groupby(alike, key=lambda m: repr(company(m.recipe))):
        yield from _train_stack(list(stack), train, val, problem, device)


def _train_stack(
    members: list[Member], train: Arrays, val: Arrays, problem: Problem, device: Device
) -> Iterator[tuple[int, TrialResult | Exception]]:
    done: list[tuple[int, TrialResult | Exception]] = []
    with session(max(1, *(m.epochs_left for m in members)), device) as trainer:
        place = trainer.strategy.root_device
        pairs = sorted(((m, _built(m, problem, place)) for m in members), key=_alike)
        sizes = {m.number: sum(p.numel() for p in model.parameters() if p.requires_grad) for m, model in pairs}

        def ended(member: Member, over: Recorder | Exception, seconds: float, steps: int) -> None:
            memory = peak_memory_mb(place)
            found = (
                over
                if isinstance(over, Exception)
                else _result(over, member, sizes[member.number], seconds, steps, memory)
            )
            done.append((member.number, found))

        rows, kept = on_device(trainer, train), on_device(trainer, val)
        population = Population([m for m, _ in pairs], [model for _, model in pairs], problem, rows, kept, ended)
        population.release(range(len(pairs)))  # who was paused at its end has nothing left to train
        if population.seats:
            with interruptible():
                trainer.fit(population, Bursts(population.epoch_steps))
            population.trainer = None
    yield from done


def _built(member: Member, problem: Problem, place: torch.device) -> nn.Module:
    """The member's network with the weights that it would have alone, or those of the state that it starts from."""
    seeds.seed_global(member.seed, "weights", place)
    model = member.recipe.model(problem.shape, problem.outputs)
    if member.start is not None:
        model.load_state_dict(member.start.weights)
    return model


def _alike(pair: tuple[Member, nn.Module]) -> tuple[str, int, int]:
    """Sorts by optimizer, then the deepest first."""
    member, model = pair
    return member.optimizer[0], -len(list(model.parameters())), member.number


def _result(
    recorder: Recorder, member: Member, parameters: int, seconds: float, steps: int, memory: float
) -> TrialResult:
    best = recorder.best()
    return TrialResult(
        value=best[member.recipe.metric],
        best_epoch=recorder.best_epoch,
        epochs=len(recorder.curves),
        curves=tuple(recorder.curves),
        best=best,
        per_example=recorder.per_example(),
        parameters=parameters,
        batch_size=int(member.recipe.batch_size),
        steps=steps,
        weights={name: value.cpu() for name, value in recorder.weights.items()},
        seconds=seconds,
        peak_memory_mb=memory,
    )
