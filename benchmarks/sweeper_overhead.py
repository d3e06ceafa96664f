"""What a trial costs beside its task, at trial 100 and at trial 10,000: a task that returns at once, random sampler, inline.

python -m benchmarks.sweeper_overhead [--trials 10000] [--profile]

Wall time from one call of the task to the next, the median of a window of trials. Limits: 30 ms at trial 100, and at
most 1.5 times that at the last. Beside it what happens once per sweep at that size: resume, table, status.
"""

import argparse
import contextlib
import cProfile
import os
import pstats
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hydra import main as hydra_main
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from benchmarks.trial_overhead import write_app
from trimtab.sweep.study import open_study
from trimtab.sweep.table import write_table

LIMIT_MS, LIMIT_RATIO = 30.0, 1.5
WINDOW = 100


def sweep(folder: Path, trials: int, *overrides: str) -> list[float]:
    """The moments at which the task was called."""
    moments: list[float] = []

    def task(cfg: DictConfig) -> float:
        moments.append(time.perf_counter())
        return float(cfg.dropout + cfg.opt.lr)

    GlobalHydra.instance().clear()
    sys.argv = [
        "app",
        "-m",
        "hydra/sweeper/sampler=random",
        f"hydra.sweeper.n_trials={trials}",
        f"hydra.sweep.dir={folder}/study",
        *overrides,
    ]
    hydra_main(config_path=str(folder), config_name="config", version_base="1.3")(task)()
    return moments


def around(moments: list[float], trial: int) -> float:
    """Median milliseconds per trial in a window that ends at `trial`."""
    part = moments[max(0, trial - WINDOW) : trial]
    return 1e3 * statistics.median(b - a for a, b in zip(part, part[1:], strict=False))


def once(what: str, fn: Any, *args: Any) -> None:
    """Prints how long a call takes."""
    begun = time.perf_counter()
    fn(*args)
    print(f"{what:40} {1e3 * (time.perf_counter() - begun):9.0f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--progress", default="quiet", help="live, quiet or none")
    parser.add_argument("--profile", action="store_true", help="print where the time of the second half goes")
    parser.add_argument("overrides", nargs="*")
    args = parser.parse_args()
    shown = f"hydra.sweeper.progress={args.progress}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_app(folder)
        first = sweep(folder, args.trials // 2, shown, *args.overrides)
        with cProfile.Profile() if args.profile else contextlib.nullcontext() as profile:
            last = sweep(folder, args.trials, shown, *args.overrides)
        early, late = around(first, 2 * WINDOW), around(last, len(last))
        print(f"trial {2 * WINDOW - WINDOW // 2:6}: {early:6.2f} ms (limit {LIMIT_MS:.0f})")
        print(f"trial {args.trials // 2:6}: {around(first, len(first)):6.2f} ms")
        print(f"trial {args.trials:6}: {late:6.2f} ms, {late / early:.2f} times trial 100 (limit {LIMIT_RATIO})")
        study = open_study(folder / "study")
        once("open the study to read it", open_study, folder / "study")
        once("trials.csv", write_table, study, folder / "table.csv")
        once("resume of a finished sweep, all of it", sweep, folder, args.trials, shown, *args.overrides)
        size = sum(p.stat().st_size for p in (folder / "study").glob("study.*"))
        print(f"{'journal':40} {size / args.trials:9.0f} bytes per trial")
        if profile is not None:
            pstats.Stats(profile).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    os.environ["HYDRA_FULL_ERROR"] = "1"
    main()
