"""One member's network as the arrays that `loops.py` works on."""

import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trimtab.data.arrays import Parts, Problem
from trimtab.models.cnn import CNN
from trimtab.models.dropout import keys, positions, thresholds
from trimtab.models.mlp import MLP
from trimtab.population.compiled import loops
from trimtab.population.compiled.networks import Chain, chain
from trimtab.population.flat import Layout
from trimtab.population.members import Member
from trimtab.population.program import Named
from trimtab.trial import seeds
from trimtab.trial.augmentation import Augmentation
from trimtab.trial.batches import Rows
from trimtab.trial.regularisation import Regularisation, noise, noise_variance

STREAMS: tuple[seeds.Stream, ...] = ("augmentation", "gradient_noise", "weight_noise")
AT_ONCE = 128
"""Rows of validation that go through at once, fewer of maps: what they need stays in the caches."""
MAPS_AT_ONCE = 2_048
"""Positions of so many, then."""

_CPU = torch.device("cpu")
_NONE, _NOTHING = np.empty(0, np.float32), np.empty((0, 0), np.float32)


class Single:
    """A network, its data and its knobs; its row and its optimizer's memory are lent to it.

    Args:
        member: whose it is.
        model: with the weights and buffers to start from.
        parts: what it is trained on.

    Attributes:
        layout: of its row.
        initial: its weights at first, by the layout's names.
        streams: its generators, by name; nothing is drawn from those whose knob is off.
        seconds: that its steps took in this epoch.
    """

    def __init__(self, member: Member, model: MLP | CNN, parts: Parts[Rows]) -> None:
        self._chain, parameters = chain(model), dict(model.named_parameters())
        self.initial: Named = {ours: parameters[theirs].detach() for ours, theirs in self._chain.names.items()}
        shapes = {name: tuple(value.shape) for name, value in self.initial.items()}
        self.layout = Layout.of(shapes, channels_last=[name for name, shape in shapes.items() if len(shape) > 2])
        self.seconds = 0.0
        self._seed = torch.tensor([seeds.signed(member.seed, "noise")])
        settings = self._regularisation = member.recipe.regularisation
        self._augmentation, self._rows = member.recipe.augmentation, parts.train
        noisy = settings.weight_noise or settings.gradient_noise
        self._draws = bool(noisy or self._augmentation != Augmentation())
        self.streams: dict[str, torch.Generator] = {name: seeds.generator(member.seed, name) for name in STREAMS}
        decayed = self.layout.weights if settings.decay_on == "weights" else self.layout.size
        self._net = self._chain.network(self.layout, decayed)
        self._batch = min(int(member.recipe.batch_size), len(parts.train))
        self._data, self._val = (
            _data(self._laid(parts.train.x), parts.train.y, parts.problem),
            self._laid(parts.val.x).numpy(),
        )
        self._knobs = _knobs(member.optimizer[0], settings, self._chain, self._batch)
        self._room = _room(self._net, max(self._batch, self._at_once), self._data.x.shape[1])
        self._statistics, self._tracked, running = _statistics(model, self._chain)
        self._learned = loops.Learned(_NONE, np.zeros(self.layout.size, np.float32), _NONE, _NONE, running)

    @property
    def _at_once(self) -> int:
        largest = int(self._net.sides.prod(1).max())
        return min(AT_ONCE, max(1, MAPS_AT_ONCE // largest))

    def _laid(self, x: Tensor) -> Tensor:
        """(rows, channels, …) → (rows, numbers of an example) as the loops go through them: maps channels last."""
        return (x.movedim(1, -1) if self._chain.has_maps else x).flatten(1)

    def lend(self, row: Tensor, memory: Sequence[Tensor]) -> None:
        """Says where its weights lie from now on, and what its optimizer remembers."""
        size, first, *second = self.layout.size, *memory
        self._learned = self._learned._replace(
            row=row.numpy()[:size],
            first=first.numpy()[:size],
            second=second[0].numpy()[:size] if second else _NONE,
        )

    def begin(
        self, first: int, order: Tensor, factors: Sequence[float], lr: float, decay: Tensor, scalars: Tensor
    ) -> None:
        """An epoch begins, see `Program.begin`; `decay` and `scalars` may be of more steps than it takes."""
        self.seconds, self._first, steps = 0.0, first, len(factors)
        self._epoch = loops.Epoch(
            order=order.numpy(),
            batch=self._batch,
            keys=self._keys(first, steps),
            decay=decay[:steps].numpy(),
            scalars=scalars[:steps].numpy(),
            thresholds=np.array(factors, np.float32) * np.float32(lr * self._regularisation.l1_proximal),
            losses=np.empty(steps, np.float32),
        )

    def _keys(self, first: int, steps: int) -> NDArray[np.int32]:
        """(steps, layers, 2) of dropout."""
        if not self._chain.drops.any():
            return np.empty((0, 0, 2), np.int32)
        drawn = keys(self._seed, torch.arange(first, first + steps).unsqueeze(1), self._chain.places).numpy()
        places = np.array([[layer.before.place, layer.behind.place] for layer in self._chain.layers])
        return np.ascontiguousarray(drawn[:, places.clip(max=self._chain.places - 1)])

    def run(self, first: int, stop: int) -> None:
        """Those of these steps that its epoch has."""
        begun, last = time.perf_counter(), min(stop, len(self._epoch.losses))
        if self._draws:
            for step in range(first, last):
                self._drawn(step)
        else:
            self._steps(loops.GRADIENT | loops.CLIP | loops.UPDATE, first, last)
        if self._statistics:
            rows = np.minimum(len(self._epoch.order) - self._batch * np.arange(first, last), self._batch)
            for name, (_, of_one) in self._statistics.items():
                self._tracked[name] += int((rows * of_one > 1).sum())  # a single value has no statistics
        self.seconds += time.perf_counter() - begun

    def _drawn(self, step: int) -> None:
        """One step with what generators draw between its parts, in the order of `trial/regularisation.py`."""
        settings, (row, grad, *_) = self._regularisation, self._learned
        augments, clean = self._augmentation != Augmentation(), row.copy()
        if augments:
            numbers = self._epoch.order[step * self._batch : (step + 1) * self._batch]
            x = self._augmentation(self._rows.x[torch.from_numpy(numbers)], self.streams["augmentation"])
            self._room.x[: x.numel()] = self._laid(x).flatten().numpy()
        if settings.weight_noise:
            self._add(row, settings.weight_noise, "weight_noise")
        self._steps(loops.GRADIENT, step, step + 1, given=augments)
        row[:] = clean
        self._steps(loops.CLIP, step, step + 1)
        if settings.gradient_noise:
            variance = noise_variance(settings.gradient_noise, self._first + step)
            self._add(grad, variance**0.5, "gradient_noise")
        self._steps(loops.UPDATE, step, step + 1)

    def _steps(self, parts: int, first: int, stop: int, *, given: bool = False) -> None:
        own = self._net, self._learned, self._data, self._epoch, self._knobs, self._room
        loops.run(*own, parts, first, stop, given, _NOTHING, _NOTHING)

    def _add(self, to: loops.Floats, sd: float, stream: str) -> None:
        """Draws as the trial alone does: in the shapes and the order of its module's parameters."""
        views = self.layout.views(torch.from_numpy(to).unsqueeze(0))
        parameters = [views[name][0] for name in self._chain.names]
        drawn = noise(parameters, sd, self.streams[stream])
        for parameter, change in zip(parameters, drawn, strict=True):
            parameter += change

    def losses(self) -> Tensor:
        """(steps,) of the epoch that is over."""
        return torch.from_numpy(self._epoch.losses)

    def outputs(self) -> Tensor:
        """(rows, outputs) of its validation rows."""
        found = np.empty((len(self._val), self._net.units[-1]), np.float32)
        own = self._net, self._learned, self._data, self._epoch, self._knobs, self._room
        loops.run(*own, 0, 0, 0, False, self._val, found)
        return torch.from_numpy(found)

    def weights(self) -> Named:
        """A copy of weights and buffers as its own module names them."""
        views = self.layout.views(torch.from_numpy(self._learned.row).unsqueeze(0))
        found = {theirs: views[ours][0] for ours, theirs in self._chain.names.items()}
        running = torch.from_numpy(self._learned.running)
        for norm, (units, _) in self._statistics.items():
            found[f"{norm}.running_mean"], found[f"{norm}.running_var"] = running[:, units]
            found[f"{norm}.num_batches_tracked"] = torch.tensor(self._tracked[norm])
        return {name: value.clone(memory_format=torch.contiguous_format) for name, value in found.items()}


def _statistics(model: MLP | CNN, of: Chain) -> tuple[dict[str, tuple[slice, int]], dict[str, int], loops.Floats]:
    """Of each batch normalisation: its units among all, and values that an example gives a unit; batches so far.

    Lastly (2, units) means and variances.
    """
    found, tracked, buffers = {}, {}, dict(model.named_buffers())
    starts = of.at()[:, loops.UNITS]
    running = np.zeros((2, starts[-1]), np.float32)
    for layer, start in zip(of.layers, starts, strict=False):
        if name := layer.statistics:
            own = slice(int(start), int(start) + layer.units)
            found[name] = own, layer.sides[0] * layer.sides[1]
            tracked[name] = int(buffers[f"{name}.num_batches_tracked"])
            running[:, own] = [buffers[f"{name}.{what}"].numpy() for what in ("running_mean", "running_var")]
    return found, tracked, running


def _data(x: Tensor, y: Tensor, problem: Problem) -> loops.Data:
    weights = _NONE
    if problem.task == "classification":
        weights = np.array(problem.class_weights or (1.0,) * problem.outputs, np.float32)
    return loops.Data(x.numpy(), y.to(torch.float32).numpy(), weights)


def _knobs(optimizer: str, settings: Regularisation, of: Chain, batch: int) -> loops.Knobs:
    least, factor = thresholds(torch.from_numpy(of.drops))

    def number(value: float | None) -> np.float32:
        return np.float32(np.inf if value is None else value)

    return loops.Knobs(
        optimizer=loops.OPTIMIZERS.index(optimizer),
        smoothing=number(settings.label_smoothing),
        l2=number(settings.l2),
        l1=number(settings.l1),
        clip_value=number(settings.clip_value),
        clip_norm=number(settings.clip_norm),
        least=least.numpy(),
        factor=factor.numpy(),
        positions=positions((batch, of.widest) if of.drops.any() else (0, 0), _CPU).numpy(),
    )


def _room(net: loops.Network, rows: int, inputs: int) -> loops.Room:
    def room(numbers: int) -> loops.Floats:
        return np.empty(rows * numbers, np.float32)

    windows, made, pooled, means, before, behind, units = (int(n) for n in net.at[-1])
    last = int(net.units[-1])
    normalises = net.normalisation != loops.NONE
    of_a_layer = net.sides.prod(1) * np.maximum(net.units, net.kernel.prod(1) * net.channels)
    return loops.Room(
        rows=rows,
        x=room(inputs),
        windows=room(windows),
        z=room(made - last),
        a=room(made - last),
        pooled=room(pooled),
        winners=room(pooled),
        dropped=room(pooled if behind else 0),
        mean=room(means),
        normal=room(made - last if normalises else 0),
        factor=np.empty(max(units, rows * len(net.units)) if normalises else 0, np.float32),
        before=room(before),
        behind=room(behind),
        grads=np.empty((2, rows * int(of_a_layer.max())), np.float32),
        out=room(last),
    )
