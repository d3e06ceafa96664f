"""Do ASHA and Hyperband spare more compute than the trivial ways to end trials early, at the same loss?

python -m benchmarks.sweeper_pruning [--pool 512] [--epochs 30] [--trials 128] [--seeds 40] [--choose]

MNIST-1D perceptrons from conf/search/mlp.yaml, trained once (`curve_pool`); then the real sweeper, inline, whose task
reads a curve, reports each epoch and keeps its checkpoint where it pauses. A seed is one draw of trials from the pool
in one order, the same for all strategies. Compute: epochs trained over those of training all trials to their end; lost:
how much worse the best trial that was trained to its end is than the best of all drawn ones, each at its best epoch.

The line to be beaten runs through the trivial strategies: train all for one epoch and finish the best one, or the best
tenth; synchronous successive halving from epoch 3; full training. It is their lower convex hull, so none of them lies
below. Limit: less compute than the line at the same loss, by more than the 95 % interval (bootstrap over seeds, the
strategies paired). Settings are chosen on the first half of the pool (`--choose`) and reported on the second.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from hydra import main as hydra_main
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from numpy.typing import NDArray
from omegaconf import DictConfig

import trimtab
from benchmarks.curve_pool import Pool, load_pool
from trimtab.errors import Diverged, SweepError
from trimtab.sweep.store.study import open_study

CONFIG = """
defaults:
  - override hydra/sweeper: trimtab
  - override hydra/sweeper/sampler: random
  - override hydra/job_logging: disabled
  - _self_
x: 0.5
hydra:
  output_subdir: null
  sweeper: {baseline: false, progress: none, params: {x: "interval(0.0, 1.0)"}}
"""
RESAMPLES = 2000
Curves = NDArray[np.float64]
"""(trials, epochs) of losses to be minimised, in the order in which they are drawn; NaN from where one diverged."""


@dataclass(frozen=True)
class Spent:
    """What a strategy did with one draw.

    Attributes:
        epochs: trained, all trials together.
        finished: trials that were trained to their end.
    """

    epochs: int
    finished: Sequence[int]


Strategy = Callable[[Curves], Spent]
Map = Callable[..., Iterable[Any]]
"""`map`, or that of a pool of processes."""


# ---------------------------------------------------------------------------------------------------------------------
# The trivial strategies, all of which wait for each other at every rung.


def halving(rungs: Mapping[int, float], curves: Curves) -> Spent:
    """Trains all to the first rung, the best share of these to the next, and so on; the last share to the end.

    Args:
        rungs: epoch → share of the trials there that goes on, one trial at least.
        curves: of all trials.
    """
    there, epochs, before = np.arange(len(curves)), 0, 0
    for epoch, share in rungs.items():
        epochs += _trained(curves[there, before:epoch])
        alive = there[~np.isnan(curves[there, epoch - 1])]
        best = alive[np.argsort(curves[alive, epoch - 1], kind="stable")]
        there, before = best[: max(1, int(len(there) * share))], epoch
    epochs += _trained(curves[there, before:])
    return Spent(epochs, [int(t) for t in there if not np.isnan(curves[t, -1])])


def successive_halving(first: int, eta: int, curves: Curves) -> Spent:
    """Rungs at first · eta^k below the last epoch, the best 1/eta goes on."""
    rungs, epoch = {}, first
    while epoch < curves.shape[1]:
        rungs[epoch] = 1 / eta
        epoch *= eta
    return halving(rungs, curves)


def fewer(share: float, curves: Curves) -> Spent:
    """Random search that stops when so much of the compute is spent."""
    kept = range(max(1, round(share * len(curves))))
    return Spent(_trained(curves[: len(kept)]), [t for t in kept if not np.isnan(curves[t, -1])])


LINE: dict[str, Strategy] = {
    "one epoch, finish the best one": partial(halving, {1: 0.0}),
    "one epoch, finish the best tenth": partial(halving, {1: 0.1}),
    "synchronous SHA from epoch 3, eta 3": partial(successive_halving, 3, 3),
    "full training": partial(fewer, 1.0),
}
OTHERS: dict[str, Strategy] = {
    "three epochs, finish the best tenth": partial(halving, {3: 0.1}),
    "synchronous SHA from epoch 1, eta 3": partial(successive_halving, 1, 3),
    "synchronous SHA from epoch 1, eta 4": partial(successive_halving, 1, 4),
}


# ---------------------------------------------------------------------------------------------------------------------
# Ours.


@dataclass(frozen=True)
class Ours:
    """A pruner of the sweeper, run for real.

    Attributes:
        pruner: its option.
        settings: as they are typed behind `hydra.sweeper.`.
    """

    pruner: str
    settings: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join([self.pruner, *(s.removeprefix("pruner.") for s in self.settings)])

    def __call__(self, curves: Curves) -> Spent:
        """Sweeps a study whose trial n has the curve n."""
        spent = [0]

        def task(cfg: DictConfig) -> float:
            curve, folder = curves[HydraConfig.get().job.num], trimtab.checkpoint_dir()
            saved = None if folder is None else folder / "epoch"
            begun = int(saved.read_text()) if saved and saved.exists() else 0
            for epoch in range(begun + 1, len(curve) + 1):
                if np.isnan(curve[epoch - 1]):
                    raise Diverged("the loss is no number")
                spent[0] += 1
                if saved:
                    saved.write_text(str(epoch))
                trimtab.report(epoch, curve[epoch - 1])
            return float(curve.min())

        with tempfile.TemporaryDirectory() as name:
            with suppress(SweepError):  # where no trial was sent on to its end
                self._sweep(Path(name), task, len(curves), curves.shape[1])
            done = [t.number for t in open_study(Path(name) / "study").ranked]
        return Spent(spent[0], done)

    def _sweep(self, folder: Path, task: Callable[[DictConfig], float], trials: int, epochs: int) -> None:
        (folder / "config.yaml").write_text(CONFIG)
        given = [f"n_trials={trials}", f"pruner.max_step={epochs}", *self.settings]
        options = [f"hydra.sweep.dir={folder}/study", *(f"hydra.sweeper.{s}" for s in given)]
        GlobalHydra.instance().clear()
        sys.argv = ["app", "-m", f"hydra/sweeper/pruner={self.pruner}", *options]
        hydra_main(config_path=str(folder), config_name="config", version_base="1.3")(task)()


PAUSE = "pruner.pause=true"
PAPER = ("pruner.reduction_factor=3", "pruner.brackets=null")
"""Hyperband as Li et al. have it, but for the common rungs."""
REPORTED = [
    *(Ours(pruner, settings) for pruner in ("asha", "hyperband") for settings in ((), (PAUSE,))),
    Ours("hyperband", (*PAPER, PAUSE)),
    Ours("hyperband", PAPER),
    # Chosen on the other half, as the two brackets of the option are.
    Ours("asha", ("pruner.reduction_factor=4", PAUSE)),
    Ours("asha", ("pruner.min_step=2", PAUSE)),
    # Why stopping costs what it does: the first `lag` trials are judged by nobody.
    Ours("asha", ("lag=1",)),
]
CANDIDATES = [
    Ours(pruner, (*more, f"pruner.min_step={first}", f"pruner.reduction_factor={eta}", *pause))
    for (pruner, more), pause, first, eta in product(
        (("asha", ()), ("hyperband", ("pruner.brackets=null",))), ((), (PAUSE,)), (1, 2, 3), (2, 3, 4, 6)
    )
] + [
    Ours("hyperband", (f"pruner.reduction_factor={eta}", f"pruner.brackets={brackets}", PAUSE))
    for eta, brackets in product((3, 4), (2, 3))
]


# ---------------------------------------------------------------------------------------------------------------------
# What they cost and lose.


def _trained(curves: Curves) -> int:
    """Epochs before the end, or before divergence."""
    return int((~np.isnan(curves)).sum())


def judged(strategy: Strategy, draws: Sequence[Curves], over: Map = map) -> NDArray[np.float64]:
    """(draws, 2): share of the compute of full training, and what is lost."""
    return np.array(list(over(partial(_judged, strategy), draws)))


def _judged(strategy: Strategy, curves: Curves) -> tuple[float, float]:
    spent = strategy(curves)
    ends = np.array([np.nan if np.isnan(c[-1]) else c.min() for c in curves])
    # A strategy that finishes nothing has lost the most that one can.
    best = min((ends[t] for t in spent.finished), default=np.nanmax(ends))
    return spent.epochs / _trained(curves), best - np.nanmin(ends)


def drawn(losses: Curves, trials: int, seeds: int) -> list[Curves]:
    """So many draws of trials, each in an order of its own."""
    dice = [np.random.default_rng(seed) for seed in range(seeds)]
    return [losses[d.permutation(len(losses))[:trials]] for d in dice]


def hull(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The lower convex hull of (compute, lost), from the left to full training."""
    kept: list[tuple[float, float]] = []
    for x, y in sorted(points):
        while len(kept) > 1 and (kept[-1][1] - kept[-2][1]) * (x - kept[-2][0]) >= (y - kept[-2][1]) * (
            kept[-1][0] - kept[-2][0]
        ):
            kept.pop()
        kept.append((x, y))
    return kept


def compute_at(line: Sequence[tuple[float, float]], lost: float) -> float:
    """The compute for which the line loses so much; that of its left end if it never loses so much."""
    for (x0, y0), (x1, y1) in pairwise(line):
        if y1 <= lost < y0:
            return x0 + (y0 - lost) / (y0 - y1) * (x1 - x0)
    return line[0][0] if lost >= line[0][1] else line[-1][0]


def spared(ours: NDArray[np.float64], line: Sequence[NDArray[np.float64]]) -> tuple[float, float, float]:
    """Compute of the line at our loss less our compute, with its 95 % interval; above 0 is beyond the line."""
    dice = np.random.default_rng(0)
    picks = [np.arange(len(ours)), *dice.integers(len(ours), size=(RESAMPLES, len(ours)))]
    found = []
    for pick in picks:
        compute, lost = ours[pick].mean(0)
        points = [tuple(anchor[pick].mean(0)) for anchor in line]
        found.append(compute_at(hull(points), lost) - compute)
    low, high = np.quantile(found[1:], [0.025, 0.975])
    return found[0], float(low), float(high)


def interval(values: NDArray[np.float64]) -> float:
    """Half of the 95 % interval of a mean over seeds."""
    return float(1.96 * values.std(ddof=1) / np.sqrt(len(values)))


# ---------------------------------------------------------------------------------------------------------------------


def report(strategies: Mapping[str, Strategy], draws: Sequence[Curves], unit: float, over: Map) -> None:
    """Prints the table.

    Args:
        strategies: beside the line.
        draws: the same for all.
        unit: what losses are multiplied by to be shown.
        over: maps over draws.
    """
    line = {name: judged(strategy, draws) for name, strategy in LINE.items()}
    print(f"{'strategy':52} {'compute':>15} {'lost':>15} {'random there':>13}   compute spared against the line")
    for name, strategy in {**LINE, **strategies}.items():
        found = line[name] if name in line else judged(strategy, draws, over)
        (compute, lost), (around, give) = found.mean(0), (interval(found[:, 0]), interval(found[:, 1]))
        random = judged(partial(fewer, compute), draws)[:, 1].mean()
        said = "on the line, by definition" if name in line else verdict(*spared(found, list(line.values())))
        columns = f"{compute:7.1%} ± {around:5.1%} {unit * lost:7.3f} ± {unit * give:5.3f} {unit * random:13.3f}"
        print(f"{name:52} {columns}   {said}", flush=True)


def verdict(gain: float, low: float, high: float) -> str:
    """Which side of the line, if that can be told."""
    side = "beyond" if low > 0 else "BEHIND" if high < 0 else "can't be told apart"
    return f"{gain:+6.1%} [{low:+6.1%}, {high:+6.1%}] {side}"


def losses(pool: Pool, metric: str) -> tuple[Curves, float, str]:
    """What is minimised, how it is shown, and its unit."""
    if metric == "val/accuracy":
        return -pool.accuracy, 100.0, "points of accuracy"
    return pool.loss, 1.0, "nats of validation loss"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=int, default=512, help="configurations that are trained")
    parser.add_argument("--epochs", type=int, default=30, help="of each")
    parser.add_argument("--trials", type=int, default=128, help="of a study, drawn from half of the pool")
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="that train the pool, and sweep")
    parser.add_argument("--metric", choices=["val/loss", "val/accuracy", "both"], default="both")
    parser.add_argument("--choose", action="store_true", help="try settings, on the half that is not reported")
    args = parser.parse_args()
    pool = load_pool(args.pool, args.epochs, args.workers)
    half = slice(None, args.pool // 2) if args.choose else slice(args.pool // 2, None)
    mine: dict[str, Strategy] = {str(ours): ours for ours in (CANDIDATES if args.choose else REPORTED)}
    with ProcessPoolExecutor(args.workers, get_context("spawn")) as workers:
        for metric in ["val/loss", "val/accuracy"] if args.metric == "both" else [args.metric]:
            values, unit, name = losses(pool.part(half), metric)
            draws = drawn(values, args.trials, args.seeds)
            died = np.isnan(values[:, -1]).mean()
            print(
                f"\n{metric}: {args.trials} trials of {args.epochs} epochs, {args.seeds} draws from {len(values)}",
                end=" ",
            )
            print(f"trained ones ({died:.0%} diverged); lost in {name}; ± and [] are 95 % intervals over draws")
            report({**OTHERS, **mine}, draws, unit, workers.map)


if __name__ == "__main__":
    os.environ["HYDRA_FULL_ERROR"] = "1"
    main()
