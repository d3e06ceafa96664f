"""Learning curves of many random configurations, trained once and kept, so that strategies can be replayed on them.

The configurations are what `hydra/sweeper/sampler=random` draws from conf/search/mlp.yaml on MNIST-1D, number 0 the
default one; each trains to its last epoch, in populations of trials that cost alike.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import chdir
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig

from benchmarks.projects import ROOT, python, throwaway_project
from trimtab.paths import atomic
from trimtab.population.members import Member, company
from trimtab.sweep.executors.local import Processes, completed
from trimtab.trial.recipe import Recipe

DATA = "mnist1d"
STACK = 8
"""Members of a population; larger ones are no faster here (LOG.md)."""
METRICS = ("val/loss", "val/accuracy")


@dataclass(frozen=True)
class Pool:
    """Curves by trial and epoch; NaN from where a trial diverged.

    Attributes:
        loss: (trials, epochs) validation loss after each epoch.
        accuracy: likewise.
    """

    loss: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def epochs(self) -> int:
        """Of a whole training."""
        return int(self.loss.shape[1])

    def part(self, trials: slice) -> "Pool":
        """Some of the trials."""
        return Pool(self.loss[trials], self.accuracy[trials])


def load_pool(size: int, epochs: int, workers: int) -> Pool:
    """Reads the curves from `runs/pools`, or trains them; what a killed call had trained stays."""
    folder = ROOT / "runs" / "pools" / f"{DATA}-mlp-{size}x{epochs}"
    if not (folder / "pool.npz").exists():
        _make(folder, size, epochs, workers)
    with np.load(folder / "pool.npz") as stored:
        return Pool(stored["loss"], stored["accuracy"])


def _make(folder: Path, size: int, epochs: int, workers: int) -> None:
    with throwaway_project() as root:
        python(root, "trimtab.stages.prepare", f"data={DATA}")
        stacks = list(_stacks(_drawn(root, size, epochs)))
        files = [folder / f"stack-{stack[0].number}.npz" for stack in stacks]
        todo = [(stack, str(file), str(root)) for stack, file in zip(stacks, files, strict=True) if not file.exists()]
        with Processes(workers) as pool:
            for left, _ in enumerate(completed(pool, _train, todo), start=1):
                print(f"\r{left} of {len(todo)} populations trained", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    curves = np.full((len(METRICS), size, epochs), np.nan)
    for file in files:
        with np.load(file) as stored:
            curves[:, stored["numbers"]] = stored["curves"]
    with atomic(folder / "pool.npz") as path, path.open("wb") as out:
        np.savez_compressed(out, loss=curves[0], accuracy=curves[1])


def _drawn(root: Path, size: int, epochs: int) -> list[Member]:
    """The trials of a random study, as recipes."""
    from trimtab import config
    from trimtab.stages import unpack

    recipes: list[tuple[Recipe, int]] = []

    def draw(cfg: DictConfig) -> float:
        recipes.append((unpack.recipe(cfg), int(cfg.seed)))
        return 0.0

    given = [f"data={DATA}", "model=mlp", f"training.epochs={epochs}", "training.patience_epochs=null"]
    study = [f"budget.trials={size}", "hydra/sweeper/sampler=random", "hydra/sweeper/executor=inline"]
    silent = ["hydra.sweeper.callbacks=[]", "hydra.sweeper.progress=none", "hydra.output_subdir=null"]
    silent.append("hydra.sweeper.population.size=1")  # drawing is not training
    with chdir(root):
        config.run(draw, [*given, *study, *silent], multirun=True)
    return [Member(number, recipe, seed) for number, (recipe, seed) in enumerate(recipes)]


def _stacks(members: Sequence[Member]) -> Iterator[list[Member]]:
    """Members that can share a population and cost alike, the dearest first."""
    alike: dict[Any, list[Member]] = {}
    for member in members:
        alike.setdefault(repr(company(member.recipe)), []).append(member)
    stacks = [
        some[i : i + STACK]
        for m in alike.values()
        for some in [sorted(m, key=_cost)]
        for i in range(0, len(some), STACK)
    ]
    yield from sorted(stacks, key=lambda stack: -max(map(_cost, stack)))


def _cost(member: Member) -> float:
    """Multiplications of an epoch, about."""
    model = member.recipe.model
    assert isinstance(model, partial)
    depth, width = model.keywords["depth"], model.keywords["width"]
    return float((50 * width + (depth - 1) * width**2) * (1 + 8 / int(member.recipe.batch_size)))


def _train(item: tuple[list[Member], str, str]) -> None:
    """In a worker: trains a population and writes its curves."""
    from trimtab.data.prepared import load_prepared
    from trimtab.errors import Diverged
    from trimtab.paths import Paths
    from trimtab.population.train import train_many

    stack, file, root = item
    os.chdir(root)
    data = load_prepared(Paths.here().prepared)
    places = {member.number: place for place, member in enumerate(stack)}
    curves = np.full((len(METRICS), len(stack), stack[0].recipe.epochs), np.nan)

    def noting(member: Member) -> Member:
        def note(epoch: int, row: dict[str, float]) -> None:
            curves[:, places[member.number], epoch - 1] = [row[metric] for metric in METRICS]

        return replace(member, on_epoch=note)

    for _, found in train_many([noting(m) for m in stack], data.train, data.val, data.problem):
        if isinstance(found, Exception) and not isinstance(found, Diverged):
            raise found
    with atomic(Path(file)) as path, path.open("wb") as out:
        np.savez(out, numbers=np.array(list(places)), curves=curves)
