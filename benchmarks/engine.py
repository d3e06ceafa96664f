"""The engine against what people use today: python -m benchmarks engine [--works A B] [--peers …] [--repeats 3].

Every round runs trimtab (by its door, `python -m trimtab.stages.sweep`, in a throwaway project, MLflow and files
included) and each peer of `benchmarks/peers` one after another on both cores, the order turned by one from round to
round; ratios are taken within a round. Works, rows, networks, ranges, epochs and first trial are the same for all
(`benchmarks/works.py`), and the best validation loss that each finds stands beside its speed.

What a trial of work A costs hangs on where a search goes: twice as much with small batches, a tenth with small
networks. So the peer that searches also trains just the trials that trimtab has tried (`the same trials`), and of each
search's trials the matrix products alone are timed: no program can train them in less.

`whole` is the wall time of the command as a user waits for it, imports and a new MLflow database included: the
headline. `steady` takes off what the same command needs for two trials of one epoch, once per round and command: what
more trials cost. Loops that do nothing but train, and the arithmetic, are held to their limits by `steady`. Ray's
defaults start a process for each trial, so it runs fewer (`--ray-trials`), and its whole time is what it would be for
as many as the others at its steady pace; `ray_tune_reusing` is Ray told to keep its processes, with as few.
"""

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

from benchmarks.peers.arithmetic import mean_core_seconds
from benchmarks.peers.command import Result, best_so_far, save_arrays
from benchmarks.projects import throwaway_project
from benchmarks.studies import lacks, sweep
from benchmarks.works import WORKS, Choice, Data, Settings, Work

US = "trimtab"
PEERS = {
    # By what they can do: a stack shares its shapes, and only a perceptron's products are written out.
    "optuna_lightning": "ABCD",
    "ray_tune_lightning": "ABCD",
    "ray_tune_reusing": "ABCD",
    "bare_loop": "ABCD",
    "vmap_loop": "BCD",
    "arithmetic": "B",
}
SAME = "optuna_lightning"
"""Who also trains what trimtab's search tried in work A, so that where a search goes counts for nobody."""
SEARCHES = ("optuna_lightning", "ray_tune_lightning", "ray_tune_reusing")
COMMANDS = {"ray_tune_reusing": ["ray_tune_lightning", "--reuse-actors"]}
"""Where a peer is not the script of its name."""
DEFAULT = {"A": ["optuna_lightning"], "B": list(PEERS), "C": ["optuna_lightning"], "D": ["optuna_lightning"]}
WARM_TRIALS = 2
MORE = 4
"""Times the trials that trimtab may take to reach a peer's score."""


@dataclass(frozen=True)
class Limit:
    """How much faster trimtab must be, or how much slower it may be (`factor` below is then its time over theirs)."""

    factor: float
    basis: str
    at_most: bool = False

    def said(self, ratios: Sequence[float]) -> str:
        """Whether the median of the peer's time over ours keeps it."""
        ratio = statistics.median(ratios)
        held = 1 / ratio <= self.factor if self.at_most else ratio >= self.factor
        wanted = f"our time at most {self.factor:g}x its" if self.at_most else f"at least {self.factor:g}x faster"
        return f"{wanted}, {self.basis}: {'held' if held else 'NOT HELD'}"


LIMITS = {
    ("A", "optuna_lightning"): Limit(6, "whole"),
    ("B", "optuna_lightning"): Limit(10, "whole"),
    ("C", "optuna_lightning"): Limit(5, "whole"),
    ("B", "ray_tune_lightning"): Limit(25, "whole"),
    ("B", "bare_loop"): Limit(3, "steady"),
    ("B", "vmap_loop"): Limit(1.2, "steady", at_most=True),
    ("B", "arithmetic"): Limit(3, "steady", at_most=True),
}
SCORE_LIMIT = 5.0


@dataclass(frozen=True)
class Measured:
    """One command in one round.

    Attributes:
        result: what it did.
        warm_s: wall time of the same command for two trials of one epoch.
        compared: trials that a whole time is given for.
    """

    result: Result
    warm_s: float
    compared: int

    @property
    def steady_s(self) -> float:
        """Seconds per further trial, both cores together; NaN where noise hides them."""
        further = (self.result.seconds - self.warm_s) / max(self.result.trials - WARM_TRIALS, 1)
        return further if further > 0 else math.nan

    @property
    def whole_s(self) -> float:
        """Seconds per trial as a user waits."""
        further = self.compared - self.result.trials
        return (self.result.seconds + (further * self.steady_s if further else 0)) / self.compared

    @property
    def best(self) -> float:
        """Best validation loss."""
        return next((loss for _, loss in reversed(self.result.curve) if loss is not None), math.nan)

    def seconds_to(self, score: float) -> float:
        """Until a trial was at least that good; infinity if none was."""
        return next((s for s, loss in self.result.curve if loss is not None and loss <= score), math.inf)


Round = dict[str, Measured]


@dataclass(frozen=True)
class Bench:
    """What is run: projects and rows by data set, and the sizes."""

    roots: Mapping[str, Path]
    arrays: Mapping[str, Path]
    epochs: int
    trials: Callable[[Work, str], int]
    typed: Sequence[str]
    at_once: int
    warm: dict[str, float] = field(default_factory=dict)

    def measure(self, name: str, work: Work, seed: int) -> Measured:
        """Runs a command, and once per round the little one that says what starting costs."""
        run = self.us if name == US else self.peer(name)
        if name not in self.warm:
            self.warm[name] = run(work, WARM_TRIALS, 1, seed).seconds
        result = run(work, self.trials(work, name), self.epochs, seed)
        if work.name == "A" and name in (US, *SEARCHES):
            result.facts["products_core_s"] = self.products(work, result.settings)
        return Measured(result, self.warm[name], self.trials(work, US))

    def us(self, work: Work, trials: int, epochs: int, seed: int) -> Result:
        """trimtab, in a project without studies."""
        swept = sweep(self.roots[work.data], self.overrides(work, trials, epochs, seed))
        if work.name == "A":
            check_space(work, swept.knobs)
        if swept.engine and trials > WARM_TRIALS:
            print(f"\n{work.title}: {swept.engine}", flush=True)
        curve, settings = best_so_far(swept.ended, swept.begun), list(swept.params)
        return Result(round(swept.seconds, 3), len(swept.ended), curve, settings, dict(swept.facts))

    def overrides(self, work: Work, trials: int, epochs: int, seed: int) -> list[str]:
        """Everybody trains to the end."""
        length = [f"training.epochs={epochs}", "training.patience_epochs=null"]
        return [*work.overrides, f"budget.trials={trials}", *length, f"seed={seed}", *self.typed]

    def same(self, work: Work, found: Measured, seed: int) -> Measured:
        """The peer that trains trimtab's trials."""
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(found.result.settings, file)
            file.flush()
            run, trials = self.peer(SAME, "--settings", file.name), found.result.trials
            return Measured(run(work, trials, self.epochs, seed), self.warm[SAME], trials)

    def peer(self, name: str, *more: str) -> Callable[[Work, int, int, int], Result]:
        """A peer by its command line."""

        def run(work: Work, trials: int, epochs: int, _: int) -> Result:
            sizes = ["--trials", str(trials), "--epochs", str(epochs), "--at-once", str(self.at_once)]
            what = ["--work", work.name, "--data", work.data, "--arrays", str(self.arrays[work.data])]
            script, *switches = COMMANDS.get(name, [name])
            argv = [sys.executable, "-m", f"benchmarks.peers.{script}", *what, *sizes, *switches, *more]
            begun = time.time()
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
            seconds = time.time() - begun
            if done.returncode:
                raise SystemExit(f"{name} failed:\n{done.stdout}{done.stderr}")
            said = json.loads(done.stdout.splitlines()[-1])
            return Result(round(seconds, 3), said["trials"], said["curve"], said["settings"])

        return run

    def products(self, work: Work, searched: Sequence[Settings]) -> float:
        """Core-seconds that the matrix products of a trial take, in the mean of those that a search came to."""
        rows, settings = Data.load(self.arrays[work.data]).x, [{**work.first, **one} for one in searched]
        return mean_core_seconds(settings, math.prod(rows.shape[1:]), len(rows), self.epochs)

    def seconds_to(self, score: float, work: Work, found: Measured, seed: int) -> float:
        """trimtab's time to a score: in the sweep that was run, else with the same study continued.

        The second command's start is part of it, as it is for a user who raises the budget.
        """
        if (seconds := found.seconds_to(score)) < math.inf:
            return seconds
        budget = self.overrides(work, MORE * found.result.trials, self.epochs, seed)
        swept = sweep(self.roots[work.data], [*budget, f"hydra.sweeper.target={score}"], anew=False)
        further = sorted(swept.ended)[found.result.trials :]
        reached = next((at - swept.begun for at, value in further if value <= score), math.inf)
        return found.result.seconds + reached


def check_space(work: Work, knobs: Mapping[str, Mapping[str, object]]) -> None:
    """Holds what the peers search to what trimtab searched."""
    ours = {name: (k["choices"], k["low"], k["high"], k["log"]) for name, k in knobs.items()}
    theirs = {
        name: (list(k.options), None, None, False) if isinstance(k, Choice) else (None, k.low, k.high, k.log)
        for name, k in work.knobs.items()
    }
    if ours != theirs:
        raise SystemExit(
            f"conf/search/{work.model}.yaml is no longer the space of benchmarks/works.py:\n{ours}\n{theirs}"
        )


def turned(names: Sequence[str], by: int) -> Iterator[str]:
    """The names, beginning with another one each round."""
    start = by % len(names)
    yield from (*names[start:], *names[:start])


def report(
    work: Work, rounds: Sequence[Round], scores: Sequence[tuple[float, float]], same: Sequence[Measured] = ()
) -> Iterator[str]:
    """The lines of one work.

    Args:
        work: which.
        rounds: what was measured.
        scores: of each round, the best peer's time to its best score, and ours.
        same: of each round, the peer that trained trimtab's trials.
    """
    regret = min(m.best for r in rounds for m in r.values() if not math.isnan(m.best))
    trials = ", ".join(f"{name} {m.result.trials}" for name, m in rounds[0].items())
    yield f"\n{work.title}, sampler {work.sampler}; trials: {trials}; {len(rounds)} rounds: median (min to max)"
    header = ("", "whole trials/min", "start s", "steady s/trial", "best val/loss", "regret")
    yield "{:20} {:>26} {:>8} {:>26} {:>14} {:>8}".format(*header)
    for name in rounds[0]:
        runs = [r[name] for r in rounds]
        pace = spread([60 / m.whole_s for m in runs], "{:.1f}")
        steady = spread([m.steady_s for m in runs], "{:.3f}")
        start, best = (statistics.median(values) for values in ([m.warm_s for m in runs], [m.best for m in runs]))
        yield f"{name:20} {pace:>26} {start:8.1f} {steady:>26} {best:14.4f} {best - regret:8.4f}"
    for name in rounds[0]:
        if name != US:
            yield from ratios(work, name, rounds)
    if same:
        again = [{SAME: theirs, US: r[US]} for theirs, r in zip(same, rounds, strict=True)]
        yield "  the same trials, those of trimtab's search, trained by both:"
        yield from (f"  {line}" for line in ratios(work, SAME, again))
    yield from living(rounds)
    yield from bounds(rounds)
    if scores:
        gained = [theirs / ours for theirs, ours in scores]
        said = ", ".join(f"{theirs:.1f} s against {ours:.1f} s" for theirs, ours in scores)
        held = "held" if statistics.median(gained) >= SCORE_LIMIT else "NOT HELD"
        wanted = f"at least {SCORE_LIMIT:g}x less: {held}"
        yield f"  time to the best peer's score: {said}; {spread(gained)}x less ({wanted})"


def ratios(work: Work, name: str, rounds: Sequence[Round]) -> Iterator[str]:
    """The peer's time over ours, per trial."""
    bases = {
        "whole": [r[name].whole_s / r[US].whole_s for r in rounds],
        "steady": [r[name].steady_s / r[US].steady_s for r in rounds],
    }
    limit = LIMITS.get((work.name, name))
    said = f" ({limit.said(bases[limit.basis])})" if limit else ""
    yield f"  {name} / {US}: whole {spread(bases['whole'])}x, steady {spread(bases['steady'])}x{said}"
    if limit and limit.at_most:
        yield f"    {US} / {name}: steady {spread([1 / ratio for ratio in bases['steady']])}x"


def living(rounds: Sequence[Round]) -> Iterator[str]:
    """Mean number of members that were trained together, and the share that ran alone, where the study says so."""
    runs = [r[US].result for r in rounds if r[US].result.facts.get("stack_epochs")]
    if runs:
        size = [r.facts["member_epochs"] / r.facts["stack_epochs"] for r in runs]
        alone = [r.facts["solo_trials"] / r.trials for r in runs]
        yield f"  mean living population {spread(size, '{:.1f}')}, fell back to solo {spread(alone, '{:.0%}')}"


def bounds(rounds: Sequence[Round]) -> Iterator[str]:
    """How far each is from nothing but the matrix products of its own trials, which differ by where a search goes."""
    names = [name for name in rounds[0] if all("products_core_s" in r[name].result.facts for r in rounds)]
    times = {name: [r[name].result.facts["products_core_s"] / 2 for r in rounds] for name in names}
    over = {name: [r[name].steady_s / s for r, s in zip(rounds, times[name], strict=True)] for name in names}
    for name in names:
        took = f"{spread(times[name], '{:.3f}')} s/trial on both cores; steady it takes {spread(over[name])}x that"
        ratio = "" if name == US else f", {spread([a / b for a, b in zip(over[name], over[US], strict=True)])}x {US}'s"
        yield f"  {name}: the products of its own trials alone take {took}{ratio}"


def spread(values: Sequence[float], form: str = "{:.2f}") -> str:
    """Median (min to max)."""
    median, low, high = (form.format(v) for v in (statistics.median(values), min(values), max(values)))
    return f"{median} ({low} to {high})" if len(values) > 1 else median


def main() -> None:
    args = arguments()
    works = [w for w in WORKS if w.name in args.works]
    print(machine(), f"{args.epochs} epochs; engine={args.engine} {' '.join(args.overrides)}", flush=True)
    rounds: dict[str, list[Round]] = {w.title: [] for w in works}
    scores: dict[str, list[tuple[float, float]]] = {w.title: [] for w in works}
    same: dict[str, list[Measured]] = {w.title: [] for w in works}
    with ExitStack() as stack:
        bench = prepared(stack, works, args)
        for number in range(args.repeats):
            bench.warm.clear()
            for work in works:
                found, reached = rounds[work.title], scores[work.title]
                names = [US, *(p for p in args.peers or DEFAULT[work.name] if work.name in PEERS[p])]
                measured = {name: bench.measure(name, work, number) for name in turned(names, number)}
                found.append({name: measured[name] for name in names})
                if work.name == "A" and (peers := [measured[p] for p in SEARCHES if p in measured]):
                    best = min(peers, key=lambda m: m.best)
                    reached.append(
                        (best.seconds_to(best.best), bench.seconds_to(best.best, work, measured[US], number))
                    )
                if work.name == "A" and SAME in measured:
                    same[work.title].append(bench.same(work, measured[US], number))
                print(*report(work, found, reached, same[work.title]), sep="\n", flush=True)
    if args.json:
        args.json.write_text(json.dumps({t: [{n: asdict(m) for n, m in r.items()} for r in rounds[t]] for t in rounds}))


def prepared(stack: ExitStack, works: Sequence[Work], args: argparse.Namespace) -> Bench:
    """A project and its rows for each data set; gone when the stack is left."""
    roots = {data: stack.enter_context(throwaway_project()) for data in dict.fromkeys(w.data for w in works)}
    if any(lacks(root, args.engine) for root in roots.values()):
        raise SystemExit(f"conf/engine has no {args.engine} here; give --engine solo")
    budgets: dict[str, int] = {"A": args.trials, "B": args.trials, "C": args.conv_trials, "D": args.conv_trials}

    def trials(work: Work, name: str) -> int:
        most = args.ray_trials if name.startswith("ray") else budgets[work.name]
        return min(budgets[work.name], most)

    arrays = {data: save_arrays(root, data) for data, root in roots.items()}
    return Bench(roots, arrays, args.epochs, trials, [f"engine={args.engine}", *args.overrides], args.at_once)


def machine() -> str:
    """Where and with what."""
    names = ("torch", "pytorch-lightning", "optuna", "mlflow", "ray")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    return f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {versions};"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks engine", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--works", nargs="+", choices=list(DEFAULT), default=list(DEFAULT))
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), help="default: those that a work has a limit for")
    parser.add_argument("--trials", type=int, default=64, help="of works A and B")
    parser.add_argument("--conv-trials", type=int, default=16, help="of works C and D")
    parser.add_argument("--ray-trials", type=int, default=16, help="of Ray Tune, either way, at most")
    parser.add_argument("--epochs", type=int, default=30, help="the project's default")
    parser.add_argument("--repeats", type=int, default=1, help="rounds")
    parser.add_argument("--at-once", type=int, default=32, help="members of a stack of vmap_loop")
    parser.add_argument("--engine", default="auto", help="any option of conf/engine")
    parser.add_argument("--json", type=Path, help="writes every measurement there")
    parser.add_argument(
        "--overrides", nargs="+", default=[], help="more overrides for trimtab, e.g. hydra.sweeper.population.at_once=8"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
