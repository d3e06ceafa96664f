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

import torch

from benchmarks.peers.command import Ended, Job, command
from benchmarks.works import CLASSES

SIZES = (1, 2, 4, 8, 16, 32, 64)


def step(job: Job, members: int) -> Callable[[], None]:
    """The products of one training step of so many members."""
    first = job.work.first
    hidden = [first["model.width"]] * first["model.depth"]
    sizes = [math.prod(job.data.x.shape[1:]), *hidden, CLASSES]
    units = [torch.rand(members, first["training.batch_size"], size) for size in sizes]
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
    members = min(SIZES, key=partial(seconds_per_member, job))
    products = step(job, members)
    steps = -(-len(job.data.x) // job.work.first["training.batch_size"]) * job.epochs
    for _ in range(round(steps * trials / members)):
        products()
    return [(time.time(), math.nan)] * trials


def seconds_per_member(job: Job, members: int) -> float:
    """Of one step, over 256 member-steps after one stack that warms up."""
    products = step(job, members)
    products()
    begun = time.perf_counter()
    for _ in range(256 // members):
        products()
    return (time.perf_counter() - begun) / 256


def run(job: Job) -> Sequence[Ended]:
    half = job.trials // 2
    with get_context("fork").Pool(2, torch.set_num_threads, (1,)) as pool:
        ended = pool.map(partial(train, job), [half, job.trials - half], chunksize=1)
    return [end for part in ended for end in part]


if __name__ == "__main__":
    command(run, works="B")
