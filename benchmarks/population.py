"""Many trials in one tensor program, against `solo` and a bare torch loop, on one thread: trials per minute and memory.

The engine alone, without composing, MLflow and files: MNIST-1D's sizes, an MLP 40-100-100-10, batch 32, AdamW; each
member has a rate and a seed of its own. Interleaved rounds; a ratio is of medians. Memory is the most that a process
of its own held while it trained such a population for one epoch, its libraries included, and what of that came on top
of a process that had only imported and made the data.
"""

import argparse
import statistics
from functools import partial
from multiprocessing import get_context

import torch

from benchmarks.solo_vs_bare_loop import WORKS, arrays, bare, seconds
from trimtab.data.arrays import Arrays, Problem
from trimtab.models.mlp import MLP
from trimtab.population.members import Member
from trimtab.population.train import train_many
from trimtab.trial import optimizers
from trimtab.trial.recipe import Device, Recipe
from trimtab.trial.schedules import Constant
from trimtab.trial.session import peak_memory_mb
from trimtab.trial.train import train

WORK = WORKS[1]
PROBLEM = Problem("classification", (WORK.features,), 10, tuple("0123456789"), 0.0, 1.0, None)
CPU = Device("cpu")


def recipe(lr: float, epochs: int) -> Recipe:
    optimizer = partial(optimizers.adamw, lr=lr)
    model = partial(MLP, depth=WORK.depth, width=WORK.width)
    return Recipe(model, optimizer, Constant(), epochs, 32, None, "val/loss", epochs)


def population(size: int, epochs: int, data: Arrays, val: Arrays) -> None:
    members = [Member(n, recipe(1e-3 * 1.01**n, epochs), n) for n in range(size)]
    for _ in train_many(members, data, val, PROBLEM, CPU):
        pass


def memory_mb(size: int, data: Arrays, val: Arrays) -> tuple[float, float]:
    """(peak, what of it the population added), of a process forked for it."""
    with get_context("fork").Pool(1) as pool:
        return pool.apply(_memory_mb, (size, data, val))


def _memory_mb(size: int, data: Arrays, val: Arrays) -> tuple[float, float]:
    place = torch.device("cpu")
    before = peak_memory_mb(place)
    population(size, 1, data, val)
    peak = peak_memory_mb(place)
    return peak, peak - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64, 128, 256])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    data, val = arrays(WORK.rows, WORK.features, 0), arrays(WORK.val_rows, WORK.features, 1)
    memory = {size: memory_mb(size, data, val) for size in args.sizes}  # before this process trains anything itself
    rounds = [
        {
            "bare": seconds(partial(bare, recipe(1e-3, args.epochs), data, val)),
            "solo": seconds(partial(train, recipe(1e-3, args.epochs), data, val, PROBLEM, 0, CPU)),
            **{size: seconds(partial(population, size, args.epochs, data, val)) / size for size in args.sizes},
        }
        for _ in range(args.repeats)
    ]
    found = {name: statistics.median(r[name] for r in rounds) for name in rounds[0]}
    print(f"{WORK.name}, {args.epochs} epochs: bare loop {found['bare']:.2f} s, solo {found['solo']:.2f} s per trial")
    for size in args.sizes:
        peak, added = memory[size]
        print(
            f"population of {size:3}: {found[size]:.3f} s per trial, {60 / found[size]:5.0f} trials/min; bare / it "
            f"{found['bare'] / found[size]:.2f}, solo / it {found['solo'] / found[size]:.2f}; memory {peak:.0f} MB, "
            f"{added:.0f} of it for the population",
            flush=True,
        )


if __name__ == "__main__":
    main()
