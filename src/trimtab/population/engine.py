"""Many trials as one LightningModule with manual optimisation.

A step of the stack is a step of each member: its own batch, its own noise, its own rate. What computes it is a
`Program`: `tensors.py` is one for any network on any device, `compiled/` for perceptrons and convolutions on a CPU.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from trimtab.data.arrays import Parts
from trimtab.errors import Pruned
from trimtab.population.compiled import singles
from trimtab.population.members import Member
from trimtab.population.program import Program
from trimtab.population.state import MemberState
from trimtab.population.tensors import Tensors
from trimtab.trial import seeds
from trimtab.trial.batches import Batches, Rows
from trimtab.trial.recorder import Recorder, train_loss
from trimtab.trial.schedules import Lull, Plateau

Ended = Callable[["Seat", Recorder | Exception, int], None]


@dataclass
class Seat:
    """A member, and what only it has; members of one stack may be at different epochs."""

    member: Member
    batches: Batches
    recorder: Recorder
    lull: Lull = field(default_factory=Lull)
    seconds: float = 0.0
    stack_epochs: float = 0.0
    epoch: int = 0

    @property
    def is_over(self) -> bool:
        """Whether it has trained to its end."""
        return self.epoch >= self.member.recipe.epochs or self.recorder.impatient

    @property
    def steps(self) -> int:
        """That it has taken."""
        return self.epoch * len(self.batches)

    def factors(self) -> list[float]:
        """Of its schedule, one for each step of the coming epoch."""
        recipe, first, steps = self.member.recipe, self.steps, len(self.batches)
        total = recipe.horizon_epochs * steps
        return [recipe.schedule(min(s / total, 1.0)) * self.lull.factor for s in range(first, first + steps)]


class Population(pl.LightningModule):
    """Members that `stacks` put together.

    Args:
        members: with one network each.
        models: their networks, with the weights and buffers to start from.
        parts: what each is trained on.
        ended: told who leaves, with its recorder or what ended it, and its steps.
    """

    def __init__(
        self,
        members: Sequence[Member],
        models: Sequence[nn.Module],
        parts: Sequence[Parts[Rows]],
        ended: Ended,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self._ended = ended
        self.program: Program = _program(members, models, parts)
        self.seats = [
            Seat(
                member,
                Batches(own.train, int(member.recipe.batch_size), seeds.generator(member.seed, "batches")),
                Recorder(member.recipe, own.problem, own.val, member.on_epoch),
            )
            for member, own in zip(members, parts, strict=True)
        ]
        for m, member in enumerate(members):
            if member.start is not None:
                self._resume(m, member.start)

    def configure_optimizers(self) -> None:
        """None: they are ours."""

    @property
    def epoch_steps(self) -> int:
        """Steps of an epoch, of the member that takes most."""
        return max(len(seat.batches) for seat in self.seats)

    def on_train_epoch_start(self) -> None:
        """Draws each member's order of rows."""
        self._begun = time.perf_counter()
        self._factors = [seat.factors() for seat in self.seats]
        self.program.begin(
            [seat.steps for seat in self.seats], self._factors, [seat.batches.order() for seat in self.seats]
        )

    def training_step(self, burst: tuple[int, int], _: int) -> None:
        """Several optimizer steps: Lightning's cost of a batch is paid once for all."""
        self.program.run(*burst)

    def on_train_epoch_end(self) -> None:
        """Validates, lets each member take its notes, and lets those leave that are done."""
        losses, outputs, shares = self.program.losses(), self.program.outputs(), self.program.shares()
        rates = [rate * factors[0] for rate, factors in zip(self.program.rates, self._factors, strict=True)]
        seconds = time.perf_counter() - self._begun
        staying: list[int] = []
        for m, seat in enumerate(self.seats):
            seat.seconds += seconds * shares[m]
            seat.stack_epochs += 1 / len(self.seats)
            try:
                _after_epoch(seat, losses[m], outputs[m], rates[m], lambda m=m: self.program.weights(m))  # type: ignore[misc]
            except Exception as e:  # of this member only: diverged, or pruned by whoever watches it
                if isinstance(e, Pruned) and seat.member.on_pruned is not None:
                    seat.member.on_pruned(self.state(m))
                self._ended(seat, e, seat.steps)
            else:
                staying.append(m)
        self.release(staying)
        if not self.seats:
            self.trainer.should_stop = True

    def release(self, members: Sequence[int]) -> None:
        """Lets those of these go that are over, and drops all others."""
        over = {m for m in members if self.seats[m].is_over}
        for m in sorted(over):
            seat = self.seats[m]
            self._ended(seat, seat.recorder, seat.steps)
        staying = [m for m in members if m not in over]
        if len(staying) < len(self.seats):
            self.seats = [self.seats[m] for m in staying]
            if staying:
                self.program.keep(staying)

    def state(self, m: int) -> MemberState:
        """A copy of all that makes one member, between two epochs."""
        seat = self.seats[m]
        memory, products = self.program.memory(m)
        return MemberState(
            epoch=seat.epoch,
            weights={name: value.cpu() for name, value in self.program.weights(m).items()},
            optimizer=seat.member.optimizer[0],
            memory=memory,
            products=products,
            streams={name: generator.get_state() for name, generator in self._streams(m).items()},
            notes=seat.recorder.notes(),
            lull=seat.lull,
            seconds=seat.seconds,
        )

    def _resume(self, m: int, state: MemberState) -> None:
        """Makes a member what it was; its weights and buffers came with its network."""
        seat = self.seats[m]
        if state.optimizer != (kind := seat.member.optimizer[0]):
            raise ValueError(
                f"member {seat.member.number} trains by {kind} but starts from a state of {state.optimizer}"
            )
        self.program.resume(m, state)
        for name, generator in self._streams(m).items():
            generator.set_state(state.streams[name])
        seat.recorder.resume(state.notes)
        seat.epoch, seat.lull, seat.seconds = state.epoch, state.lull, state.seconds

    def _streams(self, m: int) -> dict[str, torch.Generator]:
        """A member's generators, by the names of their streams."""
        return {"batches": self.seats[m].batches.generator, **self.program.streams(m)}


def _program(members: Sequence[Member], models: Sequence[nn.Module], parts: Sequence[Parts[Rows]]) -> Program:
    place = parts[0].train.x.device
    if all(singles.can_train(*given, place) for given in zip(members, models, strict=True)):
        return singles.Singles(members, models, parts)  # type: ignore[arg-type]
    return Tensors(members, models, parts)


def _after_epoch(
    seat: Seat, losses: Tensor, outputs: Tensor, lr: float, weights: Callable[[], dict[str, Tensor]]
) -> None:
    """Has the epoch noted."""
    member, seat.epoch = seat.member, seat.epoch + 1
    if member.on_losses is not None:
        member.on_losses(losses)
    loss = train_loss(losses, seat.batches.sizes(), seat.epoch, lr)
    if isinstance(member.recipe.schedule, Plateau):
        seat.lull = member.recipe.schedule.after_epoch(seat.lull, loss)
    seat.recorder.after_epoch({"epoch": seat.epoch, "train/loss": loss, "lr": lr}, weights, outputs)


class Bursts:
    """An epoch's steps in bursts, as what Lightning takes for batches."""

    def __init__(self, steps: int, length: int = 64) -> None:
        self._ends = [(first, min(first + length, steps)) for first in range(0, steps, length)]

    def __len__(self) -> int:
        return len(self._ends)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self._ends)
