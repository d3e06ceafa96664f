"""Steps of one network as plain loops over its numbers, which numba compiles: a step is one call, not fifty.

What torch's calls cost besides their arithmetic is most of a small network's step. Here nothing is called but matrix
products, and what stands between two of them is one pass over numbers that are still in the caches.

A network is a chain of layers, and a layer is: windows of a map – product – normalisation – activation – pooling –
dropout of channels. A dense one has a map of one position, and may drop units of what it is given. Numbers lie as
(examples, height, width, channels); a sequence has a height of 1. The last layer is the output.

All that is compiled lies in this file: numba compiles again when it changes, and would not for another file's sake.
Weights and all that is learned with them lie in one row per member (see `flat.Layout`).
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


_compiled = njit(error_model="numpy")
_within = njit(error_model="numpy", inline="always")
"""Of what is given a whole network or room: to pass it on takes as long as a small product."""


def _kept(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled with all that it calls, and kept for the next process where there is a place to keep it."""
    try:
        return njit(error_model="numpy", cache=True)(function)
    except RuntimeError:  # neither beside this file nor in the user's cache
        return njit(error_model="numpy")(function)


class Network(NamedTuple):
    """Layers, and where in the member's row each parameter begins; arrays are (layers,) unless said otherwise.

    Attributes:
        channels: of the map that a layer is given.
        units: of the map that it makes.
        sides: (layers, 2) height and width of the map that it is given; a product keeps them.
        kernel: (layers, 2) of the window.
        pool: (layers, 2) factor by which each side is pooled.
        means: 1 where it is given the mean over a map's positions, else 0.
        weights: where W begins, (units, kernel · channels).
        biases: where b begins; -1 where there is none.
        scales: of the normalisation; -1 where there is none.
        shifts: likewise.
        activation: number in ACTIVATIONS.
        normalisation: number in NORMALISATIONS.
        decayed: length of the part of the row that decay and penalties act on.
        at: (layers + 1, 7) numbers of one example that lie before a layer's own: of windows, of what it makes, of that
            pooled, of means, of masks before it and behind it; lastly units, whatever the example.
    """

    channels: Ints
    units: Ints
    sides: Ints
    kernel: Ints
    pool: Ints
    means: Ints
    weights: Ints
    biases: Ints
    scales: Ints
    shifts: Ints
    activation: int
    normalisation: int
    decayed: int
    at: Ints


WINDOWS, MADE, POOLED, MEANS, BEFORE, BEHIND, UNITS = range(7)
"""Columns of `Network.at`."""


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
        x: (rows, numbers of an example), channels last.
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
        keys: (steps, layers, 2) of dropout before a layer, and of channels behind it; empty where nothing drops.
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
        least: (layers, 2) as the keys, see `dropout.thresholds`.
        factor: (layers, 2) likewise; 1 where nothing drops.
        positions: (batch, widest) of `dropout.positions`; empty where nothing drops.
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
    """Memory for what a backward pass needs, layer after layer, each of `rows` examples; empty where nothing needs it.

    Attributes:
        rows: the most examples that go through at once.
        x: inputs.
        windows: of maps.
        z: what activations are given.
        a: what they make.
        pooled: of that, where a layer pools.
        winners: numbers, in their fields, of those that pooling took.
        dropped: of that, where channels drop.
        mean: over positions.
        normal: normalised units.
        factor: 1 / standard deviation, of each unit, or of each example.
        before: masks of dropout before layers.
        behind: and behind them.
        grads: (2, …) gradients of a layer at a time.
        out: outputs.
    """

    rows: int
    x: Floats
    windows: Floats
    z: Floats
    a: Floats
    pooled: Floats
    winners: Floats
    dropped: Floats
    mean: Floats
    normal: Floats
    factor: Floats
    before: Floats
    behind: Floats
    grads: Floats
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
def copy(x, out):  # type: ignore[no-untyped-def]
    """out ← x; an assignment of slices takes seconds to compile, for the sentence that it might fail with."""
    for i in range(len(x)):
        out[i] = x[i]


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
        copy(z, a)


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
def draw(mask, key, positions, least, factor):  # type: ignore[no-untyped-def]
    """(rows, units) of what units are multiplied with: `dropout.mask_of`, number by number."""
    rows, units = mask.shape
    for r in range(rows):
        for j in range(units):
            h = np.uint32(positions[r, j] ^ key)
            h = np.uint32(h * np.uint32(0x7FEB352D))
            h = np.uint32(h ^ (h >> np.uint32(15)))
            h = np.uint32(h * np.uint32(0x846CA68B))
            mask[r, j] = factor if np.float32(np.int32(h)) >= least else _0


@_compiled
def times(x, mask, out):  # type: ignore[no-untyped-def]
    """out ← x · mask, of (examples, positions, units) and (examples, units)."""
    examples, positions, units = x.shape
    for e in range(examples):
        for p in range(positions):
            for j in range(units):
                out[e, p, j] = x[e, p, j] * mask[e, j]


@_compiled
def cut(x, kernel, windows):  # type: ignore[no-untyped-def]
    """(examples, height, width, channels) → what lies around each position, zeros beyond the ends."""
    examples, height, width, channels = x.shape
    tall, wide = kernel
    row = 0
    for e in range(examples):
        for i in range(height):
            for j in range(width):
                at = 0
                for di in range(i - tall // 2, i + tall // 2 + 1):
                    for dj in range(j - wide // 2, j + wide // 2 + 1):
                        to = windows[row, at : at + channels]
                        if 0 <= di < height and 0 <= dj < width:
                            for c in range(channels):
                                to[c] = x[e, di, dj, c]
                        else:
                            to[:] = _0
                        at += channels
                row += 1


@_compiled
def cut_back(grad, kernel, into):  # type: ignore[no-untyped-def]
    """The gradient of a map from that of its windows."""
    examples, height, width, channels = into.shape
    tall, wide = kernel
    into[:] = _0
    row = 0
    for e in range(examples):
        for i in range(height):
            for j in range(width):
                at = 0
                for di in range(i - tall // 2, i + tall // 2 + 1):
                    for dj in range(j - wide // 2, j + wide // 2 + 1):
                        if 0 <= di < height and 0 <= dj < width:
                            for c in range(channels):
                                into[e, di, dj, c] += grad[row, at + c]
                        at += channels
                row += 1


@_compiled
def pool(a, factors, pooled, winners):  # type: ignore[no-untyped-def]
    """The largest of each field of neighbours, and the number of the first that is."""
    examples, height, width, units = pooled.shape
    tall, wide = factors
    for e in range(examples):
        for i in range(height):
            for j in range(width):
                best, winner = pooled[e, i, j], winners[e, i, j]
                for u in range(units):
                    best[u] = a[e, i * tall, j * wide, u]
                    winner[u] = _0
                for n in range(1, tall * wide):
                    other, number = a[e, i * tall + n // wide, j * wide + n % wide], np.float32(n)
                    for u in range(units):
                        winner[u] = number if other[u] > best[u] else winner[u]
                        best[u] = other[u] if other[u] > best[u] else best[u]


@_compiled
def pool_back(grad, winners, factors, into):  # type: ignore[no-untyped-def]
    """The gradient goes to the winners."""
    examples, height, width, units = winners.shape
    tall, wide = factors
    if into.shape[1] % tall or into.shape[2] % wide:
        into[:] = _0
    for e in range(examples):
        for i in range(height):
            for j in range(width):
                winner, whole = winners[e, i, j], grad[e, i, j]
                for n in range(tall * wide):
                    to, number = into[e, i * tall + n // wide, j * wide + n % wide], np.float32(n)
                    for u in range(units):
                        to[u] = whole[u] if winner[u] == number else _0


@_compiled
def spread(grad, into):  # type: ignore[no-untyped-def]
    """The gradient of positions from that of their mean."""
    examples, positions, units = into.shape
    share = _1 / np.float32(positions)
    for e in range(examples):
        for p in range(positions):
            for j in range(units):
                into[e, p, j] = grad[e, j] * share


@_compiled
def average(x, mean):  # type: ignore[no-untyped-def]
    """(examples, positions, units) → (examples, units)."""
    examples, positions, units = x.shape
    share = _1 / np.float32(positions)
    mean[:] = _0
    for e in range(examples):
        for p in range(positions):
            for j in range(units):
                mean[e, j] += x[e, p, j] * share


@_compiled
def normalise_batch(z, normal, factor, scale, shift, running, training):  # type: ignore[no-untyped-def]
    """z ← scale · (z − mean) / deviation + shift over the rows; of a single row the running statistics count."""
    rows, units = z.shape
    mean, var = running[0].copy(), running[1].copy()
    if training and rows > 1:
        mean[:] = _0
        var[:] = _0
        share, wider = _1 / np.float32(rows), np.float32(rows) / np.float32(rows - 1)
        for r in range(rows):
            for j in range(units):
                mean[j] += z[r, j] * share
        for r in range(rows):
            for j in range(units):
                var[j] += (z[r, j] - mean[j]) * (z[r, j] - mean[j]) * share
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
    """z ← scale · (z − mean) / deviation + shift over all positions and units of each example."""
    examples, positions, units = z.shape
    share = _1 / np.float32(positions * units)
    for e in range(examples):
        mean = _0
        for p in range(positions):
            for j in range(units):
                mean += z[e, p, j] * share
        var = _0
        for p in range(positions):
            for j in range(units):
                var += (z[e, p, j] - mean) * (z[e, p, j] - mean) * share
        factor[e] = _1 / np.sqrt(var + EPS)
        for p in range(positions):
            for j in range(units):
                normal[e, p, j] = (z[e, p, j] - mean) * factor[e]
                z[e, p, j] = normal[e, p, j] * scale[j] + shift[j]


@_compiled
def normalise_layer_back(grad, normal, factor, scale, along, across):  # type: ignore[no-untyped-def]
    """As `normalise_batch_back`, over all positions and units of each example."""
    examples, positions, units = grad.shape
    along[:] = _0
    across[:] = _0
    share = _1 / np.float32(positions * units)
    for e in range(examples):
        mean, hanging = _0, _0
        for p in range(positions):
            for j in range(units):
                along[j] += grad[e, p, j]
                across[j] += grad[e, p, j] * normal[e, p, j]
                grad[e, p, j] *= scale[j]
                mean += grad[e, p, j] * share
                hanging += grad[e, p, j] * normal[e, p, j] * share
        for p in range(positions):
            for j in range(units):
                grad[e, p, j] = (grad[e, p, j] - mean - normal[e, p, j] * hanging) * factor[e]


@_compiled
def _part(array, first, rows, columns):  # type: ignore[no-untyped-def]
    return array[first : first + rows * columns].reshape(rows, columns)


@_compiled
def _cube(array, first, examples, positions, units):  # type: ignore[no-untyped-def]
    return array[first : first + examples * positions * units].reshape(examples, positions, units)


@_compiled
def _maps(array, first, examples, sides, channels):  # type: ignore[no-untyped-def]
    height, width = sides[0], sides[1]
    return array[first : first + examples * height * width * channels].reshape(examples, height, width, channels)


@_within
def _output(net, knobs, room, layer):  # type: ignore[no-untyped-def]
    """What lies where a layer leaves it, and its first number; of the layer before the first, the inputs."""
    if layer < 0:
        return room.x, 0
    if knobs.factor[layer, 1] > _1:
        return room.dropped, net.at[layer, POOLED] * room.rows
    if net.pool[layer, 0] * net.pool[layer, 1] > 1:
        return room.pooled, net.at[layer, POOLED] * room.rows
    return room.a, net.at[layer, MADE] * room.rows


@_within
def _input(net, knobs, room, layer):  # type: ignore[no-untyped-def]
    """Likewise, what a layer multiplies its weights with."""
    if net.kernel[layer, 0] * net.kernel[layer, 1] > 1:
        return room.windows, net.at[layer, WINDOWS] * room.rows
    if net.means[layer] > 0:
        return room.mean, net.at[layer, MEANS] * room.rows
    return _output(net, knobs, room, layer - 1)


@_compiled
def forward(net, learned, knobs, room, examples, keys, training):  # type: ignore[no-untyped-def]
    """Outputs of the first inputs in the room, which lie there then."""
    last, row, drops = len(net.units) - 1, learned.row, training and len(keys) > 0
    for layer in range(last + 1):
        channels, units, sides, kernel = net.channels[layer], net.units[layer], net.sides[layer], net.kernel[layer]
        positions, inputs = sides[0] * sides[1], kernel[0] * kernel[1] * channels
        rows = examples * positions
        source, first = _output(net, knobs, room, layer - 1)
        given, start = _input(net, knobs, room, layer)
        x = _part(given, start, rows, inputs)
        if kernel[0] * kernel[1] > 1:
            cut(_maps(source, first, examples, sides, channels), kernel, x)
        elif net.means[layer] > 0:
            fields = (net.sides[layer - 1, 0] // net.pool[layer - 1, 0]) * (
                net.sides[layer - 1, 1] // net.pool[layer - 1, 1]
            )
            average(_cube(source, first, examples, fields, channels), x)
        if drops and knobs.factor[layer, 0] > _1:
            mask = _part(room.before, net.at[layer, BEFORE] * room.rows, rows, inputs)
            draw(mask, keys[layer, 0], knobs.positions, knobs.least[layer, 0], knobs.factor[layer, 0])
            for i in range(rows):
                for j in range(inputs):
                    x[i, j] *= mask[i, j]
        made = net.at[layer, MADE] * room.rows
        z = _part(room.z, made, rows, units) if layer < last else _part(room.out, 0, rows, units)
        np.dot(x, _part(row, net.weights[layer], units, inputs).T, z)
        if net.biases[layer] >= 0:
            bias = row[net.biases[layer] : net.biases[layer] + units]
            for i in range(rows):
                for j in range(units):
                    z[i, j] += bias[j]
        if layer == last:
            return
        if net.normalisation != NONE:
            scale = row[net.scales[layer] : net.scales[layer] + units]
            shift = row[net.shifts[layer] : net.shifts[layer] + units]
            normal = _part(room.normal, made, rows, units)
            if net.normalisation == BATCH:
                own = net.at[layer, UNITS]
                factor, running = room.factor[own : own + units], learned.running[:, own : own + units]
                normalise_batch(z, normal, factor, scale, shift, running, training)
            else:
                cubes = z.reshape(examples, positions, units), normal.reshape(examples, positions, units)
                normalise_layer(cubes[0], cubes[1], room.factor[layer * room.rows :], scale, shift)
        bend(net.activation, z.reshape(-1), room.a[made : made + rows * units])
        fields, pooled, pools = (
            positions,
            net.at[layer, POOLED] * room.rows,
            net.pool[layer, 0] * net.pool[layer, 1] > 1,
        )
        if pools:
            smaller = sides // net.pool[layer]
            fields = smaller[0] * smaller[1]
            pool(
                _maps(room.a, made, examples, sides, units),
                net.pool[layer],
                _maps(room.pooled, pooled, examples, smaller, units),
                _maps(room.winners, pooled, examples, smaller, units),
            )
        if knobs.factor[layer, 1] > _1:
            source, first = (room.pooled, pooled) if pools else (room.a, made)
            of = _cube(source, first, examples, fields, units)
            to = _cube(room.dropped, pooled, examples, fields, units)
            if drops:
                mask = _part(room.behind, net.at[layer, BEHIND] * room.rows, examples, units)
                draw(mask, keys[layer, 1], knobs.positions, knobs.least[layer, 1], knobs.factor[layer, 1])
                times(of, mask, to)
            else:
                copy(of.reshape(-1), to.reshape(-1))


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
def backward(net, learned, knobs, room, examples, drops):  # type: ignore[no-untyped-def]
    """Writes the gradient of every weight from that of the outputs, which lies where they did."""
    last, row, to = len(net.units) - 1, learned.row, learned.grad
    here, there = room.grads[0], room.grads[1]
    grad = _part(room.out, 0, examples, net.units[last])
    for layer in range(last, -1, -1):
        channels, units, sides, kernel = net.channels[layer], net.units[layer], net.sides[layer], net.kernel[layer]
        inputs = kernel[0] * kernel[1] * channels
        rows = examples * sides[0] * sides[1]
        given, start = _input(net, knobs, room, layer)
        x = _part(given, start, rows, inputs)
        np.dot(grad.T, x, _part(to, net.weights[layer], units, inputs))
        if net.biases[layer] >= 0:
            _sum_rows(grad, to[net.biases[layer] : net.biases[layer] + units])
        if layer == 0:
            return
        of_input = _part(there, 0, rows, inputs)
        np.dot(grad, _part(row, net.weights[layer], units, inputs), of_input)
        here, there = there, here
        if drops and knobs.factor[layer, 0] > _1:
            mask = _part(room.before, net.at[layer, BEFORE] * room.rows, rows, inputs)
            for i in range(rows):
                for j in range(inputs):
                    of_input[i, j] *= mask[i, j]
        # `here` has the gradient of what the layer was given; from now on `layer` is the one before.
        below = layer - 1
        fields = net.sides[below] // net.pool[below]
        numbers = examples * fields[0] * fields[1] * channels
        if kernel[0] * kernel[1] > 1:
            cut_back(of_input, kernel, _maps(there, 0, examples, sides, channels))
            here, there = there, here
        elif net.means[layer] > 0:
            spread(of_input, _cube(there, 0, examples, fields[0] * fields[1], channels))
            here, there = there, here
        if drops and knobs.factor[below, 1] > _1:
            mask = _part(room.behind, net.at[below, BEHIND] * room.rows, examples, channels)
            whole = _cube(here, 0, examples, fields[0] * fields[1], channels)
            times(whole, mask, whole)
        made, positions = net.at[below, MADE] * room.rows, net.sides[below, 0] * net.sides[below, 1]
        if net.pool[below, 0] * net.pool[below, 1] > 1:
            pool_back(
                _maps(here, 0, examples, fields, channels),
                _maps(room.winners, net.at[below, POOLED] * room.rows, examples, fields, channels),
                net.pool[below],
                _maps(there, 0, examples, net.sides[below], channels),
            )
            here, there = there, here
            numbers = examples * positions * channels
        straighten(net.activation, room.z[made : made + numbers], here[:numbers])
        grad = _part(here, 0, examples * positions, channels)
        if net.normalisation != NONE:
            scale = row[net.scales[below] : net.scales[below] + channels]
            along = to[net.shifts[below] : net.shifts[below] + channels]
            across = to[net.scales[below] : net.scales[below] + channels]
            normal = _part(room.normal, made, examples * positions, channels)
            if net.normalisation == BATCH:
                own = net.at[below, UNITS]
                normalise_batch_back(grad, normal, room.factor[own : own + channels], scale, along, across)
            else:
                cubes = grad.reshape(examples, positions, channels), normal.reshape(examples, positions, channels)
                normalise_layer_back(cubes[0], cubes[1], room.factor[below * room.rows :], scale, along, across)


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
        copy(x[numbers[r]], room[r * features :])


@_compiled
def gradient(net, learned, data, epoch, knobs, room, step, given):  # type: ignore[no-untyped-def]
    """Loss and gradient of one step, penalties included; inputs that are `given` lie in the room already."""
    drops = len(epoch.keys) > 0
    numbers = epoch.order[step * epoch.batch : (step + 1) * epoch.batch]
    rows = len(numbers)
    if not given:
        _gather(data.x, numbers, room.x)
    forward(net, learned, knobs, room, rows, epoch.keys[step] if drops else epoch.keys.reshape(0, 2), True)
    out = _part(room.out, 0, rows, net.units[-1])
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


GRADIENT, CLIP, UPDATE = 1, 2, 4
"""Parts of a step, to be added up."""


@_kept
def run(net, learned, data, epoch, knobs, room, parts, start, stop, given, x, found):  # type: ignore[no-untyped-def]
    """Steps `start` … `stop` − 1 of an epoch, and outputs: all in one, since compiling takes longer than running.

    Args:
        net: see its class, as for the next five.
        learned: changed.
        data: to learn from.
        epoch: its losses are written to.
        knobs: of training.
        room: used.
        parts: of each step, 0 … 7.
        start: number of the first step.
        stop: of the last one but one.
        given: whether inputs lie in the room already.
        x: (rows, numbers of an example) whose outputs are wanted; nothing drops.
        found: (rows, outputs) written to.
    """
    for step in range(start, stop):
        if parts & GRADIENT:
            gradient(net, learned, data, epoch, knobs, room, step, given)
        if parts & CLIP:
            clip(learned.grad, knobs.clip_value, knobs.clip_norm)
        if parts & UPDATE:
            update(net, learned, epoch, knobs, step)
    none = np.empty((0, 2), np.int32)
    for first in range(0, len(x), room.rows):
        rows = min(room.rows, len(x) - first)
        copy(x[first : first + rows].reshape(-1), room.x)
        forward(net, learned, knobs, room, rows, none, False)
        copy(room.out[: rows * found.shape[1]], found[first : first + rows].reshape(-1))


def ready() -> None:
    """Has numba compile the loops for this machine, or read what it compiled before: a third of a minute, or 0.2 s.

    The first call would do so, too; here nobody waits for it who did not ask.
    """
    floats, one, two = np.zeros(0, np.float32), np.ones(1, np.int64), np.ones((1, 2), np.int64)
    net = Network(one, one, two, two, two, one, one, one, one, one, 0, 0, 0, np.zeros((2, 7), np.int64))
    learned = Learned(floats, floats, floats, floats, np.zeros((2, 0), np.float32))
    zero, none = np.float32(0), np.zeros((0, 1), np.float32)
    knobs = Knobs(0, zero, zero, zero, zero, zero, none, none, np.zeros((0, 0), np.int32))
    room = Room(1, *(floats,) * 12, none, floats)
    epoch = Epoch(one, 1, np.zeros((0, 0, 2), np.int32), floats, none, floats, floats)
    run(net, learned, Data(none, floats, floats), epoch, knobs, room, 0, 0, 0, False, none, none)
