"""Many trials in one tensor program, against `solo` and a bare torch loop, on one thread: seconds per trial.

The engine alone, without composing, MLflow and files: MNIST-1D's sizes, an MLP 40-100-100-10, batch 32, AdamW; each
member has a rate and a seed of its own. Interleaved rounds; a ratio is of medians.
"""

import argparse
import statistics
from functools import partial

import torch

from benchmarks.solo_vs_bare_loop import WORKS, arrays, bare, seconds
from trimtab.data.arrays import Problem
from trimtab.models.mlp import MLP
from trimtab.population.members import Member
from trimtab.population.train import train_many
from trimtab.trial import optimizers
from trimtab.trial.recipe import Device, Recipe
from trimtab.trial.schedules import Constant
from trimtab.trial.train import train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    work = WORKS[1]
    data, val = arrays(work.rows, work.features, 0), arrays(work.val_rows, work.features, 1)
    problem = Problem("classification", (work.features,), 10, tuple("0123456789"), 0.0, 1.0, None)

    def recipe(lr: float) -> Recipe:
        optimizer = partial(optimizers.adamw, lr=lr)
        model = partial(MLP, depth=work.depth, width=work.width)
        return Recipe(model, optimizer, Constant(), args.epochs, 32, None, "val/loss", args.epochs)

    def population(size: int) -> None:
        members = [Member(n, recipe(1e-3 * 1.01**n), n) for n in range(size)]
        for _ in train_many(members, data, val, problem, Device("cpu")):
            pass

    rounds = [
        {
            "bare": seconds(partial(bare, recipe(1e-3), data, val)),
            "solo": seconds(partial(train, recipe(1e-3), data, val, problem, 0, Device("cpu"))),
            **{size: seconds(partial(population, size)) / size for size in args.sizes},
        }
        for _ in range(args.repeats)
    ]
    found = {name: statistics.median(r[name] for r in rounds) for name in rounds[0]}
    print(f"{work.name}, {args.epochs} epochs: bare loop {found['bare']:.2f} s, solo {found['solo']:.2f} s per trial")
    for size in args.sizes:
        print(
            f"population of {size:3}: {found[size]:.3f} s per trial; bare / it {found['bare'] / found[size]:.2f}, "
            f"solo / it {found['solo'] / found[size]:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
