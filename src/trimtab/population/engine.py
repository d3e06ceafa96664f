"""Many trials as one LightningModule with manual optimisation.

A step of the stack is a step of each member: its own batch, its own noise, its own rate, one forward and one backward
pass for all. Members' losses are never mixed: the gradient of one with respect to another's weights is 0.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from trimtab.data.arrays import Parts
from trimtab.errors import Pruned
from trimtab.models.dropout import keys
from trimtab.population.feed import Feed
from trimtab.population.flat import Flat, Shape, put
from trimtab.population.losses import Loss
from trimtab.population.members import Member
from trimtab.population.network import Network, network
from trimtab.population.optimizers import Optimizers
from trimtab.population.regularisation import Regularisers
from trimtab.population.rows import Joined
from trimtab.population.state import MemberState
from trimtab.trial import seeds
from trimtab.trial.augmentation import Augmentation
from trimtab.trial.batches import Batches, Rows
from trimtab.trial.recorder import Recorder, train_loss
from trimtab.trial.schedules import Lull, Plateau

CHUNK = 4096
"""Validation rows of each member per forward pass; on a CPU as few as the network says."""

Ended = Callable[["Seat", Recorder | Exception, int], None]


@dataclass
class Seat:
    """A member, and what only it has; members of one stack may be at different epochs."""

    member: Member
    shapes: dict[str, Shape]
    batches: Batches
    recorder: Recorder
    augmenter: torch.Generator
    lull: Lull = field(default_factory=Lull)
    seconds: float = 0.0
    stack_epochs: float = 0.0
    epoch: int = 0

    @property
    def is_over(self) -> bool:
        """Whether it has trained to its end."""
        return self.epoch >= self.member.recipe.epochs or self.recorder.impatient


class Population(pl.LightningModule):
    """Members of one company (see `members.company`), sorted so that neighbours are alike.

    Args:
        members: with one network each.
        models: their networks, with the weights and buffers to start from.
        parts: what each is trained on; of equal lengths, and one loss fits all.
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
        self._train, self._val = Joined([p.train for p in parts]), Joined([p.val for p in parts])
        self._problem, self._ended = parts[0].problem, ended
        place = self._place = parts[0].train.x.device
        self.network: Network = network(models, place)
        self.flat = Flat(self.network.layout, len(members), place)
        own = [self.network.load(m) for m in range(len(members))]
        for m, weights in enumerate(own):
            self.flat.fill(m, weights)
        self.stepping = Optimizers([m.optimizer for m in members], self.flat.rows)
        shapes = [{name: tuple(w.shape) for name, w in weights.items()} for weights in own]
        self.regularisers = Regularisers(
            [m.recipe.regularisation for m in members], [m.seed for m in members], shapes, self.network.layout, place
        )
        self.seats = [
            Seat(
                member,
                shapes[m],
                Batches(self._train.of(m), int(member.recipe.batch_size), seeds.generator(member.seed, "batches")),
                Recorder(member.recipe, parts[m].problem, self._val.of(m), member.on_epoch),
                seeds.generator(member.seed, "augmentation"),
            )
            for m, member in enumerate(members)
        ]
        self._noise = torch.tensor([seeds.signed(m.seed, "noise") for m in members], device=place)
        self._augment = any(member.recipe.augmentation != Augmentation() for member in members)
        for m, member in enumerate(members):
            if member.start is not None:
                self._resume(m, member.start)

    def configure_optimizers(self) -> None:
        """None: they are ours."""

    @property
    def epoch_steps(self) -> int:
        """Steps of an epoch; equal for all members."""
        return len(self.seats[0].batches)

    def on_train_epoch_start(self) -> None:
        """Draws each member's order of rows, and works out all that hangs on the number of a step alone."""
        self._begun = time.perf_counter()
        self._first = [seat.epoch * self.epoch_steps for seat in self.seats]
        places, steps = self.network.places, torch.arange(self.epoch_steps, device=self._place)
        counts = steps[:, None, None] + torch.tensor(self._first, device=steps.device).unsqueeze(1)
        self.network.begin(keys(self._noise, counts, places) if places else None)
        orders = self._train.numbers(torch.stack([seat.batches.order() for seat in self.seats]))
        self._batches = Feed(self._train.rows, orders, self.seats[0].batches.batch_size)
        self._rates = self._factors()
        self.stepping.begin(self.flat.grads, self._rates, self.regularisers.decayed)
        self._loss = Loss(self._problem, self.regularisers.smoothing, len(self.seats), self._place)
        self._losses: list[Tensor] = []

    def _factors(self) -> Tensor:
        """(steps, members, 1) of each member's schedule."""
        found = []
        for seat, first in zip(self.seats, self._first, strict=True):
            recipe = seat.member.recipe
            total = recipe.horizon_epochs * self.epoch_steps
            steps = range(first, first + self.epoch_steps)
            found.append([recipe.schedule(min(step / total, 1.0)) * seat.lull.factor for step in steps])
        return torch.tensor(found, device=self._place).T.unsqueeze(2)

    def training_step(self, burst: tuple[int, int], _: int) -> None:
        """Several optimizer steps: Lightning's cost of a batch is paid once for all."""
        with torch.no_grad():  # what autograd is needed for says so itself
            for step in range(*burst):
                self._step(step)

    def _step(self, step: int) -> None:
        x, y = self._batches[step]
        if self.network.adds:
            self.flat.grads.zero_()
        acts = self.regularisers.act
        if acts:
            self.regularisers.before(self.flat)
        outputs = self.network.forward(self.flat.parameters, self._augmented(x), step)
        losses, grad = self._loss(outputs, y)
        self.network.backward(grad)
        self._losses.append(losses)
        if acts:
            self.regularisers.between(self.flat, self._first, step)
        self.stepping.step(step)
        if acts:
            self.regularisers.after(self.flat, self.stepping.lr * self._rates[step])

    def _augmented(self, x: Tensor) -> Tensor:
        """A loop over members that augment: their draws must be those of each alone."""
        if not self._augment:
            return x
        pairs = zip(self.seats, x, strict=True)
        return torch.stack([seat.member.recipe.augmentation(rows, seat.augmenter) for seat, rows in pairs])

    def on_train_epoch_end(self) -> None:
        """Validates, lets each member take its notes, and lets those leave that are done."""
        losses = torch.stack(self._losses).cpu().unbind(1)
        outputs = self._outputs()
        share = (time.perf_counter() - self._begun) / len(self.seats)
        rates = (self.stepping.lr * self._rates[0]).flatten().tolist()
        staying: list[int] = []
        for m, seat in enumerate(self.seats):
            seat.seconds += share
            seat.stack_epochs += 1 / len(self.seats)
            try:
                self._after_epoch(m, seat, losses[m], outputs[m], rates[m])
            except Exception as e:  # of this member only: diverged, or pruned by whoever watches it
                if isinstance(e, Pruned) and seat.member.on_pruned is not None:
                    seat.member.on_pruned(self.state(m))
                self._ended(seat, e, seat.epoch * self.epoch_steps)
            else:
                staying.append(m)
        self.release(staying)
        if not self.seats:
            self.trainer.should_stop = True

    def _after_epoch(self, m: int, seat: Seat, losses: Tensor, outputs: Tensor, lr: float) -> None:
        """Has the epoch noted."""
        member, seat.epoch = seat.member, seat.epoch + 1
        if member.on_losses is not None:
            member.on_losses(losses)
        loss = train_loss(losses, seat.batches.sizes(), seat.epoch, lr)
        if isinstance(member.recipe.schedule, Plateau):
            seat.lull = member.recipe.schedule.after_epoch(seat.lull, loss)
        row = {"epoch": seat.epoch, "train/loss": loss, "lr": lr}
        seat.recorder.after_epoch(row, lambda: self.network.state(m, self.flat.parameters), outputs)

    @torch.no_grad()
    def _outputs(self) -> Tensor:
        """(members, rows, outputs) of the validation rows."""
        size = self.network.rows_in_cache if self._place.type == "cpu" else CHUNK
        return torch.cat([self.network.forward(self.flat.parameters, x, None) for x in self._val.chunks(size)], 1)

    def release(self, members: Sequence[int]) -> None:
        """Lets those of these go that are over, and drops all others."""
        over = {m for m in members if self.seats[m].is_over}
        for m in sorted(over):
            seat = self.seats[m]
            self._ended(seat, seat.recorder, seat.epoch * self.epoch_steps)
        staying = [m for m in members if m not in over]
        if len(staying) < len(self.seats):
            self._keep(staying)

    def _keep(self, members: list[int]) -> None:
        """Compaction: the others leave no trace in what is computed from here on."""
        self.seats = [self.seats[m] for m in members]
        if not members:
            return
        self._noise = self._noise[members]
        self._train.keep(members)
        self._val.keep(members)
        self.network.keep(members)
        self.flat.keep(members)
        self.regularisers.keep(members)
        self.stepping.keep(members, self.flat.rows)

    def state(self, m: int) -> MemberState:
        """A copy of all that makes one member, between two epochs."""
        seat = self.seats[m]
        optimizer, row = self.stepping.of(m)
        memories = [self.flat.layout.corners(memory, row, seat.shapes) for memory in optimizer.memory]
        weights = self.network.state(m, self.flat.parameters)
        return MemberState(
            epoch=seat.epoch,
            weights={name: value.cpu() for name, value in weights.items()},
            optimizer=seat.member.optimizer[0],
            memory=tuple({name: value.clone().cpu() for name, value in memory.items()} for memory in memories),
            products={name: float(product[row]) for name, product in optimizer.products.items()},
            streams={name: generator.get_state() for name, generator in self._streams(m).items()},
            notes=seat.recorder.notes(),
            lull=seat.lull,
            seconds=seat.seconds,
        )

    def _resume(self, m: int, state: MemberState) -> None:
        """Makes a member what it was; its weights and buffers came with its network."""
        seat = self.seats[m]
        optimizer, row = self.stepping.of(m)
        if state.optimizer != (kind := seat.member.optimizer[0]):
            raise ValueError(
                f"member {seat.member.number} trains by {kind} but starts from a state of {state.optimizer}"
            )
        for memory, values in zip(optimizer.memory, state.memory, strict=True):
            put(self.flat.layout, memory, row, values)
        for name, product in state.products.items():
            optimizer.products[name][row] = product
        for name, generator in self._streams(m).items():
            generator.set_state(state.streams[name])
        seat.recorder.resume(state.notes)
        seat.epoch, seat.lull, seat.seconds = state.epoch, state.lull, state.seconds

    def _streams(self, m: int) -> dict[str, torch.Generator]:
        """A member's generators, by the names of their streams; dropout has none."""
        seat = self.seats[m]
        return {
            "batches": seat.batches.generator,
            "augmentation": seat.augmenter,
            **self.regularisers.streams(m),
        }


class Bursts:
    """An epoch's steps in bursts, as what Lightning takes for batches."""

    def __init__(self, steps: int, length: int = 64) -> None:
        self._ends = [(first, min(first + length, steps)) for first in range(0, steps, length)]

    def __len__(self) -> int:
        return len(self._ends)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self._ends)
