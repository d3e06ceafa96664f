"""A stack as one tensor program: each step is one forward and one backward pass for all members.

Members' losses are never mixed: the gradient of one with respect to another's weights is 0.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from trimtab.data.arrays import Parts
from trimtab.models.dropout import keys
from trimtab.population.feed import Feed
from trimtab.population.flat import Flat
from trimtab.population.losses import Loss
from trimtab.population.members import Member
from trimtab.population.network import Network, network
from trimtab.population.optimizers import Optimizers
from trimtab.population.program import Named
from trimtab.population.regularisation import Regularisers
from trimtab.population.rows import Joined
from trimtab.population.state import MemberState
from trimtab.trial import seeds
from trimtab.trial.augmentation import Augmentation
from trimtab.trial.batches import Rows

CHUNK = 4096
"""Validation rows of each member per forward pass; on a CPU as few as the network says."""


class Tensors:
    """A `Program` for members of one company (see `members.company`), sorted so that neighbours are alike.

    Args:
        members: with one network each.
        models: their networks, with the weights and buffers to start from.
        parts: what each is trained on; of equal lengths, and one loss fits all.
    """

    def __init__(self, members: Sequence[Member], models: Sequence[nn.Module], parts: Sequence[Parts[Rows]]) -> None:
        self._train, self._val = Joined([p.train for p in parts]), Joined([p.val for p in parts])
        self._problem, self._batch = parts[0].problem, int(members[0].recipe.batch_size)
        place = self._place = parts[0].train.x.device
        self.network: Network = network(models, place)
        self.flat = Flat(self.network.layout, len(members), place)
        own = [self.network.load(m) for m in range(len(members))]
        for m, weights in enumerate(own):
            self.flat.fill(m, weights)
        self.stepping = Optimizers([m.optimizer for m in members], self.flat.rows)
        self._shapes = [{name: tuple(w.shape) for name, w in weights.items()} for weights in own]
        self.regularisers = Regularisers(
            [m.recipe.regularisation for m in members], [m.seed for m in members], self._shapes, self.flat.layout, place
        )
        self._noise = torch.tensor([seeds.signed(m.seed, "noise") for m in members], device=place)
        self._augmented = [(m.recipe.augmentation, seeds.generator(m.seed, "augmentation")) for m in members]
        self._augments = any(augmentation != Augmentation() for augmentation, _ in self._augmented)

    @property
    def rates(self) -> list[float]:
        """See `Program`."""
        return self.stepping.rates

    def threads(self, number: int) -> AbstractContextManager[Any]:
        """See `Program`: torch's own setting is all there is."""
        return nullcontext()

    def begin(self, first: Sequence[int], factors: Sequence[Sequence[float]], orders: Sequence[Tensor]) -> None:
        """Works out all that hangs on the number of a step alone."""
        self._first, places, steps = first, self.network.places, torch.arange(len(factors[0]), device=self._place)
        counts = steps[:, None, None] + torch.tensor(first, device=self._place).unsqueeze(1)
        self.network.begin(keys(self._noise, counts, places) if places else None)
        self._batches = Feed(self._train.rows, self._train.numbers(torch.stack(list(orders))), self._batch)
        self._factors = torch.tensor(factors, device=self._place).T.unsqueeze(2)
        self.stepping.begin(self.flat.grads, self._factors, self.regularisers.decayed)
        self._loss = Loss(self._problem, self.regularisers.smoothing, len(first), self._place)
        self._losses: list[Tensor] = []

    @torch.no_grad()
    def run(self, first: int, stop: int) -> None:
        """See `Program`; what autograd is needed for says so itself."""
        for step in range(first, stop):
            self._step(step)

    def _step(self, step: int) -> None:
        x, y = self._batches[step]
        if self.network.adds:
            self.flat.grads.zero_()
        acts = self.regularisers.act
        if acts:
            self.regularisers.before(self.flat)
        outputs = self.network.forward(self.flat.parameters, self._changed(x), step)
        losses, grad = self._loss(outputs, y)
        self.network.backward(grad)
        self._losses.append(losses)
        if acts:
            self.regularisers.between(self.flat, self._first, step)
        self.stepping.step(step)
        if acts:
            self.regularisers.after(self.flat, self.stepping.lr * self._factors[step])

    def _changed(self, x: Tensor) -> Tensor:
        """A loop over members that augment: their draws must be those of each alone."""
        if not self._augments:
            return x
        pairs = zip(self._augmented, x, strict=True)
        return torch.stack([augmentation(rows, generator) for (augmentation, generator), rows in pairs])

    def losses(self) -> list[Tensor]:
        """See `Program`."""
        return list(torch.stack(self._losses).cpu().unbind(1))

    def shares(self) -> list[float]:
        """See `Program`: nobody can say whose time it was."""
        return [1 / len(self._shapes)] * len(self._shapes)

    @torch.no_grad()
    def outputs(self) -> list[Tensor]:
        """See `Program`."""
        size = self.network.rows_in_cache if self._place.type == "cpu" else CHUNK
        chunks = [self.network.forward(self.flat.parameters, x, None) for x in self._val.chunks(size)]
        return list(torch.cat(chunks, 1))

    def weights(self, member: int) -> Named:
        """See `Program`."""
        return self.network.state(member, self.flat.parameters)

    def memory(self, member: int) -> tuple[tuple[Named, ...], dict[str, float]]:
        """See `Program`."""
        return self.stepping.remembered(member, self.flat.layout, self._shapes[member])

    def streams(self, member: int) -> dict[str, torch.Generator]:
        """See `Program`."""
        return {"augmentation": self._augmented[member][1], **self.regularisers.streams(member)}

    def resume(self, member: int, state: MemberState) -> None:
        """See `Program`."""
        self.stepping.resume(member, self.flat.layout, state)

    def keep(self, members: Sequence[int]) -> None:
        """See `Program`."""
        self._shapes = [self._shapes[m] for m in members]
        self._augmented = [self._augmented[m] for m in members]
        self._noise = self._noise[list(members)]
        self._train.keep(members)
        self._val.keep(members)
        self.network.keep(members)
        self.flat.keep(members)
        self.regularisers.keep(members)
        self.stepping.keep(members, self.flat.rows)
