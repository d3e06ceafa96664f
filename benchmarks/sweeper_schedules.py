"""How much of their time four workers work, by schedule: tasks that sleep, log-normal times (sigma 1).

python -m benchmarks.sweeper_schedules [--trials 120] [--mean 1.0]

`batches` is the official Optuna sweeper's way: as many trials as there are workers, then wait for all of them. The
times follow from the trial's number, so that all schedules run the same ones. Worked time over workers x wall time,
from the first warm trial's start to the last start: how the last ones run out is no schedule's doing. Limit: async
95 %.
"""

import argparse
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from optuna.trial import FrozenTrial

from trimtab.sweep.store.study import open_study

APP = """
import time, random, hydra
from hydra.core.hydra_config import HydraConfig

@hydra.main(config_path="conf", config_name="config", version_base="1.3")
def main(cfg):
    number = HydraConfig.get().job.num
    time.sleep(cfg.mean * random.Random(number).lognormvariate(-0.5, 1.0))
    return cfg.x ** 2

if __name__ == "__main__":
    main()
"""
CONFIG = """
defaults: [{override hydra/sweeper: trimtab}, {override hydra/sweeper/executor: processes}, _self_]
x: 1.0
mean: 1.0
hydra: {sweeper: {params: {x: "interval(-1.0, 1.0)"}, progress: none}}
"""
WORKERS = 4
SCHEDULES = {
    "async": ["schedule=async"],
    **{f"reproducible, lag {lag}": [f"lag={lag}"] for lag in (4, 8, 16, 32)},
}


def used(folder: Path, name: str, trials: int, mean: float) -> float:
    """Share of the workers' time, measured on a real sweep."""
    out = folder / name.replace(" ", "").replace(",", "-")
    settings = [f"hydra.sweeper.{s}" for s in (*SCHEDULES[name], f"n_trials={trials}", f"n_jobs={WORKERS}")]
    argv = [sys.executable, "app.py", "-m", *settings, "hydra/sweeper/sampler=random", f"mean={mean}"]
    subprocess.run([*argv, f"hydra.sweep.dir={out}"], cwd=folder, check=True, capture_output=True)
    run = open_study(out).trials
    starts = [t.datetime_start.timestamp() for t in run if t.datetime_start]
    begun, ended = min(starts[WORKERS:]), max(starts)  # the first ones pay for starting the workers
    return sum(worked(t, begun, ended) for t in run) / ((ended - begun) * WORKERS)


def worked(trial: FrozenTrial, begun: float, ended: float) -> float:
    """Seconds that a trial's task ran between two moments."""
    assert trial.datetime_complete is not None
    end = trial.datetime_complete.timestamp()
    return max(0.0, min(end, ended) - max(end - trial.user_attrs["seconds"], begun))


def batches(trials: int, mean: float) -> float:
    """The same times in batches, computed: nothing but the times counts, which is to its advantage."""
    times = [mean * random.Random(n).lognormvariate(-0.5, 1.0) for n in range(WORKERS, trials)]
    rounds = [times[i : i + WORKERS] for i in range(0, len(times) - WORKERS, WORKERS)]
    return sum(sum(r) for r in rounds) / (WORKERS * sum(max(r) for r in rounds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=120)
    parser.add_argument("--mean", type=float, default=1.0, help="seconds")
    args = parser.parse_args()
    print(f"{WORKERS} workers, {args.trials} trials of {args.mean:g} s on average, sigma 1")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "conf").mkdir()
        (folder / "app.py").write_text(APP)
        (folder / "conf" / "config.yaml").write_text(CONFIG)
        for schedule in SCHEDULES:
            print(f"{schedule:24} {used(folder, schedule, args.trials, args.mean):6.1%}", flush=True)
    print(f"{'batches (official)':24} {batches(args.trials, args.mean):6.1%}")


if __name__ == "__main__":
    main()
