"""Does the sweeper search as well as plain Optuna with the same sampler, and what does asking blindly cost?

python -m benchmarks.sweeper_quality [--samplers tpe cmaes] [--seeds 20] [--trials 200] [--workers 2] [--figure F.png]

Public test functions (Branin, Hartmann-6, Rosenbrock-4, Ackley-5 whose knobs are numbers, one on a log scale, an
integer and a choice; ZDT1 for several objectives) and a space with conditions, at equal trials: the best regret so far
on a log10 scale, less hypervolume for ZDT1; less is better. Compared with `optuna.optimize`: the schedule
`reproducible` by lag (lag 1 knows as much as `optuna.optimize`), and 16 trials asked for at once, as a population is.

What proposes is the sweeper's own view and samplers, without Hydra's jobs around them; that this is what the sweeper
does is checked on a real sweep, trial for trial. Limit: lag 1 no worse than plain Optuna beyond noise (bootstrap over
seeds of the mean difference, over all functions of a sampler together; single rows are many, some differ by chance).

`--figure` draws the curves, over trials and over time: four workers, log-normal times (sigma 1, mean 1), computed.
"""

import argparse
import heapq
import math
import os
import random
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import optuna
from hydra import main as hydra_main
from hydra.core.global_hydra import GlobalHydra
from numpy.typing import NDArray
from omegaconf import DictConfig
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from benchmarks.curves import Row, draw
from trimtab.sweep.samplers.covariance import CmaEs
from trimtab.sweep.samplers.genetic import Genetic, Nsga2
from trimtab.sweep.samplers.optunas import Gp, Random, Tpe
from trimtab.sweep.samplers.sampler import Sampler
from trimtab.sweep.samplers.view import View
from trimtab.sweep.settings import Direction
from trimtab.sweep.space.knobs import Condition, Knob, Space, Value
from trimtab.sweep.store.study import open_study

Point = Mapping[str, Value]
SHOWN = (25, 50, 100, 200)
RESAMPLES = 2000
FLOOR = 1e-12
"""Regrets below count as this much."""


# ---------------------------------------------------------------------------------------------------------------------
# What is searched.


@dataclass(frozen=True)
class Problem:
    """A function with its space.

    Attributes:
        optimum: its least value; of several objectives, the reference point of the hypervolume.
    """

    space: Space
    function: Callable[[Point], tuple[float, ...]]
    optimum: tuple[float, ...]

    @property
    def directions(self) -> list[Direction]:
        """All are minimised."""
        return ["minimize"] * len(self.optimum)

    def scores(self, values: Sequence[tuple[float, ...]]) -> NDArray[np.float64]:
        """(trials,) of what is to be small after each trial."""
        if len(self.optimum) > 1:
            front = np.array(values)
            return np.array([-hypervolume(front[: n + 1], self.optimum) for n in range(len(values))])
        best = np.minimum.accumulate([v[0] - self.optimum[0] for v in values])
        scores: NDArray[np.float64] = np.log10(np.maximum(best, FLOOR))
        return scores


def hypervolume(points: NDArray[np.float64], reference: tuple[float, ...]) -> float:
    """Area between two-dimensional points and a reference."""
    area, low = 0.0, reference[1]
    for x, y in sorted(map(tuple, points)):
        if x < reference[0] and y < low:
            area += (reference[0] - x) * (low - y)
            low = y
    return area


def numbers(names: Sequence[str], low: float, high: float) -> Space:
    return Space.of(Knob(name, FloatDistribution(low, high)) for name in names)


def branin(p: Point) -> tuple[float]:
    x, y = _floats(p, "x", "y")
    inner = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return (inner**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10,)


HARTMANN_A = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
HARTMANN_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)
SIX = tuple(f"x{i}" for i in range(6))


def hartmann(p: Point) -> tuple[float]:
    """Hartmann-6 (https://www.sfu.ca/~ssurjano/hart6.html)."""
    x = np.array(_floats(p, *SIX))
    return (-float(np.exp(-(HARTMANN_A * (x - HARTMANN_P) ** 2).sum(1)) @ [1.0, 1.2, 3.0, 3.2]),)


def rosenbrock(p: Point) -> tuple[float]:
    x = np.array(_floats(p, *SIX[:4]))
    return (float((100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()),)


SHIFTS = {"a": 3.0, "b": -5.0, "c": 0.0, "d": 8.0, "e": 1.0}


def ackley(p: Point) -> tuple[float]:
    """Ackley's function of five knobs of different kinds."""
    x, y, lr, n = _floats(p, "x", "y", "lr", "n")
    u = np.array([x - 1.2, y + 3.4, 4 * (math.log10(lr) + 3), n - 4, SHIFTS[str(p["kind"])]])
    a, b = 20 * math.exp(-0.2 * math.sqrt((u**2).mean())), math.exp(np.cos(2 * math.pi * u).mean())
    return (20 + math.e - a - b,)


MIXED = Space.of(
    [
        *numbers(("x", "y"), -10.0, 10.0).knobs,
        Knob("lr", FloatDistribution(1e-6, 1.0, log=True)),
        Knob("n", IntDistribution(-10, 10)),
        Knob("kind", CategoricalDistribution(list(SHIFTS)), tuple(SHIFTS), tuple(SHIFTS)),
    ]
)


def network(p: Point) -> tuple[float]:
    """Each optimizer has a rate of its own range and one more knob; each layer has a width."""
    lr = math.log10(next(float(str(v)) for name, v in p.items() if name.startswith("lr")))
    if p["opt"] == "sgd":
        loss = 0.05 + (lr + 0.5) ** 2 + 3 * (_floats(p, "momentum")[0] - 0.9) ** 2
    else:
        loss = (lr + 2.8) ** 2 + 20 * (_floats(p, "beta")[0] - 0.95) ** 2
    depth = int(_floats(p, "depth")[0])
    widths = [math.log2(w) for w in _floats(p, *(f"width{i}" for i in range(depth)))]
    return (loss + 0.2 * abs(depth - 2) + 0.05 * sum((w - 7) ** 2 for w in widths) / depth,)


def _when(knob: str, *allowed: Value) -> tuple[Condition, ...]:
    return (Condition(knob, allowed),)


CONDITIONAL = Space.of(
    [
        Knob("opt", CategoricalDistribution(["sgd", "adam"]), ("sgd", "adam"), ("sgd", "adam")),
        Knob("lr if opt=sgd", FloatDistribution(1e-3, 10.0, log=True), when=_when("opt", "sgd")),
        Knob("lr if opt=adam", FloatDistribution(1e-5, 0.1, log=True), when=_when("opt", "adam")),
        Knob("momentum", FloatDistribution(0.0, 0.99), when=_when("opt", "sgd")),
        Knob("beta", FloatDistribution(0.5, 0.999), when=_when("opt", "adam")),
        Knob("depth", IntDistribution(1, 3)),
        *(
            Knob(f"width{i}", IntDistribution(16, 1024, log=True), when=_when("depth", *range(i + 1, 4)))
            for i in range(3)
        ),
    ]
)


def zdt1(p: Point) -> tuple[float, float]:
    x = np.array(_floats(p, *SIX))
    g = 1 + 9 * x[1:].mean()
    return float(x[0]), float(g * (1 - math.sqrt(x[0] / g)))


def _floats(p: Point, *names: str) -> list[float]:
    return [float(p[name]) for name in names]  # type: ignore[arg-type]


PROBLEMS = {
    "Branin": Problem(
        Space.of([Knob("x", FloatDistribution(-5.0, 10.0)), Knob("y", FloatDistribution(0.0, 15.0))]),
        branin,
        (0.39788735772973816,),
    ),
    "Hartmann-6": Problem(numbers(SIX, 0.0, 1.0), hartmann, (-3.322368011391339,)),
    "Rosenbrock-4": Problem(numbers(SIX[:4], -5.0, 10.0), rosenbrock, (0.0,)),
    "Ackley-5, mixed": Problem(MIXED, ackley, (0.0,)),
    "conditional": Problem(CONDITIONAL, network, (0.0,)),
    "ZDT1-6": Problem(numbers(SIX, 0.0, 1.0), zdt1, (1.1, 11.0)),
}
NUMERIC = ("Branin", "Hartmann-6", "Rosenbrock-4")


# ---------------------------------------------------------------------------------------------------------------------
# Who searches, and how.

PLAIN = "optuna.optimize"
BATCH = "16 at once"
SEEN: dict[str, Callable[[int], int]] = {
    **{f"lag {lag}": partial(lambda lag, n: max(0, n + 1 - lag), lag) for lag in (1, 8, 16, 32)},
    BATCH: lambda n: n - n % 16,
}
"""By way: trials below this are known when trial n is asked for."""
WAYS = (PLAIN, *SEEN)


@dataclass(frozen=True)
class Contest:
    """A sampler of ours with Optuna's.

    Attributes:
        plain: makes Optuna's, with the same settings, of a seed.
        ways: of asking.
        trials: the most that it is given.
    """

    ours: Callable[[], Sampler]
    plain: Callable[[int], BaseSampler]
    problems: tuple[str, ...]
    ways: tuple[str, ...] = WAYS
    trials: int = 1000


MANY = ("Branin", "Hartmann-6", "Ackley-5, mixed", "conditional")
CONTESTS = {
    "random": Contest(Random, optuna.samplers.RandomSampler, MANY, WAYS[:2]),  # what others found changes nothing
    "tpe": Contest(
        Tpe, lambda seed: optuna.samplers.TPESampler(multivariate=True, constant_liar=True, seed=seed), MANY
    ),
    # A Gaussian process takes half a second to propose.
    "gp": Contest(Gp, lambda seed: optuna.samplers.GPSampler(seed=seed), ("Hartmann-6",), (PLAIN, "lag 1", BATCH), 40),
    "cmaes": Contest(CmaEs, lambda seed: optuna.samplers.CmaEsSampler(seed=seed), NUMERIC),
    "genetic": Contest(
        Genetic,
        lambda seed: optuna.samplers.NSGAIISampler(population_size=32, seed=seed),
        (*NUMERIC, "Ackley-5, mixed", "conditional"),
    ),
    "nsga2": Contest(Nsga2, lambda seed: optuna.samplers.NSGAIISampler(seed=seed), ("ZDT1-6",)),
}
Task = tuple[str, str, str, int, int]
"""Sampler, problem, way, seed, trials."""
Scores = Mapping[tuple[str, str], NDArray[np.float64]]
"""(seeds, …) by problem and way."""


def run(task: Task) -> NDArray[np.float64]:
    """In a worker: one study; (trials,) scores."""
    sampler, name, way, seed, trials = task
    contest, problem = CONTESTS[sampler], PROBLEMS[name]
    if way == PLAIN:
        return problem.scores(plainly(problem, contest.plain(seed), trials))
    return problem.scores(ours(problem, contest.ours(), seed, trials, lambda n: range(SEEN[way](n))))


def plainly(problem: Problem, sampler: BaseSampler, trials: int) -> list[tuple[float, ...]]:
    """As Optuna's documentation shows it."""
    study = optuna.create_study(sampler=sampler, directions=problem.directions, pruner=optuna.pruners.NopPruner())

    def objective(trial: Trial) -> tuple[float, ...]:
        return problem.function(problem.space.choose(lambda knob: knob.suggest(trial)) and trial.params)

    study.optimize(objective, n_trials=trials)
    return [tuple(t.values) for t in study.trials]


def ours(
    problem: Problem, sampler: Sampler, seed: int, trials: int, seen: Callable[[int], Iterable[int]]
) -> list[tuple[float, ...]]:
    """As `trimtab.sweep.supply` asks and tells.

    Args:
        problem: what is searched.
        sampler: afresh.
        seed: the study's.
        trials: how many.
        seen: the trials that are known when trial n is asked for.
    """
    view, ended, told = View(problem.directions), list[FrozenTrial](), set[int]()
    for number in range(trials):
        for known in (n for n in seen(number) if n not in told):
            view.tell(ended[known])
            told.add(known)
        asked = view.propose(sampler, problem.space, seed, number, number)
        trial = create_trial(
            state=TrialState.COMPLETE,
            params=asked.params,
            distributions=asked.distributions,
            system_attrs=asked.memory,
            values=problem.function(asked.params),
        )
        trial.number = number
        ended.append(trial)
    return [tuple(t.values) for t in ended]


def same_as_a_sweep(trials: int = 40, lag: int = 8) -> bool:
    """Whether a real sweep of Branin's function proposes what `ours` does."""
    problem = PROBLEMS["Branin"]
    expected = ours(problem, Tpe(), 0, trials, lambda n: range(max(0, n + 1 - lag)))

    def task(cfg: DictConfig) -> float:
        return branin({"x": cfg.x, "y": cfg.y})[0]

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.yaml").write_text("defaults: [{override hydra/sweeper: trimtab}]\nx: 0.0\ny: 0.0\n")
        space = ["x=interval(-5.0,10.0)", "y=interval(0.0,15.0)", f"hydra.sweep.dir={folder}/study"]
        settings = {"n_trials": trials, "lag": lag, "baseline": "false", "progress": "none"}
        GlobalHydra.instance().clear()
        sys.argv = ["app", "-m", *space, *(f"hydra.sweeper.{k}={v}" for k, v in settings.items())]
        hydra_main(config_path=folder, config_name="config", version_base="1.3")(task)()
        return [tuple(t.values) for t in open_study(Path(folder, "study")).trials] == expected


# ---------------------------------------------------------------------------------------------------------------------
# What it takes in time.

WORKERS = 4
ALONE, BATCHES, ASYNC = "optuna.optimize, 1 worker", "optuna, batches of 4", "async"
WAITS: dict[str, Callable[[int], int]] = {
    ALONE: lambda n: n,
    BATCHES: lambda n: n - n % WORKERS,
    **{way: SEEN[way] for way in ("lag 8", "lag 32")},
    ASYNC: lambda n: 0,
}
"""By way: trials below this must have ended when trial n starts."""
MOMENTS = 200


def timed(task: Task) -> NDArray[np.float64]:
    """In a worker: one study; (MOMENTS,) scores of what has ended by then; NaN before the first and after the last."""
    sampler, name, way, seed, trials = task
    contest, problem = CONTESTS[sampler], PROBLEMS[name]
    starts, ends = clock(seed, trials, WAITS[way], 1 if way == ALONE else WORKERS)
    if way == ALONE:
        values = plainly(problem, contest.plain(seed), trials)
    elif way == BATCHES:
        values = in_batches(problem, contest.plain(seed), trials)
    elif way == ASYNC:
        values = ours(problem, contest.ours(), seed, trials, lambda n: np.flatnonzero(ends[:n] <= starts[n]).tolist())
    else:
        values = ours(problem, contest.ours(), seed, trials, lambda n: range(WAITS[way](n)))
    scores = problem.scores([values[n] for n in np.argsort(ends)])
    at = moments(trials)
    known = scores[np.searchsorted(np.sort(ends), at, side="right") - 1]
    return np.where((at >= ends.min()) & (at <= ends.max()), known, np.nan)


def clock(
    seed: int, trials: int, waits: Callable[[int], int], workers: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """When trials start and end: in order of number, each once a worker is free and those it waits for have ended."""
    dice, free = random.Random(seed), [0.0] * workers
    starts, ends = np.zeros(trials), np.zeros(trials)
    for n in range(trials):
        starts[n] = max([heapq.heappop(free), *ends[: waits(n)]])
        ends[n] = starts[n] + dice.lognormvariate(-0.5, 1.0)
        heapq.heappush(free, ends[n])
    return starts, ends


def moments(trials: int) -> NDArray[np.float64]:
    """Until batches have ended."""
    return np.linspace(0, 2.2 * trials / WORKERS, MOMENTS)


def in_batches(problem: Problem, sampler: BaseSampler, trials: int) -> list[tuple[float, ...]]:
    """The official Optuna sweeper's way: as many trials as there are workers, then all of them are told."""
    study = optuna.create_study(sampler=sampler, directions=problem.directions, pruner=optuna.pruners.NopPruner())
    for first in range(0, trials, WORKERS):
        asked = [study.ask() for _ in range(min(WORKERS, trials - first))]
        points = [problem.space.choose(partial(Knob.suggest, trial=trial)) for trial in asked]
        for trial, point in zip(asked, points, strict=True):
            study.tell(trial, problem.function(point))
    return [tuple(t.values) for t in study.trials]


# ---------------------------------------------------------------------------------------------------------------------
# What came of it.


def bootstrapped(differences: NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean with its 95 % interval over seeds."""
    picks = np.random.default_rng(0).integers(len(differences), size=(RESAMPLES, len(differences)))
    low, high = np.quantile(differences[picks].mean(1), [0.025, 0.975])
    return float(differences.mean()), float(low), float(high)


def say(sampler: str, found: Scores) -> None:
    """Prints a sampler's table.

    Args:
        sampler: its option.
        found: (seeds, trials) scores by problem and way.
    """
    trials = next(iter(found.values())).shape[1]
    shown = sorted({*(n for n in SHOWN if n <= trials), trials})
    ways = CONTESTS[sampler].ways
    heads = "".join(f"{n:>8}" for n in shown)
    print(f"\n{sampler}: {'problem':18} {'way':16}{heads}   at {shown[-1]}, against {PLAIN}")
    names = list(dict.fromkeys(name for name, _ in found))
    for name in names:
        for way in ways:
            means = "".join(f"{found[name, way][:, n - 1].mean():8.2f}" for n in shown)
            gap = bootstrapped(found[name, way][:, shown[-1] - 1] - found[name, PLAIN][:, shown[-1] - 1])
            against = "" if way == PLAIN else "{:+.2f} [{:+.2f}, {:+.2f}]".format(*gap)
            print(f"{'':{len(sampler) + 2}}{name if way == PLAIN else '':18} {way:16}{means}   {against}")
    for way in ways[1:]:
        gaps = [found[name, way][:, shown[-1] - 1] - found[name, PLAIN][:, shown[-1] - 1] for name in names]
        mean, low, high = bootstrapped(np.mean(gaps, axis=0))
        side = "better" if high < 0 else "WORSE" if low > 0 else "no worse beyond noise"
        print(f"{'':{len(sampler) + 2}}{'all':18} {way:16}{mean:+.2f} [{low:+.2f}, {high:+.2f}] {side}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samplers", nargs="+", choices=list(CONTESTS), default=list(CONTESTS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--figure", type=Path, help="a PNG; with several samplers one each, its name before the dot")
    args = parser.parse_args()
    print(f"a real sweep proposes what is measured here: {'yes' if same_as_a_sweep() else 'NO'}")
    with ProcessPoolExecutor(args.workers, get_context("spawn"), begin) as pool:
        for sampler in args.samplers:
            trials = min(args.trials, CONTESTS[sampler].trials)
            found = over_seeds(pool, run, sampler, CONTESTS[sampler].ways, args.seeds, trials)
            say(sampler, found)
            if args.figure:
                over_time = over_seeds(pool, timed, sampler, tuple(WAITS), args.seeds, trials)
                rows = [
                    Row("trials", np.arange(1, trials + 1), found),
                    Row(f"time, in mean trials; {WORKERS} workers", moments(trials), over_time),
                ]
                several = len(args.samplers) > 1
                file = args.figure.with_stem(f"{args.figure.stem}-{sampler}") if several else args.figure
                score = (
                    "log10 regret" if len(PROBLEMS[CONTESTS[sampler].problems[0]].optimum) == 1 else "less hypervolume"
                )
                draw(file, f"{sampler}: the sweeper and plain Optuna, mean of {args.seeds} seeds", score, rows)


def over_seeds(
    pool: ProcessPoolExecutor,
    one: Callable[[Task], NDArray[np.float64]],
    sampler: str,
    ways: Sequence[str],
    seeds: int,
    trials: int,
) -> Scores:
    pairs = [(name, way) for name in CONTESTS[sampler].problems for way in ways]
    found = list(pool.map(one, [(sampler, name, way, seed, trials) for name, way in pairs for seed in range(seeds)]))
    return {pair: np.array(found[i * seeds :][:seeds]) for i, pair in enumerate(pairs)}


def begin() -> None:
    """In a worker: one thread, and none of Optuna's notes."""
    import torch

    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)


if __name__ == "__main__":
    os.environ["HYDRA_FULL_ERROR"] = "1"
    main()
