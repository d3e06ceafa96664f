"""Does a sweep's time follow the epochs that it trains? The same study with and without trials that end early.

python -m benchmarks.pruned_time [--trials 64] [--epochs 30] [--repeats 1]

Work B of the comparisons (MNIST-1D, one perceptron, rates and decay at random), by the real door: once to the end, then
by ASHA and by Hyperband with this project's settings, which pause trials and send them on. Seconds without what the
same command needs for two trials of one epoch; epochs of all trials together; and the first over the second, beside
that of whole training.
"""

import argparse
import csv
import statistics
from pathlib import Path

from benchmarks.engine import WARM_TRIALS
from benchmarks.projects import python, throwaway_project
from benchmarks.studies import sweep
from benchmarks.works import WORKS

PRUNERS = ("none", "asha", "hyperband")


def epochs_of(root: Path) -> int:
    """Trained by all trials of the only study there."""
    (table,) = (root / "runs").glob("*/trials.csv")
    with table.open() as file:
        return sum(int(row["epochs"] or 0) for row in csv.DictReader(file))


def measure(root: Path, given: list[str]) -> tuple[float, int]:
    """Seconds and epochs of a new study."""
    return sweep(root, given).seconds, epochs_of(root)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=1)
    args = parser.parse_args()
    work = next(w for w in WORKS if w.name == "B")
    given = [*work.overrides, "training.patience_epochs=null"]
    whole = [*given, f"budget.trials={args.trials}", f"training.epochs={args.epochs}"]
    found: dict[str, list[tuple[float, int]]] = {pruner: [] for pruner in PRUNERS}
    with throwaway_project() as root:
        python(root, "trimtab.stages.prepare", f"data={work.data}")
        for _ in range(args.repeats):
            start = sweep(root, [*given, f"budget.trials={WARM_TRIALS}", "training.epochs=1"]).seconds
            for pruner, runs in found.items():
                seconds, epochs = measure(root, [*whole, f"hydra/sweeper/pruner={pruner}"])
                runs.append((seconds - start, epochs))
    print(f"{args.trials} trials of {args.epochs} epochs; medians of {args.repeats}, without the start")
    print(f"{'pruner':10} {'seconds':>8} {'epochs':>7} {'ms an epoch':>12} {'to whole training':>18}")
    paces = {name: [1e3 * s / e for s, e in runs] for name, runs in found.items()}
    for name, runs in found.items():
        ratio = statistics.median(own / full for own, full in zip(paces[name], paces["none"], strict=True))
        seconds, epochs = (statistics.median(values) for values in zip(*runs, strict=True))
        print(f"{name:10} {seconds:8.1f} {epochs:7.0f} {statistics.median(paces[name]):12.1f} {ratio:17.2f}x")


if __name__ == "__main__":
    main()
