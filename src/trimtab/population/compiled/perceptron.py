"""One member's perceptron as the arrays that `loops.py` works on."""

import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trimtab.data.arrays import Parts, Problem
from trimtab.models.activations import ACTIVATIONS
from trimtab.models.dropout import keys, positions, thresholds
from trimtab.models.mlp import MLP
from trimtab.population.compiled import loops
from trimtab.population.flat import Layout
from trimtab.population.members import Member
from trimtab.population.mlp import hidden_layers, kind_of, parameter_names, rates
from trimtab.population.program import Named
from trimtab.trial import seeds
from trimtab.trial.augmentation import Augmentation
from trimtab.trial.batches import Rows
from trimtab.trial.regularisation import Regularisation, noise, noise_variance

STREAMS: tuple[seeds.Stream, ...] = ("augmentation", "gradient_noise", "weight_noise")
AT_ONCE = 128
"""Validation rows per forward pass, at least: what they need stays in the caches."""

_CPU = torch.device("cpu")
_ACTIVATIONS = {type(activation.module()): loops.ACTIVATIONS.index(name) for name, activation in ACTIVATIONS.items()}
_NONE = np.empty(0, np.float32)


class Perceptron:
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

    def __init__(self, member: Member, model: MLP, parts: Parts[Rows]) -> None:
        names, parameters = parameter_names(model), dict(model.named_parameters())
        self.initial: Named = {ours: parameters[theirs].detach() for ours, theirs in names.items()}
        self.layout = Layout.of({name: tuple(value.shape) for name, value in self.initial.items()})
        self.seconds = 0.0
        self._names, self._seed = names, seeds.signed(member.seed, "noise")
        settings = self._regularisation = member.recipe.regularisation
        self._augmentation, self._rows = member.recipe.augmentation, parts.train
        noisy = settings.weight_noise or settings.gradient_noise
        self._draws = bool(noisy or self._augmentation != Augmentation())
        self.streams: dict[str, torch.Generator] = {name: seeds.generator(member.seed, name) for name in STREAMS}
        decayed = self.layout.weights if settings.decay_on == "weights" else self.layout.size
        self._net = _network(model, self.layout, decayed)
        self._batch = min(int(member.recipe.batch_size), len(parts.train))
        self._dropping = rates(model)
        self._data, self._val = _data(parts.train, parts.problem), parts.val.x.flatten(1).numpy()
        self._knobs = _knobs(member.optimizer[0], settings, self._dropping, self._net, self._batch)
        self._room = _room(self._net, max(self._batch, AT_ONCE), self._dropping)
        self._statistics, self._tracked, running = _statistics(model, int(self._net.units[-1]))
        self._learned = loops.Learned(_NONE, np.zeros(self.layout.size, np.float32), _NONE, _NONE, running)

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
        """(steps, layers) of dropout; a network that keeps its inputs begins to count at its first hidden layer."""
        if not any(self._dropping):
            return np.empty((0, 0), np.int32)
        counts = torch.arange(first, first + steps).unsqueeze(1)
        found = keys(torch.tensor([self._seed]), counts, len(self._net.sizes) - 1)
        return (found if self._dropping[0] else found.roll(1, 1)).numpy()

    def run(self, first: int, stop: int) -> None:
        """Those of these steps that its epoch has."""
        begun, last = time.perf_counter(), min(stop, len(self._epoch.losses))
        if self._draws:
            for step in range(first, last):
                self._drawn(step)
        else:
            loops.train(self._net, self._learned, self._data, self._epoch, self._knobs, self._room, first, last)
        if self._statistics:
            rows = len(self._epoch.order) - self._batch * np.arange(first, last)
            self._tracked += int((np.minimum(rows, self._batch) > 1).sum())  # one row alone has no statistics
        self.seconds += time.perf_counter() - begun

    def _drawn(self, step: int) -> None:
        """One step with what generators draw between its parts, in the order of `trial/regularisation.py`."""
        settings, (row, grad, *_) = self._regularisation, self._learned
        augments, clean = self._augmentation != Augmentation(), row.copy()
        if augments:
            numbers = self._epoch.order[step * self._batch : (step + 1) * self._batch]
            x = self._augmentation(self._rows.x[torch.from_numpy(numbers)], self.streams["augmentation"])
            self._room.x[: x.numel()] = x.flatten().numpy()
        if settings.weight_noise:
            self._add(row, settings.weight_noise, "weight_noise")
        loops.gradient(self._net, self._learned, self._data, self._epoch, self._knobs, self._room, step, augments)
        row[:] = clean
        loops.clip(grad, self._knobs.clip_value, self._knobs.clip_norm)
        if settings.gradient_noise:
            variance = noise_variance(settings.gradient_noise, self._first + step)
            self._add(grad, variance**0.5, "gradient_noise")
        loops.update(self._net, self._learned, self._epoch, self._knobs, step)

    def _add(self, to: loops.Floats, sd: float, stream: str) -> None:
        """Draws as the trial alone does: in the shapes and the order of its module's parameters."""
        views = self.layout.views(torch.from_numpy(to).unsqueeze(0))
        parameters = [views[name][0] for name in self._names]
        drawn = noise(parameters, sd, self.streams[stream])
        for parameter, change in zip(parameters, drawn, strict=True):
            parameter += change

    def losses(self) -> Tensor:
        """(steps,) of the epoch that is over."""
        return torch.from_numpy(self._epoch.losses)

    def outputs(self) -> Tensor:
        """(rows, outputs) of its validation rows."""
        found = np.empty((len(self._val), self._net.sizes[-1]), np.float32)
        loops.outputs(self._net, self._learned, self._val, self._knobs, self._room, found)
        return torch.from_numpy(found)

    def weights(self) -> Named:
        """A copy of weights and buffers as its own module names them."""
        views = self.layout.views(torch.from_numpy(self._learned.row).unsqueeze(0))
        found = {theirs: views[ours][0] for ours, theirs in self._names.items()}
        running = torch.from_numpy(self._learned.running)
        for norm, units in self._statistics.items():
            found[f"{norm}.running_mean"], found[f"{norm}.running_var"] = running[:, units]
            found[f"{norm}.num_batches_tracked"] = torch.tensor(self._tracked)
        return {name: value.clone() for name, value in found.items()}


def _network(model: MLP, layout: Layout, decayed: int) -> loops.Network:
    hidden, starts = hidden_layers(model), layout.starts
    layers, widths = [*map(str, range(len(hidden))), "output"], [layer.linear.out_features for layer in hidden]

    def begins(what: str) -> NDArray[np.int64]:
        return np.array([starts.get(f"{layer}.{what}", -1) for layer in layers])

    return loops.Network(
        sizes=np.array([hidden[0].linear.in_features, *widths, layout.shapes["output.bias"][0]]),
        weights=begins("weight"),
        biases=begins("bias"),
        scales=begins("scale"),
        shifts=begins("shift"),
        units=np.cumsum([0, *widths]),
        activation=_ACTIVATIONS[type(hidden[0].activation)],
        normalisation=loops.NORMALISATIONS.index(kind_of(hidden[0].norm)),
        decayed=decayed,
    )


def _statistics(model: MLP, units: int) -> tuple[dict[str, slice], int, loops.Floats]:
    """Each batch normalisation's units among all hidden ones; batches so far; (2, units) means and variances."""
    found: dict[str, slice] = {}
    tracked, running, start, buffers = 0, np.zeros((2, units), np.float32), 0, dict(model.named_buffers())
    for layer in hidden_layers(model):
        own = slice(start, start + layer.linear.out_features)
        start = own.stop
        if kind_of(layer.norm) == "batch":
            name = f"layers.normalisation_{layer.number}"
            found[name], tracked = own, int(buffers[f"{name}.num_batches_tracked"])
            running[:, own] = [buffers[f"{name}.{what}"].numpy() for what in ("running_mean", "running_var")]
    return found, tracked, running


def _data(train: Rows, problem: Problem) -> loops.Data:
    weights = _NONE
    if problem.task == "classification":
        weights = np.array(problem.class_weights or (1.0,) * problem.outputs, np.float32)
    return loops.Data(train.x.flatten(1).numpy(), train.y.to(torch.float32).numpy(), weights)


def _knobs(
    optimizer: str, settings: Regularisation, dropping: tuple[float, float], net: loops.Network, batch: int
) -> loops.Knobs:
    least, factor = thresholds(torch.tensor(dropping))
    places = (batch, int(net.sizes[:-1].max())) if any(dropping) else (0, 0)

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
        positions=positions(places, _CPU).numpy(),
    )


def _room(net: loops.Network, rows: int, dropping: tuple[float, float]) -> loops.Room:
    units, layers, features, outputs = int(net.units[-1]), len(net.sizes) - 2, int(net.sizes[0]), int(net.sizes[-1])
    of_units, of_inputs = rows * units, rows * features
    normalises = net.normalisation != loops.NONE

    def room(size: int) -> loops.Floats:
        return np.empty(size, np.float32)

    return loops.Room(
        rows=rows,
        x=room(of_inputs),
        z=room(of_units),
        a=room(of_units),
        grad=room(max(of_units, of_inputs if dropping[0] else 0)),
        mask=room(of_units if dropping[1] else 0),
        normal=room(of_units if normalises else 0),
        factor=room(max(units, layers * rows) if normalises else 0),
        out=room(rows * outputs),
    )
