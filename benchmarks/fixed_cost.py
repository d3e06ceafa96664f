"""What a trial costs beyond its training: compose, ask, tell, files, MLflow. Limit 80 ms, inline, one process.

A study of one-epoch trials; from the end of trial 1 to the end of the last one, less the seconds that `train` itself
took (those include building the Trainer).
"""

import argparse
import json
from pathlib import Path

from benchmarks.projects import python, throwaway_project
from trimtab.sweep.store.study import open_study


def per_trial_ms(root: Path, trials: int, sampler: str, tracking: str) -> tuple[float, float]:
    """(fixed cost, training), milliseconds per trial."""
    choices = [f"hydra/sweeper/sampler={sampler}", "hydra/sweeper/executor=inline", f"tracking={tracking}"]
    python(root, "trimtab.stages.sweep", *choices, f"budget.trials={trials}", "training.epochs=1", "sweep.workers=1")
    (folder,) = (p for p in (root / "runs").iterdir() if (p / "trials.csv").exists())
    ended = [t for t in open_study(folder).trials if t.datetime_complete is not None][1:]
    first, last = ended[0].datetime_complete, ended[-1].datetime_complete
    assert first is not None
    assert last is not None
    timings = [json.loads((folder / str(t.number) / "timing.json").read_text())["seconds"] for t in ended[1:]]
    wall = (last - first).total_seconds()
    folder.rename(folder.with_name(f"done-{sampler}-{tracking}"))
    (root / "runs" / f"done-{sampler}-{tracking}" / "trials.csv").unlink()
    return 1000 * (wall - sum(timings)) / len(timings), 1000 * sum(timings) / len(timings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=64)
    args = parser.parse_args()
    with throwaway_project() as root:
        python(root, "trimtab.stages.prepare")
        for sampler, tracking in (("tpe", "sqlite"), ("random", "sqlite"), ("tpe", "none")):
            fixed, training = per_trial_ms(root, args.trials, sampler, tracking)
            print(
                f"{sampler:6} tracking={tracking:6} {args.trials} trials: {fixed:5.1f} ms per trial beyond training "
                f"(limit 80), one epoch of training {training:5.1f} ms"
            )


if __name__ == "__main__":
    main()
