"""Every weighted metric equals scikit-learn's on the rows drawn out one by one."""

import time
import warnings

import numpy as np
import pytest
from sklearn import metrics as sk

from trimtab.selection import bootstrap
from trimtab.selection.bootstrap import Floats, Interval, classification, compare, regression

ROWS, CLASSES, RESAMPLES = 60, 4, 25


def _counts(rows: int, resamples: int, seed: int = 0) -> Floats:
    (weights,) = bootstrap._weights(rows, resamples, seed)
    return weights


def _labelled(rows: int, classes: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Targets with a rare last class, and probabilities rounded so that many tie."""
    rng = np.random.default_rng(seed)
    shares = np.r_[np.full(classes - 1, 1.0), 0.02]
    targets = rng.choice(classes, size=rows, p=shares / shares.sum())
    targets[:classes] = np.arange(classes)
    raw = rng.random((rows, classes)).round(1) + 0.05 + 0.4 * (targets[:, None] == np.arange(classes))
    return targets, raw / raw.sum(axis=1, keepdims=True)


def _auroc(targets: np.ndarray, probabilities: np.ndarray) -> float:
    present = [c for c in range(probabilities.shape[1]) if 0 < (targets == c).sum() < len(targets)]
    areas = [sk.roc_auc_score(targets == c, probabilities[:, c]) for c in present]
    return float(np.mean(areas)) if areas else float("nan")


def _balanced(targets: np.ndarray, probabilities: np.ndarray) -> float:
    with warnings.catch_warnings():  # "y_pred contains classes not in y_true"
        warnings.simplefilter("ignore", UserWarning)
        return float(sk.balanced_accuracy_score(targets, probabilities.argmax(1)))


CLASSIFICATION = {
    "loss": lambda t, p: sk.log_loss(t, p, labels=np.arange(p.shape[1])),
    "accuracy": lambda t, p: sk.accuracy_score(t, p.argmax(1)),
    "balanced_accuracy": _balanced,
    "f1": lambda t, p: sk.f1_score(t, p.argmax(1), average="macro"),
    "auroc": _auroc,
}
STD = 3.5
REGRESSION = {
    "loss": sk.mean_squared_error,
    "r2": sk.r2_score,
    "mae": lambda t, p: sk.mean_absolute_error(t * STD, p * STD),
}


@pytest.mark.parametrize("metric", CLASSIFICATION)
@pytest.mark.parametrize("classes", [2, CLASSES])
def test_classification_equals_sklearn_on_drawn_rows(metric: str, classes: int) -> None:
    targets, probabilities = _labelled(ROWS, classes)
    weights = _counts(ROWS, RESAMPLES)
    found = classification(targets)(probabilities, weights)[metric]
    for value, counts in zip(found, weights, strict=True):
        drawn = np.repeat(np.arange(ROWS), counts.astype(int))
        expected = CLASSIFICATION[metric](targets[drawn], probabilities[drawn])
        assert value == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_some_of_those_resamples_lack_a_class() -> None:
    targets, _ = _labelled(ROWS, CLASSES)
    present = _counts(ROWS, RESAMPLES) @ (targets[:, None] == np.arange(CLASSES))
    assert (present == 0).any()


@pytest.mark.parametrize("metric", REGRESSION)
def test_regression_equals_sklearn_on_drawn_rows(metric: str) -> None:
    rng = np.random.default_rng(2)
    targets = rng.normal(size=ROWS)
    outputs = targets + rng.normal(size=ROWS)
    weights = _counts(ROWS, RESAMPLES)
    found = regression(targets, target_std=STD)(outputs[:, None], weights)[metric]
    for value, counts in zip(found, weights, strict=True):
        drawn = np.repeat(np.arange(ROWS), counts.astype(int))
        assert value == pytest.approx(REGRESSION[metric](targets[drawn], outputs[drawn]), abs=1e-9)


def _accuracy_only(probabilities: np.ndarray) -> dict[str, float]:
    return {"accuracy": float((probabilities.argmax(1) == _labelled(ROWS, CLASSES)[0]).mean())}


def _compare(seed: int = 0, resamples: int = 400) -> bootstrap.Comparison:
    targets, probabilities = _labelled(ROWS, CLASSES)
    worse = np.roll(probabilities, 1, axis=0)
    outputs = {"champion": probabilities, "same": probabilities, "worse": worse}
    return compare(
        outputs,
        classification(targets),
        _accuracy_only,
        rows=ROWS,
        resamples=resamples,
        seed=seed,
    )


def test_intervals_bracket_the_callers_value() -> None:
    interval = _compare().scores["champion"]["accuracy"]
    assert interval.value == _accuracy_only(_labelled(ROWS, CLASSES)[1])["accuracy"]
    assert interval.low < interval.value < interval.high


def test_interval_has_the_binomial_width() -> None:
    interval = _compare(resamples=4000).scores["champion"]["accuracy"]
    error = np.sqrt(interval.value * (1 - interval.value) / ROWS)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_differences_are_paired_and_signed_champion_minus_recipe() -> None:
    differences = _compare().differences
    assert differences["same"]["accuracy"] == Interval(0.0, 0.0, 0.0)
    assert differences["worse"]["accuracy"].low > 0
    assert differences["worse"]["accuracy"].value > 0
    assert set(differences) == {"same", "worse"}


def test_seed_decides_and_chunks_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _compare()
    assert whole == _compare()
    assert whole != _compare(seed=1)
    monkeypatch.setattr(bootstrap, "_ELEMENTS", ROWS * 7)
    assert whole == _compare()


@pytest.mark.parametrize(
    ("targets", "undefined"), [(np.zeros(20, dtype=int), "auroc"), (np.eye(20, dtype=int)[0], None)]
)
def test_undefined_metric_is_left_out_and_undefined_resamples_do_not_count(
    targets: np.ndarray, undefined: str | None
) -> None:
    probabilities = np.full((20, 2), 0.5)
    found = compare(
        {"champion": probabilities},
        classification(targets),
        lambda _: {"accuracy": 0.5, "auroc": 0.5},
        rows=20,
        resamples=50,
        seed=0,
    ).scores["champion"]
    assert set(found) == {"accuracy", "auroc"} - {undefined}


def test_constant_targets_leave_r2_out() -> None:
    found = compare(
        {"champion": np.zeros(10)},
        regression(np.full(10, 0.3), target_std=1.0),
        lambda _: {"loss": 0.09, "r2": 0.0},
        rows=10,
        resamples=20,
        seed=0,
    ).scores["champion"]
    assert set(found) == {"loss"}


def test_float32_probabilities_of_zero_and_one_stay_finite() -> None:
    probabilities = np.array([[1, 0], [1, 0]], dtype=np.float32)
    found = classification(np.array([0, 1]))(probabilities, np.ones((1, 2)))
    expected = sk.log_loss([0, 1], probabilities)
    assert found["loss"][0] == pytest.approx(expected, rel=1e-6)


def test_five_recipes_of_ten_classes_take_seconds() -> None:
    targets, probabilities = _labelled(400, 10)
    started = time.perf_counter()
    compare(
        dict.fromkeys(("champion", "a", "b", "c", "d"), probabilities),
        classification(targets),
        lambda _: {"auroc": 0.5},
        rows=400,
        resamples=2000,
        seed=0,
    )
    assert time.perf_counter() - started < 20  # measured 3 s; room for busy machines
