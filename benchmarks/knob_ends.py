"""Each knob alone, from its default to both ends of its range in conf/search/all.yaml (all options of a choice).

On MNIST-1D. A knob is turned in every option that has it (`optimizer.lr` in each optimizer), all else at its default
but for the few settings without which it could not act. Prints a markdown table of validation loss and accuracy; where
an end leaves predictions and weights bit for bit as they were, the knob is dead there: an error, and exit code 1.
"""

import argparse
import hashlib
import math
import os
import platform
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.projects import python, throwaway_project
from trimtab.sweep.executors.local import Processes, completed
from trimtab.tools.knobs import EVERYTHING, Book, Setting, read

DATA = "mnist1d"
FAMILY = "mlp"
NEEDED: dict[str, tuple[str, ...]] = {
    # Where a knob shows only in runs that overfit, stall or last.
    "training.patience_epochs": ("training.epochs=40", "optimizer.lr=0.01"),
    "schedule": ("training.epochs=25", "optimizer=sgd"),
    "schedule.patience_epochs": ("training.epochs=25", "optimizer=sgd"),
    "schedule.factor": ("training.epochs=25", "optimizer=sgd"),
}
BY_DEFINITION = {("linear", "xavier_uniform"), ("mlp", "he_normal"), ("cnn", "he_normal")}
"""What model.initialisation=auto stands for in a family at its default activation."""


@dataclass(frozen=True)
class Turn:
    """A knob set to one value; no knob: what it is compared with.

    Attributes:
        base: the overrides that it is turned under.
    """

    base: tuple[str, ...]
    knob: str = ""
    value: str = ""

    @property
    def overrides(self) -> tuple[str, ...]:
        """What is set, in the order in which it counts."""
        return (*self.base, *([f"{self.knob}={self.value}"] if self.knob else []))


@dataclass(frozen=True)
class Measured:
    """Validation loss and accuracy at the best epoch, epochs run, and a digest of predictions and weights."""

    loss: float
    accuracy: float
    epochs: int
    digest: str


def turns(book: Book, epochs: int) -> Iterator[Turn]:
    """Every knob in every option that has it, to each of its ends."""
    for knob, settings in book.settings.items():
        for setting in settings:
            base = _base(knob, setting, book, epochs)
            for value in _ends(book.ranges[knob], setting):
                yield Turn(base, knob, value)


def _base(knob: str, setting: Setting, book: Book, epochs: int) -> tuple[str, ...]:
    group, _, key = knob.partition(".")
    chosen = {"data": DATA, "model": FAMILY, "training.epochs": str(epochs)}
    chosen |= dict(needed.split("=") for needed in NEEDED.get(knob, ()))
    if key and len(book.groups[group]) > 1:
        chosen[group] = setting.option
    return tuple(f"{name}={value}" for name, value in chosen.items() if name != knob)


def _ends(found: Mapping[str, Any], setting: Setting) -> list[str]:
    """Both ends of numbers, every option of a choice; not the default itself."""
    if found["choices"] is None:
        ends = [repr(found["low"]), repr(found["high"])]
    else:
        options = found["choices"]
        numbers = [o for o in options if isinstance(o, int | float) and not isinstance(o, bool)]
        others = [o for o in options if o not in numbers]
        # A list that ends in a word (null, all) ends there: its last number is a middle one.
        last = numbers[1:][-1:] if options[-1] in numbers else []
        ends = [_text(o) for o in (*numbers[:1], *last, *others)]
    return [end for end in ends if not _same(end, setting.value)]


def _text(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _same(one: str, other: str) -> bool:
    try:
        return float(one) == float(other)
    except ValueError:
        return one == other


def measure(item: tuple[tuple[str, ...], int, str]) -> tuple[float, float, int, str]:
    """In a worker: trains once; the fields of `Measured`, NaN where it diverged or was refused.

    Plain values in and out: a class of `__main__` does not travel back from a worker.
    """
    from trimtab import config
    from trimtab.data.prepared import load_prepared
    from trimtab.errors import ConfigError, Diverged
    from trimtab.overrides import overrides
    from trimtab.paths import Paths
    from trimtab.stages import unpack
    from trimtab.trial.train import train

    typed, seed, root = item
    os.chdir(root)
    cfg = config.compose(overrides(typed))
    data = load_prepared(Paths.here().prepared)
    try:
        result = train(unpack.recipe(cfg), data.train, data.val, data.problem, seed, unpack.device(cfg))
    except Diverged:
        return math.nan, math.nan, 0, "diverged"
    except ConfigError:  # an end that has no meaning there, said to whoever types it
        return math.nan, math.nan, 0, "refused"
    parts = [result.per_example.tobytes(), *(np.asarray(w).tobytes() for w in result.weights.values())]
    digest = hashlib.sha256(b"".join([repr(result.epochs).encode(), *parts])).hexdigest()
    return result.best["val/loss"], result.best["val/accuracy"], result.epochs, digest


def measure_all(turned: Sequence[Turn], seeds: int, workers: int, root: Path) -> dict[Turn, list[Measured]]:
    """By turn, in order of seeds; what turns are compared with included."""
    wanted = dict.fromkeys([*(replace(t, knob="", value="") for t in turned), *turned])
    items = [(turn.overrides, seed, str(root)) for turn in wanted for seed in range(seeds)]
    found: dict[tuple[tuple[str, ...], int], Measured] = {}
    with Processes(workers) as pool:
        for (typed, seed, _), measured in completed(pool, measure, items):
            found[typed, seed] = Measured(*measured)
            print(f"\r{len(found)} of {len(items)} trainings", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return {turn: [found[turn.overrides, seed] for seed in range(seeds)] for turn in wanted}


def dead(turn: Turn, found: Mapping[Turn, Sequence[Measured]]) -> bool:
    """Whether the end changes nothing in any seed, and is not what the default stands for."""
    if turn.knob == "model.initialisation" and (_option(turn, "model"), turn.value) in BY_DEFINITION:
        return False
    before = found[replace(turn, knob="", value="")]
    return all(a.digest == b.digest for a, b in zip(found[turn], before, strict=True))


def _option(turn: Turn, group: str) -> str:
    return next(o.partition("=")[2] for o in reversed(turn.base) if o.startswith(f"{group}="))


def table(turned: Sequence[Turn], found: Mapping[Turn, Sequence[Measured]]) -> Iterator[str]:
    """Markdown, a row per knob and option: what the default gives, then each end."""
    yield "| knob | under | default: loss, accuracy (epochs run) | value: loss, accuracy (epochs run) |"
    yield "|---|---|---|---|"
    for (knob, base), ends in groupby(turned, key=lambda t: (t.knob, t.base)):
        said = [f"{t.value}: {_said(found[t])}{' **dead**' if dead(t, found) else ''}" for t in ends]
        before = found[Turn(base)]
        under = " ".join(o for o in base if o != f"data={DATA}")
        yield f"| `{knob}` | {under} | {_said(before)} | {'; '.join(said)} |"


def _said(found: Sequence[Measured]) -> str:
    if all(math.isnan(m.loss) for m in found):
        return found[0].digest
    loss, accuracy = (np.nanmean([getattr(m, name) for m in found]) for name in ("loss", "accuracy"))
    return f"{loss:.3f}, {100 * accuracy:.0f} % ({max(m.epochs for m in found)} epochs)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="", help="knobs whose name contains this")
    args = parser.parse_args()
    started = time.monotonic()
    with throwaway_project() as root:
        python(root, "trimtab.stages.prepare", f"data={DATA}")
        book = read(root / "conf", root / "docs" / "knobs.yaml")
        turned = [t for t in turns(book, args.epochs) if args.only in t.knob]
        found = measure_all(turned, args.seeds, args.workers, root)
    command = shlex.join(["python", "-m", "benchmarks.knob_ends", *sys.argv[1:]])
    print(
        f"{command}: MNIST-1D, seeds 0…{args.seeds - 1}, {args.epochs} epochs unless said, ranges of {EVERYTHING}.yaml;"
    )
    print(f"{len(turned)} ends in {time.monotonic() - started:.0f} s, {args.workers} workers, {platform.machine()}\n")
    print(*table(turned, found), sep="\n")
    if nothing := [t for t in turned if dead(t, found)]:
        sys.exit("\n".join(f"dead: {' '.join(t.overrides)} changes nothing bit for bit" for t in nothing))


if __name__ == "__main__":
    main()
