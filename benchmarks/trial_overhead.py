"""Fixed cost of a trial of the sweeper (CPU time): a task that returns at once, split into parts.

python benchmarks/trial_overhead.py [--trials 100 500] [--samplers random tpe] [--profile]
"""

import argparse
import contextlib
import cProfile
import io
import os
import pstats
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hydra import main as hydra_main
from omegaconf import DictConfig

from trimtab.sweep.jobs.job import Job
from trimtab.sweep.space.compose import Composer
from trimtab.sweep.store.journal import Journal
from trimtab.sweep.supply import Supply

CONFIG = """
defaults: [{opt: adam}, {override hydra/sweeper: trimtab}, _self_]
width: 64
depth: 2
batch: 32
dropout: 0.0
seed: 0
hydra:
  sweeper:
    seed_key: seed
    params:
      opt: choice(adam, sgd)
      opt.lr: tag(log, interval(1e-4, 1.0))
      opt.decay: tag(log, interval(1e-6, 0.1))
      opt.momentum: {values: "interval(0.0, 0.99)", when: {opt: sgd}}
      width: tag(log, int(interval(16, 256)))
      depth: range(1, 5)
      batch: choice(16, 32, 64, 128, 256)
      dropout: interval(0.0, 0.5)
"""
PARTS: dict[str, tuple[Any, str]] = {
    "compose": (Composer, "job"),
    "ask": (Supply, "next"),
    "job": (Job, "__call__"),
    "tell": (Journal, "tell"),
}


@contextlib.contextmanager
def timed(seconds: dict[str, float]) -> Iterator[None]:
    """Adds up the time spent in each part."""
    kept = {name: getattr(owner, method) for name, (owner, method) in PARTS.items()}
    for name, (owner, method) in PARTS.items():
        setattr(owner, method, _stopwatch(kept[name], name, seconds))
    yield
    for name, (owner, method) in PARTS.items():
        setattr(owner, method, kept[name])


def _stopwatch(fn: Callable[..., Any], name: str, seconds: dict[str, float]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        begun = time.thread_time()
        try:
            return fn(*args, **kwargs)
        finally:
            seconds[name] = seconds.get(name, 0.0) + time.thread_time() - begun

    return run


def write_app(folder: Path) -> None:
    (folder / "opt").mkdir()
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "opt" / "adam.yaml").write_text("lr: 0.001\ndecay: 0.01\n")
    (folder / "opt" / "sgd.yaml").write_text("lr: 0.1\ndecay: 0.01\nmomentum: 0.9\n")


def measure(folder: Path, sampler: str, trials: int) -> dict[str, float]:
    """Milliseconds per trial of each part, and in total."""
    seconds: dict[str, float] = {}

    def task(cfg: DictConfig) -> float:
        return float(cfg.dropout + cfg.opt.lr)

    sys.argv = [
        "app",
        "-m",
        f"hydra/sweeper/sampler={sampler}",
        f"hydra.sweeper.n_trials={trials}",
        f"hydra.sweep.dir={folder}/{sampler}-{trials}",
        "hydra.sweeper.progress=none",
    ]
    run = hydra_main(config_path=str(folder), config_name="config", version_base="1.3")(task)
    begun = time.thread_time()
    with timed(seconds):
        run()
    seconds["all"] = time.thread_time() - begun
    seconds["rest"] = seconds["all"] - sum(seconds[name] for name in PARTS)
    return {name: s * 1e3 / trials for name, s in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 500])
    parser.add_argument("--samplers", nargs="+", default=["random", "tpe"])
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    args = parser.parse_args()
    columns = [*PARTS, "rest", "all"]
    print("CPU ms per trial, inline".ljust(24) + "".join(c.rjust(9) for c in columns))
    with tempfile.TemporaryDirectory() as name, cProfile.Profile() if args.profile else _nothing() as p:
        write_app(Path(name))
        for sampler in args.samplers:
            for trials in args.trials:
                cost = measure(Path(name), sampler, trials)
                print(f"{sampler}, {trials} trials".ljust(24), end="")
                print("".join(f"{cost[c]:9.1f}" for c in columns))
    if args.profile:
        text = io.StringIO()
        pstats.Stats(p, stream=text).sort_stats("cumtime").print_stats(40)
        print(text.getvalue())


@contextlib.contextmanager
def _nothing() -> Iterator[None]:
    yield


if __name__ == "__main__":
    os.environ["HYDRA_FULL_ERROR"] = "1"
    main()
