"""A plain torch loop in two processes of one thread each: no search, no tracking, no files.

The fastest that a person would write without stacking: rows gathered once per epoch, batches sliced from memory.
Settings are drawn at random beforehand, and whichever process is free takes the next.
"""

import math
import time
from collections.abc import Sequence
from functools import partial
from multiprocessing import get_context

import torch
import torch.nn.functional as F

from benchmarks.peers.command import Ended, Job, command
from benchmarks.works import Settings, network, optimizer


def train(job: Job, settings: Settings) -> Ended:
    x, y, val_x, val_y = job.data.tensors
    torch.manual_seed(0)
    model = network(job.work, settings, tuple(x.shape[1:]))
    steps = optimizer(settings, model.parameters())
    size, best = settings["training.batch_size"], math.nan
    for _ in range(job.epochs):
        model.train()
        order = torch.randperm(len(x))
        for xs, ys in zip(torch.split(x[order], size), torch.split(y[order], size), strict=True):
            steps.zero_grad()
            F.cross_entropy(model(xs), ys).backward()  # type: ignore[no-untyped-call]
            steps.step()
        model.eval()
        with torch.inference_mode():
            outputs = model(val_x)
            loss = F.cross_entropy(outputs, val_y).item()
            (outputs.argmax(1) == val_y).float().mean().item()
        if not math.isfinite(loss):
            break
        best = min(loss, best)
    return Ended(time.time(), best)


def run(job: Job) -> Sequence[Ended]:
    # Forked: the processes share what the parent imported.
    with get_context("fork").Pool(2, torch.set_num_threads, (1,)) as pool:
        return pool.map(partial(train, job), list(job.work.draws(job.trials)), chunksize=1)


if __name__ == "__main__":
    command(run)
