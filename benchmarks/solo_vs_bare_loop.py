"""What Lightning costs: `engine=solo` against a bare torch loop of the same work, on one thread.

Same model, optimizer, batch size and epochs; each validates once per epoch (loss and accuracy). `solo` also builds
its Trainer, keeps the best weights and every epoch's result per example. Run as
`python benchmarks/solo_vs_bare_loop.py`; held to at most 1.8 times (median).
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version

import numpy as np
import torch
import torch.nn.functional as F

from trimtab.data.arrays import Arrays, Problem
from trimtab.models.mlp import MLP
from trimtab.trial.schedules import Constant
from trimtab.trial.train import Device, Recipe, train

OPTIMIZERS: dict[str, Callable[[Iterable[torch.nn.Parameter]], torch.optim.Optimizer]] = {
    "sgd": partial(torch.optim.SGD, lr=0.05, momentum=0.9),
    "adamw": partial(torch.optim.AdamW, lr=1e-3),
}


@dataclass(frozen=True)
class Work:
    """The size of a trial."""

    name: str
    rows: int
    val_rows: int
    features: int
    depth: int
    width: int


WORKS = (
    Work("digits, MLP 64-64", 1078, 359, 64, 2, 64),
    Work("MNIST-1D, MLP 100-100", 4000, 1000, 40, 2, 100),
)


def arrays(rows: int, features: int, seed: int) -> Arrays:
    random = np.random.default_rng(seed)
    return Arrays(random.standard_normal((rows, features)).astype(np.float32), random.integers(0, 10, rows))


def bare(recipe: Recipe, data: Arrays, val: Arrays) -> None:
    """The fastest plain loop that a person would write: rows gathered once per epoch, batches sliced from them."""
    x, y, val_x, val_y = map(torch.from_numpy, (data.x, data.y, val.x, val.y))
    torch.manual_seed(0)
    size = recipe.batch_size
    model = recipe.model((x.shape[1],), 10)
    optimizer = recipe.optimizer(model.parameters())
    for _ in range(recipe.epochs):
        order = torch.randperm(len(x))
        batches = zip(torch.split(x[order], size), torch.split(y[order], size), strict=True)
        for xs, ys in batches:
            optimizer.zero_grad()
            F.cross_entropy(model(xs), ys).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        model.eval()
        with torch.inference_mode():
            outputs = model(val_x)
            F.cross_entropy(outputs, val_y).item()
            (outputs.argmax(1) == val_y).float().mean().item()
        model.train()


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def compare(work: Work, optimizer: str, epochs: int, repeats: int) -> str:
    """One line: seconds of both and their ratio, over interleaved pairs after one that only warms up."""
    model = partial(MLP, depth=work.depth, width=work.width)
    recipe = Recipe(model, OPTIMIZERS[optimizer], Constant(), epochs, 32, None, "val/loss", epochs)
    data, val = arrays(work.rows, work.features, 0), arrays(work.val_rows, work.features, 1)
    problem = Problem("classification", (work.features,), 10, tuple("0123456789"), 0.0, 1.0, None)
    solo = partial(train, recipe, data, val, problem, 0, Device("cpu"))
    pairs = [(seconds(partial(bare, recipe, data, val)), seconds(solo)) for _ in range(repeats + 1)][1:]
    ratios = [solo_s / bare_s for bare_s, solo_s in pairs]
    bare_s, solo_s = (statistics.median(column) for column in zip(*pairs, strict=True))
    return (
        f"{work.name:22} {optimizer:6} bare {bare_s:6.3f} s  solo {solo_s:6.3f} s  "
        f"ratio {statistics.median(ratios):.2f}  (min {min(ratios):.2f}, max {max(ratios):.2f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Time engine=solo against a bare torch loop of the same work.")
    parser.add_argument("--repeats", type=int, default=5, help="interleaved pairs (bare, solo) per line (default 5)")
    parser.add_argument("--epochs", type=int, default=30, help="epochs of each trial (default 30)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{platform.processor() or platform.machine()}, {platform.system()}, 1 thread, python "
        f"{platform.python_version()}, torch {torch.__version__}, lightning {version('pytorch-lightning')}, "
        f"batch 32, {given.epochs} epochs, {given.repeats} pairs"
    )
    for work in WORKS:
        for optimizer in OPTIMIZERS:
            print(compare(work, optimizer, given.epochs, given.repeats), flush=True)


if __name__ == "__main__":
    main()
