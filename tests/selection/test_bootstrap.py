"""Every weighted metric equals scikit-learn's on the rows drawn out one by one."""

import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from sklearn import metrics as sk

from trimtab.data.arrays import Problem
from trimtab.errors import DataError
from trimtab.selection import bootstrap
from trimtab.selection.bootstrap import Comparison, Floats, Interval, Metrics, classification, compare, regression
from trimtab.trial.metrics import score

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


def test_importing_it_does_not_import_torch() -> None:
    code = "import sys, trimtab.selection.bootstrap; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def _problem(classes: int) -> Problem:
    """Of `_labelled` rows for classes > 0, of a regression for 0."""
    task = "classification" if classes else "regression"
    return Problem(
        task, (1,), classes or 1, tuple(map(str, range(classes))), target_mean=0.0, target_std=STD, class_weights=None
    )


def _confident(classes: int, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """Targets, and probabilities that are 0 or nearly so for some of them."""
    targets, _ = _labelled(ROWS, classes)
    logits = np.random.default_rng(3).normal(size=(ROWS, classes)) * 25
    logits[np.arange(ROWS), targets] += 30
    logits[:4] = -1e3 * (targets[:4, None] == np.arange(classes))
    raw = np.exp(logits - logits.max(axis=1, keepdims=True))
    return targets, (raw / raw.sum(axis=1, keepdims=True)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("classes", [2, CLASSES])
def test_confidently_wrong_predictions_lie_inside_their_own_intervals(classes: int, dtype: type) -> None:
    targets, probabilities = _confident(classes, dtype)
    values = score(probabilities, targets, _problem(classes))
    whole = {m: v[0] for m, v in classification(targets)(probabilities, np.ones((1, ROWS))).items()}
    noisy = {"auroc"}  # rounding in the softmax of `score` breaks some ties of probabilities at the bound
    assert [whole[m] for m in values.keys() - noisy] == pytest.approx([values[m] for m in values.keys() - noisy])
    assert whole["auroc"] == pytest.approx(values["auroc"], abs=0.02)
    found = compare(
        {"champion": probabilities},
        classification(targets),
        lambda output: score(output, targets, _problem(classes)),
        rows=ROWS,
        resamples=200,
        seed=0,
    ).scores["champion"]
    assert set(found) == set(CLASSIFICATION)
    for interval in found.values():
        assert interval.low <= interval.value <= interval.high


@pytest.mark.parametrize("classes", [0, 2, CLASSES])
def test_the_type_of_equal_outputs_makes_no_difference(classes: int) -> None:
    if classes:
        targets, outputs = _confident(classes, np.float32)
    else:
        targets, outputs = np.random.default_rng(4).normal(size=(2, ROWS)).astype(np.float32)
    metrics: Metrics = classification(targets) if classes else regression(targets, target_std=STD)
    found = compare(
        {"champion": outputs, "other": outputs.astype(np.float64)},
        metrics,
        lambda output: score(output, targets, _problem(classes)),
        rows=ROWS,
        resamples=200,
        seed=0,
    ).differences["other"]
    assert set(found) == set(CLASSIFICATION if classes else REGRESSION)
    for interval in found.values():
        assert (interval.value, interval.low, interval.high) == pytest.approx((0, 0, 0), abs=1e-6)


LABELS = {
    "numbers": np.arange(ROWS) % 7,
    "words": np.array([f"patient {i % 7}" for i in range(ROWS)], dtype=object),
    "some missing": np.array([None if i % 7 == 3 else i % 7 for i in range(ROWS)], dtype=object),
}


@pytest.mark.parametrize("labels", LABELS)
def test_rows_of_a_group_are_drawn_together(labels: str) -> None:
    group_of = bootstrap._numbered(LABELS[labels], ROWS)
    (weights,) = bootstrap._weights(ROWS, RESAMPLES, 0, group_of)
    counts = np.stack([weights[:, np.arange(ROWS) % 7 == g] for g in range(4)])  # 9 rows in each of these
    assert (counts == counts[:, :, :1]).all()
    assert (weights[:, :7].sum(axis=1) == 7).all()
    assert weights[:, :7].std() > 0.5


def _grouped(groups: np.ndarray | None, repeats: int = 1) -> Comparison:
    """`_labelled` rows, each repeated."""
    targets, probabilities = (np.repeat(a, repeats, axis=0) for a in _labelled(ROWS, CLASSES))
    return compare(
        {"champion": probabilities, "other": probabilities[::-1]},
        classification(targets),
        lambda output: score(output, targets, _problem(CLASSES)),
        rows=len(targets),
        resamples=400,
        seed=0,
        groups=groups,
    )


def _bounds(found: Comparison) -> np.ndarray:
    by_recipe = [*found.scores.values(), *found.differences.values()]
    return np.array([(i.value, i.low, i.high) for intervals in by_recipe for i in intervals.values()])


def test_groups_of_one_row_are_rows() -> None:
    shuffled = np.random.default_rng(5).permutation(ROWS)
    assert _grouped(shuffled) == _grouped(None)


def test_repeated_rows_in_groups_say_no_more_than_once() -> None:
    once = _grouped(None)
    together = _grouped(np.repeat(np.arange(ROWS), 5), repeats=5)
    assert _bounds(together) == pytest.approx(_bounds(once), abs=1e-6)
    apart = _grouped(None, repeats=5).scores["champion"]["accuracy"]
    grouped = together.scores["champion"]["accuracy"]
    assert apart.high - apart.low < 0.6 * (grouped.high - grouped.low)  # about 1 / √5


def test_chunks_do_not_change_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _grouped(np.arange(ROWS) // 3)
    monkeypatch.setattr(bootstrap, "_ELEMENTS", ROWS * 7)
    assert _bounds(_grouped(np.arange(ROWS) // 3)) == pytest.approx(_bounds(whole), abs=1e-12)


@pytest.mark.parametrize(
    ("groups", "message"),
    [(np.arange(ROWS - 1), f"each of {ROWS} rows"), (np.full(ROWS, "ward 3"), "at least 2 .* 'ward 3'")],
)
def test_groups_that_cannot_be_resampled(groups: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        _grouped(groups)


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
