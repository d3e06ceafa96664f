"""The matrix products of the same steps and nothing else, in two processes of one thread each: a lower bound.

Forward and backward products of each layer for a stack of members, into memory that is there already; no activation,
loss, optimizer, batch or validation. The stack has the size that is fastest here.
"""

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from multiprocessing import get_context
from statistics import mean

import torch

from benchmarks.peers.command import Ended, Job, command
from benchmarks.works import CLASSES, Settings

SIZES = (1, 2, 4, 8, 16, 32, 64)
FEW_SIZES = (1, 4, 16)


def step(settings: Settings, features: int, members: int) -> Callable[[], None]:
    """The products of one training step of so many perceptrons."""
    hidden = [settings["model.width"]] * settings["model.depth"]
    sizes = [features, *hidden, CLASSES]
    units = [torch.rand(members, settings["training.batch_size"], size) for size in sizes]
    errors = [torch.rand_like(u) for u in units]
    weights = [torch.rand(members, before, after) for before, after in pairwise(sizes)]
    gradients = [torch.empty_like(w) for w in weights]

    def products() -> None:
        for layer, weight in enumerate(weights):
            torch.bmm(units[layer], weight, out=units[layer + 1])
        for layer, weight in reversed(list(enumerate(weights))):
            torch.bmm(units[layer].mT, errors[layer + 1], out=gradients[layer])
            if layer:  # nobody needs the error of the inputs
                torch.bmm(errors[layer + 1], weight.mT, out=errors[layer])

    return products


def train(job: Job, trials: int) -> list[Ended]:
    settings, features = job.work.first, math.prod(job.data.x.shape[1:])
    members = min(SIZES, key=partial(seconds_per_member, settings, features))
    products = step(settings, features, members)
    steps = -(-len(job.data.x) // settings["training.batch_size"]) * job.epochs
    for _ in range(round(steps * trials / members)):
        products()
    return [Ended(time.time(), math.nan)] * trials


def seconds_per_member(settings: Settings, features: int, members: int, member_steps: int = 256) -> float:
    """Of one step, over so many member-steps after one stack that warms up."""
    products = step(settings, features, members)
    products()
    steps = max(member_steps // members, 1)
    begun = time.perf_counter()
    for _ in range(steps):
        products()
    return (time.perf_counter() - begun) / (steps * members)


def core_seconds(settings: Settings, features: int, rows: int, epochs: int) -> float:
    """What the products of a whole training take one core, in the stack that is fastest; validation is left out."""
    each = min(seconds_per_member(settings, features, members, 64) for members in FEW_SIZES)
    return each * -(-rows // settings["training.batch_size"]) * epochs


def mean_core_seconds(trials: Sequence[Settings], features: int, rows: int, epochs: int) -> float:
    """Of these trials, measured on two cores side by side."""
    with get_context("fork").Pool(2, torch.set_num_threads, (1,)) as pool:
        return mean(pool.starmap(core_seconds, [(t, features, rows, epochs) for t in trials], chunksize=1))


def run(job: Job) -> Sequence[Ended]:
    half = job.trials // 2
    with get_context("fork").Pool(2, torch.set_num_threads, (1,)) as pool:
        ended = pool.map(partial(train, job), [half, job.trials - half], chunksize=1)
    return [end for part in ended for end in part]


if __name__ == "__main__":
    command(run, works="B")
