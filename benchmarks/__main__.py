"""`make bench`: every measurement, one after another; `python -m benchmarks fixed_cost` runs one.

Options behind one name go to it: `python -m benchmarks engine --works A B --repeats 3`.
"""

import argparse
import subprocess
import sys

ALL = (
    "pipeline_times",
    "fixed_cost",
    "solo_vs_bare_loop",
    "trial_overhead",
    "population",
    "engine",
    "pruned_time",
    "regret",
    "sweeper_overhead",
    "sweeper_schedules",
    "sweeper_kills",
    "sweeper_pruning",
    "sweeper_quality",
    "sweeper_storage",
    "champions",
    "worked_example",
    "mnist1d",
    "knob_ends",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(ALL)}; default: all")
    cut = next((i for i, word in enumerate(sys.argv[1:], start=1) if word.startswith("-")), len(sys.argv))
    typed, options = (sys.argv[1:cut], sys.argv[cut:]) if cut == 2 else (sys.argv[1:], [])
    names = parser.parse_args(typed).names or ALL
    if unknown := set(names) - set(ALL):
        parser.error(f"there is no measurement {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    for name in names:
        print(f"== {name}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *options], check=True)


if __name__ == "__main__":
    main()
