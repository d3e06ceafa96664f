"""Steps of one perceptron as plain loops over its numbers, which numba compiles: a step is one call, not fifty.

What torch's calls cost besides their arithmetic is most of a small network's step. Here nothing is called but matrix
products, and what stands between two of them is one pass over numbers that are still in the caches.

All that is compiled lies in this file: numba compiles again when it changes, and would not for another file's sake.
Weights and everything that is learned with them lie in one row per member (see `flat.Layout`). Names are those of
`models/mlp.py`: layer 0 is the first hidden one, and the last is the output.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

ACTIVATIONS = ("identity", "relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid")
IDENTITY, RELU, LEAKY_RELU, ELU, GELU, SILU, TANH, SIGMOID = range(len(ACTIVATIONS))
NORMALISATIONS = ("none", "batch", "layer")
NONE, BATCH, LAYER = range(len(NORMALISATIONS))
OPTIMIZERS = ("sgd", "rmsprop", "adam", "adamw", "nadam")
SGD, RMSPROP, ADAM, ADAMW, NADAM = range(len(OPTIMIZERS))

LEAK, EPS, MOMENTUM = np.float32(0.01), np.float32(1e-5), np.float32(0.1)
"""Slope of leaky ReLU's negative side; torch's defaults of both normalisations."""

_0, _1, _2, _HALF = np.float32(0), np.float32(1), np.float32(2), np.float32(0.5)


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled at its first call, and kept for the next process where there is a place to keep it."""
    try:
        return njit(cache=True, error_model="numpy")(function)
    except RuntimeError:  # neither beside this file nor in the user's cache
        return njit(error_model="numpy")(function)


class Network(NamedTuple):
    """A perceptron, and where in its row each parameter begins.

    Attributes:
        sizes: (layers + 1,) units, from features to outputs.
        weights: (layers,) where W begins, (outputs, inputs) of a layer.
        biases: (layers,) where b begins; -1 where there is none.
        scales: (layers,) of the normalisation, -1 where there is none.
        shifts: likewise.
        units: (layers + 1,) hidden units before a layer.
        activation: number in ACTIVATIONS.
        normalisation: number in NORMALISATIONS.
        decayed: length of the part of the row that decay and penalties act on.
    """

    sizes: Ints
    weights: Ints
    biases: Ints
    scales: Ints
    shifts: Ints
    units: Ints
    activation: int
    normalisation: int
    decayed: int


class Learned(NamedTuple):
    """What training changes; rows of equal length but for the last.

    Attributes:
        row: weights.
        grad: their gradient.
        first: the optimizer's average, or velocity.
        second: the average of squares; empty where the optimizer has none.
        running: (2, units) mean and variance of batch normalisation.
    """

    row: Floats
    grad: Floats
    first: Floats
    second: Floats
    running: Floats


class Data(NamedTuple):
    """What it is trained on.

    Attributes:
        x: (rows, features).
        y: (rows,) class numbers, or standardised targets.
        class_weights: (outputs,); empty for a regression.
    """

    x: Floats
    y: Floats
    class_weights: Floats


class Epoch(NamedTuple):
    """What hangs on the number of a step.

    Attributes:
        order: (rows,) numbers of the rows, batch after batch.
        batch: rows of a batch; the last one may have fewer.
        keys: (steps, layers) of dropout, of the inputs first; empty where nothing drops.
        decay: (steps,) what weight decay leaves of a weight.
        scalars: (steps, …) of the optimizer, see `optimizers.Stacked.scalars`.
        thresholds: (steps,) of the proximal step of L1.
        losses: (steps,) written to.
    """

    order: Ints
    batch: int
    keys: NDArray[np.int32]
    decay: Floats
    scalars: Floats
    thresholds: Floats
    losses: Floats


class Knobs(NamedTuple):
    """Settings that are numbers.

    Attributes:
        optimizer: number in OPTIMIZERS.
        smoothing: share of the target that is spread over all classes.
        l2: see `trial.regularisation.Regularisation`, as for the next three.
        l1: and so on.
        clip_value: infinite where it is off.
        clip_norm: likewise.
        least: (2,) of inputs and hidden units, see `dropout.thresholds`.
        factor: (2,) likewise; 1 where nothing drops.
        positions: (batch, widest) of `dropout.positions`.
    """

    optimizer: int
    smoothing: np.float32
    l2: np.float32
    l1: np.float32
    clip_value: np.float32
    clip_norm: np.float32
    least: Floats
    factor: Floats
    positions: NDArray[np.int32]


class Room(NamedTuple):
    """Memory for what a backward pass needs; layer after layer, each of `rows` rows.

    Attributes:
        rows: the most that go through at once.
        x: inputs.
        z: what the activation is given.
        a: what it makes, after dropout.
        grad: gradients of either.
        mask: of dropout; empty where nothing drops.
        normal: normalised units; empty where nothing normalises.
        factor: 1 / standard deviation, for each unit or row.
        out: outputs.
    """

    rows: int
    x: Floats
    z: Floats
    a: Floats
    grad: Floats
    mask: Floats
    normal: Floats
    factor: Floats
    out: Floats


@_compiled
def exp(x):  # type: ignore[no-untyped-def]
    """e^x within 1e-7 of it (Cephes' expf, Moshier 1989): a loop of it takes several numbers at once."""
    inside = min(max(x, np.float32(-87.3)), np.float32(88.7))
    twos = np.floor(inside * np.float32(1.44269504) + _HALF)
    rest = inside - twos * np.float32(0.693359375) + twos * np.float32(2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * rest + np.float32(1.3981999507e-3)
    p = p * rest + np.float32(8.3334519073e-3)
    p = p * rest + np.float32(4.1665795894e-2)
    p = p * rest + np.float32(1.6666665459e-1)
    p = p * rest + np.float32(5.0000001201e-1)
    power = np.int32((np.int32(twos) + np.int32(127)) << np.int32(23)).view(np.float32)
    return (p * rest * rest + rest + _1) * power if x == x else x


@_compiled
def sigmoid(x):  # type: ignore[no-untyped-def]
    """1 / (1 + e^-x)."""
    return _1 / (_1 + exp(-x))


@_compiled
def tanh(x):  # type: ignore[no-untyped-def]
    """Cephes' tanhf: a polynomial near 0, where the other formula cancels."""
    s = x * x
    p = np.float32(-5.70498872745e-3)
    p = p * s + np.float32(2.06390887954e-2)
    p = p * s - np.float32(5.37397155531e-2)
    p = p * s + np.float32(1.33314422036e-1)
    p = p * s - np.float32(3.33332819422e-1)
    far = _1 - _2 / (exp(_2 * abs(x)) + _1)
    return p * s * x + x if abs(x) < np.float32(0.625) else (far if x > _0 else -far)


@_compiled
def normal_cdf(x):  # type: ignore[no-untyped-def]
    """Φ within 2e-7 of it (Abramowitz & Stegun 1964, 7.1.26)."""
    z = abs(x) * np.float32(0.70710678)
    t = _1 / (_1 + np.float32(0.3275911) * z)
    p = np.float32(1.061405429)
    p = p * t - np.float32(1.453152027)
    p = p * t + np.float32(1.421413741)
    p = p * t - np.float32(0.284496736)
    p = p * t + np.float32(0.254829592)
    tail = _HALF * p * t * exp(-z * z)
    return _1 - tail if x > _0 else tail


@_compiled
def bend(kind, z, a):  # type: ignore[no-untyped-def]
    """a ← activation(z). A number that is none stays so: who diverged must be seen."""
    if kind == RELU:
        for i in range(len(z)):
            a[i] = _0 if z[i] <= _0 else z[i]
    elif kind == LEAKY_RELU:
        for i in range(len(z)):
            a[i] = z[i] if z[i] > _0 else LEAK * z[i]
    elif kind == ELU:
        for i in range(len(z)):
            a[i] = z[i] if z[i] > _0 else exp(z[i]) - _1
    elif kind == GELU:
        for i in range(len(z)):
            a[i] = z[i] * normal_cdf(z[i])
    elif kind == SILU:
        for i in range(len(z)):
            a[i] = z[i] * sigmoid(z[i])
    elif kind == TANH:
        for i in range(len(z)):
            a[i] = tanh(z[i])
    elif kind == SIGMOID:
        for i in range(len(z)):
            a[i] = sigmoid(z[i])
    else:
        a[:] = z


@_compiled
def straighten(kind, z, grad):  # type: ignore[no-untyped-def]
    """grad ← grad · activation'(z)."""
    if kind == RELU:
        for i in range(len(z)):
            grad[i] = grad[i] if z[i] > _0 else _0
    elif kind == LEAKY_RELU:
        for i in range(len(z)):
            grad[i] *= _1 if z[i] > _0 else LEAK
    elif kind == ELU:
        for i in range(len(z)):
            grad[i] *= _1 if z[i] > _0 else exp(z[i])
    elif kind == GELU:
        for i in range(len(z)):
            density = np.float32(0.39894228) * exp(-_HALF * z[i] * z[i])
            grad[i] *= normal_cdf(z[i]) + z[i] * density
    elif kind == SILU:
        for i in range(len(z)):
            s = sigmoid(z[i])
            grad[i] *= s * (_1 + z[i] * (_1 - s))
    elif kind == TANH:
        for i in range(len(z)):
            t = tanh(z[i])
            grad[i] *= _1 - t * t
    elif kind == SIGMOID:
        for i in range(len(z)):
            s = sigmoid(z[i])
            grad[i] *= s * (_1 - s)


@_compiled
def drop(x, mask, key, positions, least, factor):  # type: ignore[no-untyped-def]
    """x ← x · mask, which is kept: `dropout.mask_of`, number by number."""
    rows, units = x.shape
    for r in range(rows):
        for j in range(units):
            h = np.uint32(positions[r, j] ^ key)
            h = np.uint32(h * np.uint32(0x7FEB352D))
            h = np.uint32(h ^ (h >> np.uint32(15)))
            h = np.uint32(h * np.uint32(0x846CA68B))
            mask[r, j] = factor if np.float32(np.int32(h)) >= least else _0
            x[r, j] *= mask[r, j]


@_compiled
def normalise_batch(z, normal, factor, scale, shift, running, training):  # type: ignore[no-untyped-def]
    """z ← scale · (z − mean) / deviation + shift over the batch; of a single row the running statistics count."""
    rows, units = z.shape
    batch = training and rows > 1
    mean = np.zeros(units, np.float32) if batch else running[0]
    var = np.zeros(units, np.float32) if batch else running[1]
    if batch:
        share = _1 / np.float32(rows)
        for r in range(rows):
            for j in range(units):
                mean[j] += z[r, j] * share
        for r in range(rows):
            for j in range(units):
                var[j] += (z[r, j] - mean[j]) * (z[r, j] - mean[j]) * share
        wider = np.float32(rows) / np.float32(rows - 1)
        for j in range(units):
            running[0, j] += MOMENTUM * (mean[j] - running[0, j])
            running[1, j] += MOMENTUM * (var[j] * wider - running[1, j])
    for j in range(units):
        factor[j] = _1 / np.sqrt(var[j] + EPS)
    for r in range(rows):
        for j in range(units):
            normal[r, j] = (z[r, j] - mean[j]) * factor[j]
            z[r, j] = normal[r, j] * scale[j] + shift[j]


@_compiled
def normalise_batch_back(grad, normal, factor, scale, along, across):  # type: ignore[no-untyped-def]
    """grad of the output ← that of the input; sums over the batch are the gradients of shift and scale."""
    rows, units = grad.shape
    along[:] = _0
    across[:] = _0
    for r in range(rows):
        for j in range(units):
            along[j] += grad[r, j]
            across[j] += grad[r, j] * normal[r, j]
    share = _1 / np.float32(rows) if rows > 1 else _0
    for r in range(rows):
        for j in range(units):
            hanging = (along[j] + normal[r, j] * across[j]) * share
            grad[r, j] = (grad[r, j] - hanging) * scale[j] * factor[j]


@_compiled
def normalise_layer(z, normal, factor, scale, shift):  # type: ignore[no-untyped-def]
    """z ← scale · (z − mean) / deviation + shift over the units of each row."""
    rows, units = z.shape
    share = _1 / np.float32(units)
    for r in range(rows):
        mean = _0
        for j in range(units):
            mean += z[r, j] * share
        var = _0
        for j in range(units):
            var += (z[r, j] - mean) * (z[r, j] - mean) * share
        factor[r] = _1 / np.sqrt(var + EPS)
        for j in range(units):
            normal[r, j] = (z[r, j] - mean) * factor[r]
            z[r, j] = normal[r, j] * scale[j] + shift[j]


@_compiled
def normalise_layer_back(grad, normal, factor, scale, along, across):  # type: ignore[no-untyped-def]
    """As `normalise_batch_back`, over the units of each row."""
    rows, units = grad.shape
    along[:] = _0
    across[:] = _0
    share = _1 / np.float32(units)
    for r in range(rows):
        mean, hanging = _0, _0
        for j in range(units):
            along[j] += grad[r, j]
            across[j] += grad[r, j] * normal[r, j]
            grad[r, j] *= scale[j]
            mean += grad[r, j] * share
            hanging += grad[r, j] * normal[r, j] * share
        for j in range(units):
            grad[r, j] = (grad[r, j] - mean - normal[r, j] * hanging) * factor[r]


@_compiled
def _part(array, first, rows, columns):  # type: ignore[no-untyped-def]
    return array[first : first + rows * columns].reshape(rows, columns)


@_compiled
def forward(net, learned, knobs, room, rows, keys, training):  # type: ignore[no-untyped-def]
    """Outputs of the first `rows` inputs in the room, (rows, outputs) there."""
    last = len(net.sizes) - 2
    row, a = learned.row, _part(room.x, 0, rows, net.sizes[0])
    drops = training and len(keys) > 0
    if drops and knobs.factor[0] > _1:
        # Nobody needs this mask again: the inputs have no gradient.
        mask = _part(room.grad, 0, rows, net.sizes[0])
        drop(a, mask, keys[0], knobs.positions, knobs.least[0], knobs.factor[0])
    for layer in range(last):
        inputs, units = net.sizes[layer], net.sizes[layer + 1]
        at = net.units[layer]
        z = _part(room.z, at * room.rows, rows, units)
        np.dot(a, _part(row, net.weights[layer], units, inputs).T, z)
        if net.biases[layer] >= 0:
            bias = row[net.biases[layer] : net.biases[layer] + units]
            for r in range(rows):
                for j in range(units):
                    z[r, j] += bias[j]
        if net.normalisation != NONE:
            scale = row[net.scales[layer] : net.scales[layer] + units]
            shift = row[net.shifts[layer] : net.shifts[layer] + units]
            normal = _part(room.normal, at * room.rows, rows, units)
            if net.normalisation == BATCH:
                running = learned.running[:, at : at + units]
                normalise_batch(z, normal, room.factor[at : at + units], scale, shift, running, training)
            else:
                normalise_layer(z, normal, room.factor[layer * room.rows :], scale, shift)
        a = _part(room.a, at * room.rows, rows, units)
        bend(net.activation, z.reshape(-1), a.reshape(-1))
        if drops and knobs.factor[1] > _1:
            mask = _part(room.mask, at * room.rows, rows, units)
            drop(a, mask, keys[layer + 1], knobs.positions, knobs.least[1], knobs.factor[1])
    inputs, outputs = net.sizes[last], net.sizes[last + 1]
    out = _part(room.out, 0, rows, outputs)
    np.dot(a, _part(row, net.weights[last], outputs, inputs).T, out)
    bias = row[net.biases[last] : net.biases[last] + outputs]
    for r in range(rows):
        for j in range(outputs):
            out[r, j] += bias[j]


@_compiled
def cross_entropy(out, y, numbers, class_weights, smoothing):  # type: ignore[no-untyped-def]
    """The batch's loss as `trial.metrics.data_loss` defines it; outputs become its gradient."""
    rows, classes = out.shape
    total, all_weights = _0, _0
    for r in range(rows):
        total += class_weights[int(y[numbers[r]])]
    for j in range(classes):
        all_weights += class_weights[j]
    own, flat = (_1 - smoothing) / total, smoothing / (total * np.float32(classes))
    loss = 0.0
    for r in range(rows):
        target = int(y[numbers[r]])
        top = out[r, 0]
        for j in range(1, classes):
            top = max(top, out[r, j])
        wanted, weighted, powers = out[r, target] - top, _0, _0
        for j in range(classes):
            weighted += class_weights[j] * (out[r, j] - top)
            out[r, j] = exp(out[r, j] - top)
            powers += out[r, j]
        log = np.log(powers)
        loss += own * class_weights[target] * (log - wanted) + flat * (all_weights * log - weighted)
        share = (own * class_weights[target] + flat * all_weights) / powers
        for j in range(classes):
            out[r, j] = out[r, j] * share - flat * class_weights[j]
        out[r, target] -= own * class_weights[target]
    return np.float32(loss)


@_compiled
def squared_error(out, y, numbers):  # type: ignore[no-untyped-def]
    """Likewise, of a regression."""
    rows = len(out)
    total, share = 0.0, _2 / np.float32(rows)
    for r in range(rows):
        error = out[r, 0] - y[numbers[r]]
        total += error * error
        out[r, 0] = error * share
    return np.float32(total / rows)


@_compiled
def _sum_rows(grad, into):  # type: ignore[no-untyped-def]
    rows, units = grad.shape
    into[:] = _0
    for r in range(rows):
        for j in range(units):
            into[j] += grad[r, j]


@_compiled
def backward(net, learned, knobs, room, rows, drops):  # type: ignore[no-untyped-def]
    """Writes the gradient of every weight from that of the outputs, which lies where they did."""
    last = len(net.sizes) - 2
    row, to = learned.row, learned.grad
    grad = _part(room.out, 0, rows, net.sizes[last + 1])
    for layer in range(last, -1, -1):
        inputs, units = net.sizes[layer], net.sizes[layer + 1]
        given, first = (room.a, net.units[layer - 1] * room.rows) if layer > 0 else (room.x, 0)
        x = _part(given, first, rows, inputs)
        np.dot(grad.T, x, _part(to, net.weights[layer], units, inputs))
        if net.biases[layer] >= 0:
            _sum_rows(grad, to[net.biases[layer] : net.biases[layer] + units])
        if layer == 0:
            return
        below = layer - 1
        at = net.units[below]
        before = _part(room.grad, at * room.rows, rows, inputs)
        np.dot(grad, _part(row, net.weights[layer], units, inputs), before)
        grad = before
        flat = grad.reshape(-1)
        if drops and knobs.factor[1] > _1:
            mask = room.mask[at * room.rows : at * room.rows + rows * inputs]
            for i in range(len(flat)):
                flat[i] *= mask[i]
        straighten(net.activation, room.z[at * room.rows : at * room.rows + rows * inputs], flat)
        if net.normalisation != NONE:
            scale = row[net.scales[below] : net.scales[below] + inputs]
            along = to[net.shifts[below] : net.shifts[below] + inputs]
            across = to[net.scales[below] : net.scales[below] + inputs]
            normal = _part(room.normal, at * room.rows, rows, inputs)
            if net.normalisation == BATCH:
                normalise_batch_back(grad, normal, room.factor[at : at + inputs], scale, along, across)
            else:
                normalise_layer_back(grad, normal, room.factor[below * room.rows :], scale, along, across)


@_compiled
def _penalise(row, grad, l2, l1):  # type: ignore[no-untyped-def]
    if l2 > _0 or l1 > _0:
        for i in range(len(row)):
            grad[i] += l2 * row[i] + l1 * np.sign(row[i])


@_compiled
def clip(grad, value, norm):  # type: ignore[no-untyped-def]
    """Cuts off entries of the gradient, then scales it to the norm as torch's `clip_grad_norm_` does."""
    if value < np.inf:
        for i in range(len(grad)):
            g = grad[i]
            grad[i] = -value if g < -value else (value if g > value else g)
    if norm < np.inf:
        factor = norm / (np.sqrt(np.dot(grad, grad)) + np.float32(1e-6))
        if factor < _1:
            for i in range(len(grad)):
                grad[i] *= factor


@_compiled
def move(kind, row, grad, first, second, decay, s):  # type: ignore[no-untyped-def]
    """One step of the optimizer with its scalars, see `optimizers.py`; weight decay acts on the weight before it."""
    if kind == SGD:
        lr, momentum, nesterov = s[0], s[1], s[2]
        for i in range(len(row)):
            first[i] = first[i] * momentum + grad[i]
            along = grad[i] + momentum * first[i] if nesterov > _0 else first[i]
            row[i] = row[i] * decay - lr * along
    elif kind == RMSPROP:
        lr, alpha, eps = s[0], s[1], s[2]
        for i in range(len(row)):
            first[i] = first[i] * alpha + grad[i] * grad[i] * (_1 - alpha)
            row[i] = row[i] * decay - lr * grad[i] / (np.sqrt(first[i]) + eps)
    elif kind == NADAM:
        by_grad, by_mean, unbiased, beta1, beta2, eps = s[0], s[1], s[2], s[3], s[4], s[5]
        for i in range(len(row)):
            first[i] = first[i] * beta1 + grad[i] * (_1 - beta1)
            second[i] = second[i] * beta2 + grad[i] * grad[i] * (_1 - beta2)
            deviation = np.sqrt(second[i] / unbiased) + eps
            row[i] = row[i] * decay + (by_grad * grad[i] + by_mean * first[i]) / deviation
    else:
        lr, eps, beta1, beta2 = s[0], s[1], s[2], s[3]
        for i in range(len(row)):
            first[i] = first[i] * beta1 + grad[i] * (_1 - beta1)
            second[i] = second[i] * beta2 + grad[i] * grad[i] * (_1 - beta2)
            row[i] = row[i] * decay - lr * first[i] / (np.sqrt(second[i]) + eps)


@_compiled
def _shrink(row, threshold):  # type: ignore[no-untyped-def]
    for i in range(len(row)):
        row[i] = np.sign(row[i]) * max(abs(row[i]) - threshold, _0)


@_compiled
def _gather(x, numbers, room):  # type: ignore[no-untyped-def]
    features = x.shape[1]
    for r in range(len(numbers)):
        room[r * features : (r + 1) * features] = x[numbers[r]]


@_compiled
def gradient(net, learned, data, epoch, knobs, room, step, given):  # type: ignore[no-untyped-def]
    """Loss and gradient of one step, penalties included; inputs that are `given` lie in the room already."""
    drops = len(epoch.keys) > 0
    numbers = epoch.order[step * epoch.batch : (step + 1) * epoch.batch]
    rows = len(numbers)
    if not given:
        _gather(data.x, numbers, room.x)
    forward(net, learned, knobs, room, rows, epoch.keys[step] if drops else epoch.keys.reshape(-1), True)
    out = _part(room.out, 0, rows, net.sizes[-1])
    if len(data.class_weights) > 0:
        epoch.losses[step] = cross_entropy(out, data.y, numbers, data.class_weights, knobs.smoothing)
    else:
        epoch.losses[step] = squared_error(out, data.y, numbers)
    backward(net, learned, knobs, room, rows, drops)
    _penalise(learned.row[: net.decayed], learned.grad, knobs.l2, knobs.l1)


@_compiled
def update(net, learned, epoch, knobs, step):  # type: ignore[no-untyped-def]
    """The optimizer's step, weight decay and the proximal step of L1 included."""
    row, grad, first, second, ends = learned.row, learned.grad, learned.first, learned.second, net.decayed
    scalars = epoch.scalars[step]
    move(knobs.optimizer, row[:ends], grad[:ends], first[:ends], second[:ends], epoch.decay[step], scalars)
    move(knobs.optimizer, row[ends:], grad[ends:], first[ends:], second[ends:], _1, scalars)
    if epoch.thresholds[step] > _0:
        _shrink(row[:ends], epoch.thresholds[step])


@_compiled
def train(net, learned, data, epoch, knobs, room, start, stop):  # type: ignore[no-untyped-def]
    """Steps `start` … `stop` − 1 of an epoch."""
    for step in range(start, stop):
        gradient(net, learned, data, epoch, knobs, room, step, False)
        clip(learned.grad, knobs.clip_value, knobs.clip_norm)
        update(net, learned, epoch, knobs, step)


@_compiled
def outputs(net, learned, x, knobs, room, found):  # type: ignore[no-untyped-def]
    """(rows, features) → (rows, outputs), written to `found`; nothing drops."""
    features, columns = net.sizes[0], net.sizes[-1]
    none = np.empty(0, np.int32)
    for start in range(0, len(x), room.rows):
        rows = min(room.rows, len(x) - start)
        room.x[: rows * features] = x[start : start + rows].reshape(-1)
        forward(net, learned, knobs, room, rows, none, False)
        found[start : start + rows] = _part(room.out, 0, rows, columns)


def ready() -> None:
    """Has numba compile the loops for this machine, or read what it compiled before: a quarter of a minute, or 0.2 s.

    The first call would do so, too; here nobody waits for it who did not ask.
    """
    floats, ints = np.zeros(0, np.float32), np.zeros(2, np.int64)
    net = Network(np.ones(2, np.int64), ints, ints, ints, ints, ints, 0, 0, 0)
    learned = Learned(floats, floats, floats, floats, np.zeros((2, 0), np.float32))
    zero, none = np.float32(0), np.zeros((0, 1), np.float32)
    knobs = Knobs(0, zero, zero, zero, zero, zero, floats, floats, np.zeros((0, 0), np.int32))
    room = Room(1, *(floats for _ in Room._fields[1:]))
    epoch = Epoch(ints, 1, np.zeros((0, 0), np.int32), floats, none, floats, floats)
    train(net, learned, Data(none, floats, floats), epoch, knobs, room, 0, 0)
    outputs(net, learned, none, knobs, room, none)
