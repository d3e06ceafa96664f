"""The command line that all peers share; the last line that a peer prints is its result as JSON."""

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil

from benchmarks.projects import python, throwaway_project
from benchmarks.works import WORKS, Data, Work


@dataclass(frozen=True)
class Job:
    """What a peer is asked for.

    Attributes:
        work: what to train.
        data: on which rows.
        trials: how many trainings.
        epochs: of each; nobody stops earlier, but for a loss that is no number any more.
        folder: for files of its own, empty.
        at_once: members of one stack, for peers that stack.
        switches: those that were typed, of the peer's own.
        settings: of each trial, where the peer is to search nothing but to train what another has tried.
    """

    work: Work
    data: Data
    trials: int
    epochs: int
    folder: Path
    at_once: int
    switches: frozenset[str]
    settings: tuple[Mapping[str, Any], ...] = ()


class Ended(NamedTuple):
    """The end of a trial.

    Attributes:
        at: when, in seconds since 1970.
        value: its best validation loss; NaN where it has none.
        settings: what was searched; empty where nothing was.
    """

    at: float
    value: float
    settings: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Result:
    """What a command did.

    Attributes:
        seconds: from the start of its process to its end, imports included.
        trials: how many trials it ran.
        curve: (seconds since its start, best validation loss so far) at the end of each trial, None before the first.
        settings: of each trial, what was searched.
        facts: anything else worth saying.
    """

    seconds: float
    trials: int
    curve: list[tuple[float, float | None]]
    settings: list[Mapping[str, Any]] = field(default_factory=list)
    facts: dict[str, float] = field(default_factory=dict)


def best_so_far(ended: Iterable[tuple[float, float]], begun: float) -> list[tuple[float, float | None]]:
    """The curve of `Result`."""
    curve: list[tuple[float, float | None]] = []
    best = math.inf
    for at, value in sorted(ended):
        best = min(best, value) if math.isfinite(value) else best
        curve.append((round(at - begun, 3), best if math.isfinite(best) else None))
    return curve


def command(
    run: Callable[[Job], Sequence[Ended]], works: str = "ABCD", switches: Sequence[str] = (), repeats: bool = False
) -> None:
    """Runs a peer from the command line.

    Args:
        run: the peer.
        works: what it can do.
        switches: names of options of its own that are on or off.
        repeats: whether it can train settings that are given.
    """
    begun = psutil.Process().create_time()
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", choices=list(works), default="B")
    parser.add_argument("--data", help="mnist1d or digits, where a work has both; default: its first")
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--at-once", type=int, default=32, help="members of a stack, where the peer stacks")
    parser.add_argument("--arrays", type=Path, help="rows that `save_arrays` wrote; default: prepares them, not timed")
    if repeats:
        parser.add_argument("--settings", type=Path, help="JSON, of each trial what is searched: trains these instead")
    for switch in switches:
        parser.add_argument(f"--{switch}", dest="switches", action="append_const", const=switch, default=[])
    args = parser.parse_args()
    work = next((w for w in WORKS if w.name == args.work and args.data in (None, w.data)), None)
    if work is None:
        parser.error(f"work {args.work} has no data {args.data}")
    if args.arrays is None:
        waited = time.time()
        data = _prepared(work.data)
        begun += time.time() - waited
    else:
        data = Data.load(args.arrays)
    with tempfile.TemporaryDirectory(prefix="trimtab-peer-") as name:
        typed, given = frozenset(getattr(args, "switches", ())), getattr(args, "settings", None)
        settings = tuple(json.loads(given.read_text())) if given else ()
        trials = len(settings) or args.trials
        ended = run(Job(work, data, trials, args.epochs, Path(name), args.at_once, typed, settings))
    seconds, curve = round(time.time() - begun, 3), best_so_far([(e.at, e.value) for e in ended], begun)
    result = Result(seconds, len(ended), curve, [e.settings for e in ended])
    print(json.dumps({"trials_per_minute": round(60 * result.trials / result.seconds, 1), **asdict(result)}))


def _prepared(data: str) -> Data:
    with throwaway_project() as root:
        return Data.load(save_arrays(root, data))


def save_arrays(root: Path, data: str) -> Path:
    """Prepares a data set in a project, and writes its rows where peers can read them without trimtab's libraries."""
    from trimtab.data.prepared import load_prepared

    python(root, "trimtab.stages.prepare", f"data={data}")
    found = load_prepared(root / "results" / "prepare")
    path = root / "arrays.npz"
    np.savez(path, x=found.train.x, y=found.train.y, val_x=found.val.x, val_y=found.val.y)
    return path
