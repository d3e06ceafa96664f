"""Percentile bootstrap over test rows or groups of them (Efron & Tibshirani 1993, An Introduction to the Bootstrap).

A resample is a vector of counts, how often each row was drawn, so every metric is written once as
a function of weights and computed for all resamples together. The paired differences come from the
same resamples, which keeps what two recipes have in common (the hard rows) out of their interval.
One method serves all metrics, AUROC included, which therefore does without DeLong's variance.
Intervals cover the choice of test rows, not the seeds of training.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import DataError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Score = Callable[[NDArray[np.floating]], Mapping[str, float]]
Metrics = Callable[[NDArray[np.floating], Floats], dict[str, Floats]]

COVERAGE = 0.95
# A probability of 0 would cost infinitely much; float32 cannot tell this one from it in a sum to 1.
# `trimtab.trial.metrics.score` has the same bound: a value and its interval must agree on it.
LEAST_PROBABILITY = float(np.finfo(np.float32).eps)
_ELEMENTS = 4_000_000  # of one chunk of weights: 32 MB


@dataclass(frozen=True)
class Interval:
    """A value and its 95% bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """What `compare` finds, by recipe and metric.

    Attributes:
        differences: champion − recipe, for every recipe but the champion.
    """

    scores: dict[str, dict[str, Interval]]
    differences: dict[str, dict[str, Interval]]


def compare(
    outputs: Mapping[str, NDArray[np.floating]],
    metrics: Metrics,
    score: Score,
    *,
    rows: int,
    resamples: int,
    seed: int,
    champion: str = "champion",
    groups: NDArray[Any] | None = None,
) -> Comparison:
    """Scores every recipe with intervals, and its difference to the champion on the same resamples.

    A metric that is not finite on the rows themselves, or undefined on every resample, is left out;
    single undefined resamples (AUROC of one class, R² of equal targets) do not count.

    Rows of one group (a patient's visits) resemble each other, so they say less than as many
    independent rows; drawing whole groups gives them the width that they are due.

    Args:
        outputs: predictions by recipe, as `metrics` wants them.
        metrics: `classification(targets)` or `regression(targets, …)`.
        score: gives the values themselves; the resamples give low and high.
        groups: (rows,) labels of any type, missing ones being one group; without them rows are drawn.

    Raises:
        DataError: there is not one label per row, or all rows are one group.
    """
    group_of = None if groups is None else _numbered(groups, rows)
    drawn = _resampled(outputs, metrics, _weights(rows, resamples, seed, group_of))
    values = {name: score(output) for name, output in outputs.items()}
    scores = {name: _intervals(values[name], samples) for name, samples in drawn.items()}
    differences = {
        name: _intervals(
            {m: values[champion][m] - values[name][m] for m in values[name]},
            {m: drawn[champion][m] - drawn[name][m] for m in drawn[name]},
        )
        for name in outputs
        if name != champion
    }
    return Comparison(scores, differences)


def classification(targets: NDArray[np.integer]) -> Metrics:
    """Loss, accuracy, balanced accuracy, macro F1, macro AUROC of probabilities (rows, classes).

    Definitions are scikit-learn's: balanced accuracy and AUROC (one class against the rest) average
    over the classes among a resample's targets, F1 over those among its targets or predictions.
    """

    def metrics(probabilities: NDArray[np.floating], weights: Floats) -> dict[str, Floats]:
        classes = np.arange(probabilities.shape[1])
        bounded = _bounded(probabilities)
        actual = targets[:, None] == classes
        predicted = probabilities.argmax(axis=1)[:, None] == classes
        hits = weights @ (actual & predicted)
        support, claimed = weights @ actual, weights @ predicted
        total = weights.sum(axis=1)
        return {
            "loss": weights @ -np.log(bounded[np.arange(len(targets)), targets]) / total,
            "accuracy": hits.sum(axis=1) / total,
            "balanced_accuracy": _mean_present(_ratio(hits, support)),
            "f1": _mean_present(_ratio(2 * hits, support + claimed)),
            "auroc": _mean_present(np.stack([_auroc(bounded[:, c], actual[:, c], weights) for c in classes], axis=1)),
        }

    return metrics


def regression(targets: NDArray[np.floating], *, target_std: float) -> Metrics:
    """Loss (MSE of standardised targets), R² and MAE (original units) of outputs (rows[, 1]).

    Args:
        targets: standardised, (rows,).
        target_std: the original units' standard deviation, which turns the MAE back.
    """
    y = targets.astype(np.float64)

    def metrics(outputs: NDArray[np.floating], weights: Floats) -> dict[str, Floats]:
        residuals = y - outputs.reshape(len(y)).astype(np.float64)
        total = weights.sum(axis=1)
        squared = weights @ residuals**2
        mean = weights @ y / total
        spread = np.clip(weights @ y**2 - total * mean**2, 0.0, None)
        spread[spread < 1e-12 * total] = 0.0
        return {
            "loss": squared / total,
            "r2": 1.0 - _ratio(squared, spread),
            "mae": weights @ np.abs(residuals) / total * target_std,
        }

    return metrics


def _resampled(
    outputs: Mapping[str, NDArray[np.floating]],
    metrics: Metrics,
    chunks_of_weights: Iterator[Floats],
) -> dict[str, dict[str, Floats]]:
    parts: dict[str, list[dict[str, Floats]]] = {name: [] for name in outputs}
    for weights in chunks_of_weights:
        for name, output in outputs.items():
            parts[name].append(metrics(output, weights))
    return {
        name: {m: np.concatenate([part[m] for part in chunks]) for m in chunks[0]} for name, chunks in parts.items()
    }


def _weights(rows: int, resamples: int, seed: int, group_of: Ints | None = None) -> Iterator[Floats]:
    """How often each row is drawn, in chunks (resamples, rows) that fit into memory.

    With groups, as many groups as there are get drawn, and a row as often as its group: Davison &
    Hinkley 1997, Bootstrap Methods and their Application, §3.8, their first strategy (the rows
    within a drawn group stay as they are).

    Args:
        group_of: (rows,) the group's number, from 0.
    """
    rng = np.random.default_rng(seed)
    units = rows if group_of is None else int(group_of.max()) + 1
    chunk = max(1, _ELEMENTS // rows)
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        counts = rng.multinomial(units, np.full(units, 1 / units), size=size).astype(np.float64)
        yield counts if group_of is None else counts.take(group_of, axis=1)


def _numbered(groups: NDArray[Any], rows: int) -> Ints:
    """Each row's group as a number, in order of appearance: groups of one row are drawn as rows are."""
    import pandas as pd  # here: every trial imports this module for its bound

    if np.shape(groups) != (rows,):
        raise DataError(f"groups must have a label for each of {rows} rows, but have shape {np.shape(groups)}")
    codes, labels = pd.factorize(groups, use_na_sentinel=False)
    if len(labels) < 2:
        raise DataError(
            f"resampling groups needs at least 2 of them, but all {rows} test rows are of group '{labels[0]}'; "
            "raise data.split.test, or split by a column with more groups"
        )
    return codes.astype(np.int64)


def _intervals(values: Mapping[str, float], samples: Mapping[str, Floats]) -> dict[str, Interval]:
    tail = (1 - COVERAGE) / 2
    found = {}
    for metric, value in values.items():
        defined = samples[metric][np.isfinite(samples[metric])]
        if np.isfinite(value) and defined.size:
            low, high = np.quantile(defined, [tail, 1 - tail])
            found[metric] = Interval(float(value), float(low), float(high))
    return found


def _bounded(probabilities: NDArray[np.floating]) -> Floats:
    """At least `LEAST_PROBABILITY`, whatever type they came in; rows sum to 1 again, as `score` has them.

    Rows that needed no raising stay as they are: dividing them by a rounded 1 would break their ties.
    """
    given = probabilities.astype(np.float64)
    low = given < LEAST_PROBABILITY
    raised = np.where(low, LEAST_PROBABILITY, given)
    total = np.where(low.any(axis=1), raised.sum(axis=1), 1.0)
    bounded: Floats = raised / total[:, None]
    return bounded


def _auroc(scores: NDArray[np.floating], positive: NDArray[np.bool_], weights: Floats) -> Floats:
    """Weighted Mann–Whitney statistic of one class, ties counting half; NaN without both sides."""
    order = np.argsort(scores, kind="stable")
    scores, positive, weights = scores[order], positive[order], weights[:, order]
    below = np.zeros((len(weights), len(scores) + 1))  # [:, i]: negatives among the first i rows
    np.cumsum(weights * ~positive, axis=1, out=below[:, 1:])
    first = np.searchsorted(scores, scores[positive], "left")
    last = np.searchsorted(scores, scores[positive], "right")
    beaten = (below[:, first] + below[:, last]) / 2
    mass = weights[:, positive]
    return _ratio((mass * beaten).sum(axis=1), mass.sum(axis=1) * below[:, -1])


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Element by element; NaN where the denominator is 0."""
    ratio: Floats = np.full(np.broadcast(numerator, denominator).shape, np.nan)
    np.divide(numerator, denominator, out=ratio, where=denominator != 0)
    return ratio


def _mean_present(per_class: Floats) -> Floats:
    """Mean over the classes (axis 1) that are defined; NaN if none is."""
    defined = np.isfinite(per_class)
    return _ratio(np.where(defined, per_class, 0.0).sum(axis=1), defined.sum(axis=1).astype(float))
