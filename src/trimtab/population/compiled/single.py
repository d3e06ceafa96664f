"""One member's network as the arrays that `loops.py` works on."""

import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trimtab.data.arrays import Parts
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


class Laid:
    """Rows as the loops go through them; members with the same kind of network share them.

    Args:
        parts: to learn from, and to validate by.
        has_maps: whether neighbours count: channels are the last then.
    """

    def __init__(self, parts: Parts[Rows], has_maps: bool) -> None:
        self._has_maps, problem, y = has_maps, parts.problem, parts.train.y.to(torch.float32).numpy()
        weights = _NONE
        if problem.task == "classification":
            weights = np.array(problem.class_weights or (1.0,) * problem.outputs, np.float32)
        self.data = loops.Data(self.of(parts.train.x).numpy(), np.ascontiguousarray(y), weights)
        self.val = self.of(parts.val.x).numpy()

    def of(self, x: Tensor) -> Tensor:
        """(rows, channels, …) → (rows, numbers of an example)."""
        return (x.movedim(1, -1) if self._has_maps else x).flatten(1).contiguous()  # a table may lie by columns


class Single:
    """A network, its data and its knobs; its row and its optimizer's memory are lent to it.

    Args:
        member: whose it is.
        model: with the weights and buffers to start from.
        parts: what it is trained on.
        laid: the same for its kind of network.

    Attributes:
        layout: of its row.
        initial: its weights at first, by the layout's names.
        streams: its generators, by name; nothing is drawn from those whose knob is off.
        seconds: that its steps took in this epoch.
        rows: the most that go through at once.
        room: memory, see `shared_rooms`.
    """

    room: loops.Room

    def __init__(self, member: Member, model: MLP | CNN, parts: Parts[Rows], laid: Laid) -> None:
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
        self._net = self._chain.network(self.layout, self.layout.decayed(settings.decay_on))
        self._batch = min(int(member.recipe.batch_size), len(parts.train))
        self._laid = laid
        self._knobs = _knobs(member.optimizer[0], settings, self._chain, self._batch)
        self.rows = max(self._batch, self._at_once)
        self._statistics, self._tracked, running = _statistics(model, self._chain)
        self._learned = loops.Learned(_NONE, np.zeros(self.layout.size, np.float32), _NONE, _NONE, running)

    @property
    def _at_once(self) -> int:
        largest = int(self._net.sides.prod(1).max())
        return min(AT_ONCE, max(1, MAPS_AT_ONCE // largest))

    def needs(self) -> dict[str, int]:
        """Numbers in each part of a `loops.Room`."""
        net, rows = self._net, self.rows
        windows, made, pooled, means, before, behind, units = (int(n) for n in net.at[-1])
        last, normalises = int(net.units[-1]), net.normalisation != loops.NONE
        of_a_layer = net.sides.prod(1) * np.maximum(net.units, net.kernel.prod(1) * net.channels)
        return {
            "x": rows * self._laid.data.x.shape[1],
            "windows": rows * windows,
            "z": rows * (made - last),
            "a": rows * (made - last),
            "pooled": rows * pooled,
            "winners": rows * pooled,
            "dropped": rows * pooled if behind else 0,
            "mean": rows * means,
            "normal": rows * (made - last) if normalises else 0,
            "factor": max(units, rows * len(net.units)) if normalises else 0,
            "before": rows * before,
            "behind": rows * behind,
            "grads": rows * int(of_a_layer.max()),
            "out": rows * last,
        }

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
            self.room.x[: x.numel()] = self._laid.of(x).flatten().numpy()
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
        self._run(parts, first, stop, given, _NOTHING, _NOTHING)

    def _run(self, parts: int, first: int, stop: int, given: bool, x: loops.Floats, found: loops.Floats) -> None:
        own = self._net, self._learned, self._laid.data, self._epoch, self._knobs, self.room
        loops.run(*own, parts, first, stop, given, x, found)

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
        found = np.empty((len(self._laid.val), self._net.units[-1]), np.float32)
        self._run(0, 0, 0, False, self._laid.val, found)
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
        if name := of.statistics_of(layer):
            own = slice(int(start), int(start) + layer.units)
            found[name] = own, layer.sides[0] * layer.sides[1]
            tracked[name] = int(buffers[f"{name}.num_batches_tracked"])
            running[:, own] = [buffers[f"{name}.{what}"].numpy() for what in ("running_mean", "running_var")]
    return found, tracked, running


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


def shared_rooms(each: Sequence[Single]) -> None:
    """Gives all of them the same memory, as large as the one that needs most: only one runs at a time."""
    needs = [one.needs() for one in each]
    most = {name: max(need[name] for need in needs) for name in needs[0]}
    numbers = {name: np.empty((2, size) if name == "grads" else size, np.float32) for name, size in most.items()}
    for one in each:
        one.room = loops.Room(rows=one.rows, **numbers)
