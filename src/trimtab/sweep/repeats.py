"""One configuration on several seeds or folds, the same for all; the hopeless are dropped in between."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any

from trimtab.sweep.outcome import Completed, Failed, Outcome, Pruned
from trimtab.sweep.settings import What

WILCOXON_FROM = 4
"""Runs from which on Wilcoxon's test decides: with fewer its smallest p is 1/8."""
DOUBT = 0.1
"""Largest p of Wilcoxon's test that is beyond doubt; 1/16 is the smallest at four runs."""
EARLY_DOUBT = 0.01
"""The same of the t-test on two or three runs, which leans on an assumption."""


@dataclass(frozen=True)
class Repeats:
    """What a trial on several seeds or folds takes along to its worker.

    Attributes:
        key: dotted key of the configuration that differs from run to run.
        each: what it is set to, in this order.
        rival: number of the best configuration seen, by which this one is measured; None if there is none.
        values: the rival's, by run.
        sign: 1 if small values are good, else -1.
        what: what the key takes.
    """

    key: str
    each: tuple[int, ...]
    rival: int | None = None
    values: tuple[float, ...] = ()
    sign: int = 1
    what: What = "seed"

    def verdict(self, values: Sequence[float]) -> str:
        """Why a configuration with these values in the first runs is dropped; empty if it goes on."""
        if self.rival is None or len(values) >= len(self.each):
            return ""
        p = p_worse([self.sign * (own - other) for own, other in zip(values, self.values, strict=False)])
        if p > (DOUBT if len(values) >= WILCOXON_FROM else EARLY_DOUBT):
            return ""
        of = f"{len(values)} of {len(self.each)} {self.what}s"
        return f"dropped after {of}: worse than trial {self.rival} (p = {p:.2g})"


def repeated(repeats: Repeats, run: Callable[[int], Outcome]) -> Outcome:
    """The outcome of a configuration over its runs: the mean; reports and facts are those of the first.

    Args:
        repeats: seeds or folds, and rival.
        run: the outcome of the run of an index, counted from 0.
    """
    done: list[Completed] = []
    for index, value in enumerate(repeats.each):
        outcome = run(index)
        if not isinstance(outcome, Completed):
            return _cut(outcome, f"{repeats.what} {value}", done)
        done.append(outcome)
        if reason := repeats.verdict([d.values[0] for d in done]):
            return Pruned(reason, **_common(done))
    return Completed((fmean(d.values[0] for d in done),), **_common(done))


def p_worse(differences: Sequence[float]) -> float:
    """One-sided p of paired differences being no worse than 0, where above 0 is worse.

    Up to three: Student's t. From four on: Wilcoxon's signed ranks, exact, also with ties; zeros are left out.
    """
    if len(differences) < 2:
        return 1.0
    return _wilcoxon(differences) if len(differences) >= WILCOXON_FROM else _student(differences)


def _student(differences: Sequence[float]) -> float:
    """Of two or three differences: the distribution of t with 1 or 2 degrees of freedom is elementary."""
    mean, spread = fmean(differences), stdev(differences)
    if spread == 0:
        return 0.0 if mean > 0 else 1.0
    t = mean / spread * math.sqrt(len(differences))
    if len(differences) == 2:
        return 0.5 - math.atan(t) / math.pi
    return 0.5 - t / (2 * math.sqrt(2 + t * t))


def _wilcoxon(differences: Sequence[float]) -> float:
    """P(rank sum of the positive ones is at least this) if every sign were a coin's."""
    given = sorted((d for d in differences if d != 0), key=abs)
    sizes = [abs(d) for d in given]
    # Twice the mean rank of equal sizes: a whole number.
    ranks = [sizes.index(s) + 1 + len(sizes) - sizes[::-1].index(s) for s in sizes]
    found = sum(r for r, d in zip(ranks, given, strict=True) if d > 0)
    ways = {0: 1}
    for rank in ranks:
        ways = _either(ways, rank)
    return sum(count for total, count in ways.items() if total >= found) / sum(ways.values())


def _either(ways: Mapping[int, int], rank: int) -> dict[int, int]:
    """Numbers of ways to reach each sum, with the next rank in it or not."""
    both = dict(ways)
    for total, count in ways.items():
        both[total + rank] = both.get(total + rank, 0) + count
    return both


def _cut(outcome: Pruned | Failed, which: str, done: Sequence[Completed]) -> Outcome:
    """One run without a value leaves the configuration without one."""
    if not done:
        return outcome
    common = _common(done)
    common["seconds"] = sum(d.seconds for d in done) + outcome.seconds
    if isinstance(outcome, Pruned):
        return Pruned(f"{which}: {outcome.reason}", **common)
    common = {name: common[name] for name in ("reports", "facts", "seconds")}
    return replace(outcome, reason=f"{which}: {outcome.reason}", **common)


def _common(done: Sequence[Completed]) -> dict[str, Any]:
    names = {name for d in done for name in d.constraints}
    return {
        "reports": done[0].reports,
        "facts": done[0].facts,
        "seconds": sum(d.seconds for d in done),
        "constraints": {name: max(d.constraints.get(name, 0.0) for d in done) for name in names},
        "by_seed": tuple(d.values[0] for d in done),
    }
