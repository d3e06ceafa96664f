"""How long a person waits: `make sweep` on the defaults (limit 120 s), and `dvc repro` with nothing changed (3 s)."""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.projects import python, throwaway_project


def seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def sweep(root: Path) -> None:
    """What `make sweep` runs once the environment is there."""
    python(root, "trimtab.stages.prepare")
    python(root, "trimtab.stages.sweep")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="runs of the idle `dvc repro`")
    args = parser.parse_args()
    with throwaway_project() as root:
        first = seconds(lambda: sweep(root))
        again = seconds(lambda: sweep(root))
        full = seconds(lambda: python(root, "dvc", "repro"))
        idle = [seconds(lambda: python(root, "dvc", "repro")) for _ in range(args.repeats)]
    print(f"make sweep, default budget        {first:6.1f} s (limit 120)")
    print(f"make sweep, nothing left to do    {again:6.1f} s")
    print(f"dvc repro after that sweep        {full:6.1f} s")
    print(
        f"dvc repro with nothing changed    {statistics.median(idle):6.2f} s "
        f"(limit 3; min {min(idle):.2f}, max {max(idle):.2f})"
    )


if __name__ == "__main__":
    main()
