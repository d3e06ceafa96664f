"""What a trial costs beside its task, at trial 100 and at trial 10,000: an empty task, random sampler, inline.

python -m benchmarks.sweeper_overhead [--trials 10000] [--profile]

Time from one call of the task to the next, the median of a window of trials, as wall and as CPU time (which other work
on the machine disturbs less). Limits: 30 ms at trial 100, and at most 1.5 times that at the last. Beside it what
happens once per sweep at that size: resume, table, status.
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
from itertools import pairwise
from pathlib import Path
from typing import Any

from hydra import main as hydra_main
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from benchmarks.trial_overhead import write_app
from trimtab.sweep.store.study import open_study
from trimtab.sweep.store.table import write_table
from trimtab.tools import status

LIMIT_MS, LIMIT_RATIO = 30.0, 1.5
WINDOW = 100


Moment = tuple[float, float]
"""Wall clock and CPU clock, seconds."""


def sweep(folder: Path, trials: int, *overrides: str) -> list[Moment]:
    """The moments at which the task was called."""
    moments: list[Moment] = []

    def task(cfg: DictConfig) -> float:
        moments.append((time.perf_counter(), time.process_time()))
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


def around(moments: list[Moment], trial: int) -> Moment:
    """Median milliseconds per trial in a window that ends at `trial`."""
    part = moments[max(0, trial - WINDOW) : trial]
    pairs = list(pairwise(part))
    wall, cpu = (1e3 * statistics.median(b[i] - a[i] for a, b in pairs) for i in (0, 1))
    return wall, cpu


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
        early, middle, late = around(first, 2 * WINDOW), around(first, len(first)), around(last, len(last))
        for trial, (wall, cpu) in ((2 * WINDOW - WINDOW // 2, early), (args.trials // 2, middle), (args.trials, late)):
            print(f"trial {trial:6}: {wall:6.2f} ms wall, {cpu:6.2f} ms CPU (limit {LIMIT_MS:.0f} at trial 100)")
        ratios = [b / a for a, b in zip(early, late, strict=True)]
        print(f"last to trial 100: {ratios[0]:.2f} wall, {ratios[1]:.2f} CPU (limit {LIMIT_RATIO})")
        study = open_study(folder / "study")
        once("open the study to read it", open_study, folder / "study")
        once("status", status.lines, folder / "study")
        once("trials.csv", write_table, study, folder / "table.csv")
        once("resume of a finished sweep, all of it", sweep, folder, args.trials, shown, *args.overrides)
        size = sum(p.stat().st_size for p in (folder / "study").glob("study.*"))
        print(f"{'journal':40} {size / args.trials:9.0f} bytes per trial")
        if profile is not None:
            pstats.Stats(profile).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    os.environ["HYDRA_FULL_ERROR"] = "1"
    main()
