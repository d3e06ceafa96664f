"""Champion against every baseline on the sealed test set: digits and two real tables, whole pipeline, default budget.

Thresholds: the champion must beat the default configuration or be indistinguishable from it, and beat the classic
untuned start by more than the paired 95 % interval; gradient boosting may win, and the report must then say so.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.datasets import load_breast_cancer, load_diabetes

from benchmarks.projects import python, throwaway_project
from trimtab.selection.standing import headline_metric


def tables(root: Path) -> dict[str, list[str]]:
    """Overrides by data set; the tables are written as files of a person's own."""
    cancer = load_breast_cancer(as_frame=True).frame
    cancer.to_csv(root / "breast_cancer.csv", index=False)
    load_diabetes(as_frame=True, scaled=False).frame.to_parquet(root / "diabetes.parquet")
    return {
        "digits": [],
        "breast_cancer": ["data=csv", "data.path=breast_cancer.csv", "data.target=target"],
        "diabetes": ["data=parquet", "data.path=diabetes.parquet", "data.target=target"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with throwaway_project() as root:
        for name, data in tables(root).items():
            overrides = [*data, f"budget.trials={args.trials}", f"seed={args.seed}"]
            for stage in ("prepare", "sweep", "select", "evaluate", "report"):
                python(root, f"trimtab.stages.{stage}", *overrides)
            show(name, json.loads((root / "results/evaluate/metrics.json").read_text()))
            page = (root / "results/report/report.html").read_text()
            print(f"  the report says: {page.partition('<h2')[2].partition('>')[2].partition('</h2')[0].strip()}")


def show(name: str, found: dict[str, Any]) -> None:
    metric = headline_metric(found["metric"], found["scores"]["champion"])
    print(f"{name}: {found['champion']}, {found['rows']} test rows")
    rows = []
    for recipe, scores in found["scores"].items():
        s, d = scores[metric], found["differences"].get(recipe, {}).get(metric)
        rows.append(
            {
                "recipe": recipe,
                metric: f"{s['value']:.4f} [{s['low']:.4f}, {s['high']:.4f}]",
                "champion minus it": f"{d['value']:+.4f} [{d['low']:+.4f}, {d['high']:+.4f}]" if d else "",
            }
        )
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
