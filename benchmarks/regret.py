"""What a search pays for proposing several trials at once: populations of several sizes against one-by-one TPE.

python -m benchmarks regret [--seeds 5] [--trials 64] [--epochs 5] [--at-once 8 16 32]

The default search space of the MLP on digits and MNIST-1D, few epochs. One-by-one (`engine=solo`, one worker, lag 1)
knows every outcome before it proposes; a population knows those of the ones before it. Both try the same default
configuration first and draw the same first proposals for the same seed, so differences are paired by seed. Printed:
the best validation loss so far after so many trials, its mean rank among the arms, and the paired difference to
one-by-one with a 95 % interval (Student's t over seeds); then the same after so many seconds of the command, imports
included, at a quarter, half and the whole of the one-by-one's median time. An arm whose trials are all done by then
stands where it ended.
"""

import argparse
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks.projects import python, throwaway_project
from benchmarks.studies import Swept, lacks, sweep

ONE_BY_ONE = "one by one"
MARKS = (16, 32, 64)
SHARES = (0.25, 0.5, 1.0)


def arms(at_once: Sequence[int]) -> dict[str, list[str]]:
    """Overrides by name."""
    populations = {
        f"{size} at once": ["engine=population", f"hydra.sweeper.population.at_once={size}"] for size in at_once
    }
    return {ONE_BY_ONE: ["engine=solo", "sweep.workers=1", "hydra.sweeper.lag=1"], **populations}


def after_trials(swept: Swept, mark: float) -> float:
    """Best value among the first trials by number."""
    return _best([value for _, value in swept.ended[: int(mark)]])


def after_seconds(swept: Swept, mark: float) -> float:
    """Best value among the trials that had ended so long after the command was typed."""
    return _best([value for at, value in swept.ended if at - swept.begun <= mark])


def _best(values: Sequence[float]) -> float:
    return min((v for v in values if math.isfinite(v)), default=math.inf)


def table(
    runs: Mapping[str, Sequence[Swept]], marks: Sequence[float], unit: str, at: Callable[[Swept, float], float]
) -> Iterator[str]:
    """A line per mark and arm."""
    yield f"  {'after':>12}  {'':14} {'best val/loss':>13} {'mean rank':>10}   minus one by one [95 %]"
    for mark in marks:
        found = np.array([[at(swept, mark) for swept in of_seeds] for of_seeds in runs.values()])
        ranks = stats.rankdata(found, axis=0).mean(axis=1)
        for name, values, rank in zip(runs, found, ranks, strict=True):
            against = "" if name == ONE_BY_ONE else interval(values, found[0])
            after = f"{mark:.4g} {unit}"
            yield f"  {after:>12}  {name:14} {values.mean():13.4f} {rank:10.2f}   {against}"


def interval(values: np.ndarray, base: np.ndarray) -> str:
    """Mean difference and its 95 % interval over the seeds in which both have a value."""
    both = np.isfinite(values) & np.isfinite(base)
    known = values[both] - base[both]
    if len(known) < 2:
        return f"{known.mean():+.4f}" if len(known) else "nothing by then"
    half = stats.t.ppf(0.975, len(known) - 1) * stats.sem(known)
    missing = f", {len(both) - len(known)} seeds without a trial by then" if len(known) < len(both) else ""
    return f"{known.mean():+.4f} [{known.mean() - half:+.4f}, {known.mean() + half:+.4f}]{missing}"


def seconds(swept: Swept) -> float:
    """Until the last trial ended."""
    return max(at for at, _ in swept.ended) - swept.begun


def measure(root: Path, data: str, args: argparse.Namespace) -> dict[str, list[Swept]]:
    """By arm, in order of seeds; the arms of a seed run one after another."""
    common = [f"data={data}", "model=mlp", f"budget.trials={args.trials}", f"training.epochs={args.epochs}"]
    common += ["training.patience_epochs=null", "hydra/sweeper/sampler=tpe"]
    found: dict[str, list[Swept]] = {name: [] for name in arms(args.at_once)}
    for seed in range(args.seeds):
        for name, overrides in arms(args.at_once).items():
            found[name].append(sweep(root, [*common, *overrides, f"seed={seed}"]))
            best = after_trials(found[name][-1], args.trials)
            print(f"  {data} seed {seed} {name}: {best:.4f} in {found[name][-1].seconds:.1f} s", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["digits", "mnist1d"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--at-once", type=int, nargs="*", default=[8, 16, 32])
    parser.add_argument("--json", type=Path, help="writes every trial's end and value there")
    args = parser.parse_args()
    kept = {}
    with throwaway_project() as root:
        if args.at_once and lacks(root, "population"):
            raise SystemExit("conf/engine has no population here; give --at-once without a number for one-by-one alone")
        for data in args.data:
            python(root, "trimtab.stages.prepare", f"data={data}")
            runs = measure(root, data, args)
            took = float(np.median([seconds(swept) for swept in runs[ONE_BY_ONE]]))
            marks = [m for m in MARKS if m <= args.trials] or [args.trials]
            print(f"{data}, {args.trials} trials of {args.epochs} epochs, {args.seeds} seeds")
            print(*table(runs, marks, "trials", after_trials), sep="\n")
            print(*table(runs, [share * took for share in SHARES], "s", after_seconds), sep="\n", flush=True)
            kept[data] = {name: [[s.begun, s.ended] for s in of_seeds] for name, of_seeds in runs.items()}
    if args.json:
        args.json.write_text(json.dumps(kept))


if __name__ == "__main__":
    main()
