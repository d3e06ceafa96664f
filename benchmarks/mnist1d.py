"""A tuned MLP and a tuned CNN on MNIST-1D against the published numbers and an untuned one-cycle AdamW net.

Published (Greydanus & Kobak 2024, arXiv:2011.14439): accuracy 0.68 (MLP) and 0.94 (CNN). Ours learn from the same 4,000
rows, a part of them held out for the search, and are tested on 10,000 generated rows that nothing before saw.
Thresholds: a champion's interval lies above the published accuracy, its paired difference to the one-cycle net above 0.
"""

import argparse
import json
import shlex
from pathlib import Path

from benchmarks.champions import show
from benchmarks.projects import python, throwaway_project

PUBLISHED = {"mlp": 0.68, "cnn": 0.94}
UNTUNED = "one_cycle"
DATA = ("data=mnist1d", "data.test_rows=10000")


def overrides(family: str, trials: int, epochs: int, seed: int, metric: str) -> list[str]:
    """Every recipe trains to the end: early stopping would cut a cycle before the descent that pays."""
    budget = [f"budget.trials={trials}", f"training.epochs={epochs}", "training.patience_epochs=null", f"seed={seed}"]
    return [*DATA, f"model={family}", *budget, f"objective.metric={metric}", f"select.baselines=[classic,{UNTUNED}]"]


def run(root: Path, given: list[str]) -> dict:
    """The whole pipeline; what `evaluate` found."""
    for stage in ("prepare", "sweep", "select", "evaluate"):
        python(root, f"trimtab.stages.{stage}", *given)
    return json.loads((root / "results/evaluate/metrics.json").read_text())


def say(family: str, found: dict) -> None:
    show(f"mnist1d, {family}", found)
    score, paired = found["scores"]["champion"]["accuracy"], found["differences"][UNTUNED]["accuracy"]
    print(f"  above the published {PUBLISHED[family]}: {verdict(score['low'] > PUBLISHED[family])}")
    print(f"  above the untuned one-cycle net: {verdict(paired['low'] > 0)}", flush=True)


def verdict(held: bool) -> str:
    return "yes, by its whole 95 % interval" if held else "NO, not by its whole 95 % interval"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", choices=[*PUBLISHED, "both"], default="both")
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--metric", default="val/loss", help="what trials are compared by")
    args = parser.parse_args()
    for family in PUBLISHED if args.family == "both" else [args.family]:
        given = overrides(family, args.trials, args.epochs, args.seed, args.metric)
        print(f"overrides: {shlex.join(given)}", flush=True)
        with throwaway_project() as root:
            say(family, run(root, given))


if __name__ == "__main__":
    main()
