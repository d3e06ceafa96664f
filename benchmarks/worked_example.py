"""A worked example: the convolutional start of every tutorial against its tuned successor, on the sealed test set.

The start is `experiment=cnn_classic`: SGD 0.01 without momentum, batch 32, dropout 0.5, decay 1e-4, a constant rate.
The successor is what a study of the same family (`conf/search/cnn.yaml`) finds with the budget stated.
"""

import argparse
import json
import shlex

from benchmarks.champions import show
from benchmarks.projects import python, throwaway_project

START = "cnn_classic"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="digits", help="an image set of conf/data")
    parser.add_argument("--trials", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    given = [f"data={args.data}", "model=cnn", f"budget.trials={args.trials}", f"training.epochs={args.epochs}"]
    given += [f"seed={args.seed}", f"select.baselines=[{START}]"]
    print(f"overrides: {shlex.join(given)}", flush=True)
    with throwaway_project() as root:
        for stage in ("prepare", "sweep", "select", "evaluate"):
            python(root, f"trimtab.stages.{stage}", *given)
        found = json.loads((root / "results/evaluate/metrics.json").read_text())
        choice = json.loads((root / "results/select/champion.json").read_text())
    show(f"{args.data}, cnn", found)
    rows = {row["name"]: row for row in choice["candidates"]}
    for name in (START, choice["champion"]):
        row = rows[name]
        print(f"  {name}: {choice['metric']} {row['mean']:.4f} ± {row['std']:.4f}, best epochs {row['best_epochs']}")
    print(f"  what the search changed: {' '.join(rows[choice['champion']]['overrides']) or 'nothing: the default won'}")


if __name__ == "__main__":
    main()
