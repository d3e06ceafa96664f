"""A tuned MLP and a tuned CNN on MNIST-1D against the published numbers and an untuned one-cycle AdamW net.

Published (Greydanus & Kobak 2024, arXiv:2011.14439): accuracy 0.68 (MLP) and 0.94 (CNN). Ours learn from the same 4,000
rows, a part of them held out for the search, and are tested on 10,000 generated rows that nothing before saw.
The space is `conf/search/sequence.yaml`: the net's own knobs, schedule and augmentation. The untuned nets know no
augmentation; each trains for the epochs at which its own validation accuracy is best, as the champion does.
Thresholds: a champion's interval lies above the published accuracy, its paired difference to the one-cycle net above 0.
"""

import argparse
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.champions import show
from benchmarks.projects import python, throwaway_project


@dataclass(frozen=True)
class Family:
    """What a family is held against, and what its study may cost.

    Attributes:
        published: accuracy in the paper.
        untuned: overlay of conf/experiment; its width, batch and rate were picked from a few by validation accuracy.
        pruner: option of hydra/sweeper/pruner with its settings.
    """

    published: float
    untuned: str
    trials: int
    epochs: int
    pruner: tuple[str, ...] = ()


MEDIAN = (
    "hydra/sweeper/pruner=median",
    "hydra.sweeper.pruner.startup_trials=6",
    "hydra.sweeper.pruner.warmup_steps=12",
)
FAMILIES = {
    "mlp": Family(0.68, "one_cycle_mlp", trials=40, epochs=40),
    "cnn": Family(0.94, "one_cycle", trials=24, epochs=40, pruner=MEDIAN),
}
DATA = ("data=mnist1d", "data.test_rows=10000")


def overrides(name: str, trials: int, epochs: int, seed: int, metric: str) -> list[str]:
    """Every recipe trains to the end: early stopping would cut a cycle before the descent that pays."""
    budget = [f"budget.trials={trials}", f"training.epochs={epochs}", "training.patience_epochs=null", f"seed={seed}"]
    choice = [f"objective.metric={metric}", "select.candidates=3", f"select.baselines=[{FAMILIES[name].untuned}]"]
    return [*DATA, f"model={name}", "search=sequence", *budget, *choice, *FAMILIES[name].pruner]


def run(root: Path, given: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The whole pipeline; what `evaluate` found, and what `select` had chosen."""
    for stage in ("prepare", "sweep", "select", "evaluate"):
        python(root, f"trimtab.stages.{stage}", *given)
    found, chosen = (root / "results" / name for name in ("evaluate/metrics.json", "select/champion.json"))
    return json.loads(found.read_text()), json.loads(chosen.read_text())


def say(name: str, found: dict[str, Any], chosen: dict[str, Any]) -> None:
    show(f"mnist1d, {name}", found)
    for row in chosen["candidates"]:
        score = f"{chosen['metric']} {row['mean']:.4f} ± {row['std']:.4f}"
        print(f"  {row['name']}: {score}, best epochs {row['best_epochs']}")
    (champion,) = (row for row in chosen["candidates"] if row["name"] == chosen["champion"])
    print(f"  champion: {' '.join(champion['overrides']) or 'the default'}; refitted for {champion['epochs']} epochs")
    family = FAMILIES[name]
    score, paired = found["scores"]["champion"]["accuracy"], found["differences"][family.untuned]["accuracy"]
    print(f"  above the published {family.published}: {verdict(score['low'] > family.published)}")
    print(f"  above the untuned one-cycle net: {verdict(paired['low'] > 0)}", flush=True)


def verdict(held: bool) -> str:
    return "yes, by its whole 95 % interval" if held else "NO, not by its whole 95 % interval"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", choices=[*FAMILIES, "both"], default="both")
    parser.add_argument("--trials", type=int, help=f"default: {[f.trials for f in FAMILIES.values()]}")
    parser.add_argument("--epochs", type=int, help=f"default: {[f.epochs for f in FAMILIES.values()]}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--metric", default="val/accuracy", help="what trials are compared by")
    args = parser.parse_args()
    for name in FAMILIES if args.family == "both" else [args.family]:
        trials, epochs = args.trials or FAMILIES[name].trials, args.epochs or FAMILIES[name].epochs
        given = overrides(name, trials, epochs, args.seed, args.metric)
        print(f"overrides: {shlex.join(given)}", flush=True)
        with throwaway_project() as root:
            say(name, *run(root, given))


if __name__ == "__main__":
    main()
