"""What `evaluate` says of a test, and who takes part in it besides the networks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from sample_results import REGRESSION, Sample, write_sample
from trimtab.data.arrays import Arrays, Problem
from trimtab.data.ledger import Look
from trimtab.page.results import read_results
from trimtab.page.verdict import verdict
from trimtab.selection.bootstrap import Comparison, Interval
from trimtab.stages import contest
from trimtab.stages.evaluate import Outputs, _say

AUROC = Sample(metric="val/auroc", direction="maximize")
MAE = replace(REGRESSION, metric="val/mae", direction="minimize")
CLASSES = Problem("classification", (2,), 2, ("no", "yes"), 0.0, 1.0, (0.6, 5.0))
NUMBER = Problem("regression", (2,), 1, (), 10.0, 4.0, None)


def said(found: Comparison, metric: str, capsys: pytest.CaptureFixture[str], number: int = 1) -> str:
    look = Look("test", "source", "id", number, "digits", "2026-01-01")
    _say(found, look, {"champion": "trial 6", "metric": metric}, Outputs(Path("results/evaluate")))
    return capsys.readouterr().out.splitlines()[0]


@pytest.mark.parametrize(
    "sample",
    [
        Sample(),
        AUROC,
        AUROC.with_quality(champion=0.4),
        REGRESSION,
        MAE.with_quality(boosting=1.6),
        REGRESSION.with_quality(champion=0.01),
    ],
    ids=["accuracy", "auroc", "auroc, worse", "r2", "mae", "useless"],
)
def test_the_line_and_the_page_say_the_same(sample: Sample, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = read_results(write_sample(tmp_path / "results", sample))
    assert results.evaluation is not None
    page = verdict(results)
    line = said(Comparison(results.evaluation.scores, results.evaluation.differences), sample.metric, capsys)
    assert f"test {page.metric} " in line
    for standing, word in (("better", "clearly better than"), ("worse", "clearly WORSE than")):
        named = line.partition(word)[2].partition(";")[0].split(", ")
        wanted = [x.recipe for x in page.lines if x.standing == standing]
        useless = "always answering the same" in line
        assert [name.strip() for name in named if name] == [x for x in wanted if not useless or x != "constant"]
    assert ("always answering the same" in line) == ("always answering the same" in page.headline)


def at(value: float) -> Interval:
    return Interval(value, value - 0.01, value + 0.01)


@pytest.mark.parametrize(
    ("metric", "differences", "number", "expected"),
    [
        (
            "val/loss",
            {"default": 0.1, "constant": 0.3, "boosting": -0.1},
            1,
            "trial 6: test accuracy 0.9042 [0.8942, 0.9142]; clearly better than default, constant; "
            "clearly WORSE than boosting",
        ),
        (
            "val/auroc",
            {"default": 0.0, "constant": 0.0},
            2,
            "trial 6 is no better than always answering the same: test auroc 0.6000 [0.5900, 0.6100] against 0.5000 "
            "(look number 2: exploratory); cannot be told apart from the other baselines",
        ),
        (
            "val/accuracy",
            {"default": 0.1, "constant": -0.1},
            1,
            "trial 6 is clearly worse than always answering the same: test accuracy 0.9042 [0.8942, 0.9142] against "
            "0.9800; clearly better than default",
        ),
        (
            "val/loss",
            {"default": 0.0},
            1,
            "trial 6: test accuracy 0.9042 [0.8942, 0.9142]; cannot be told apart from the baselines",
        ),
    ],
)
def test_the_line(
    metric: str, differences: dict[str, float], number: int, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = {
        "champion": {"accuracy": at(0.9042), "auroc": at(0.6)},
        "constant": {"accuracy": at(0.98), "auroc": at(0.5)},
    }
    paired = {name: {"accuracy": at(value), "auroc": at(value)} for name, value in differences.items()}
    assert said(Comparison(scores, paired), metric, capsys, number) == expected


def test_a_constant_competes_for_classes_and_has_every_score() -> None:
    rng = np.random.default_rng(0)
    known, test = (Arrays(rng.normal(size=(n, 2)).astype(np.float32), np.arange(n) // 8 % 5 // 4) for n in (200, 80))
    outputs = contest.answers({}, contest.references(known, CLASSES), test, CLASSES)
    assert list(outputs) == ["logistic", "boosting", "constant"]
    np.testing.assert_allclose(outputs["constant"], np.tile([0.8, 0.2], (80, 1)))
    found = contest.compare({**outputs, "champion": outputs["logistic"]}, test, CLASSES, 50, None)
    values = {metric: interval.value for metric, interval in found.scores["constant"].items()}
    entropy = -0.8 * np.log(0.8) - 0.2 * np.log(0.2)
    expected = {"accuracy": 0.8, "balanced_accuracy": 0.5, "f1": 0.8 / 1.8, "auroc": 0.5, "loss": entropy}
    assert values == pytest.approx(expected)
    assert found.scores["constant"]["auroc"] == Interval(0.5, 0.5, 0.5)
    assert roc_auc_score(test.y, outputs["constant"][:, 1]) == 0.5


def test_a_constant_competes_for_numbers() -> None:
    rng = np.random.default_rng(0)
    known, test = (
        Arrays(rng.normal(size=(n, 2)).astype(np.float32), rng.normal(size=n).astype(np.float32)) for n in (200, 80)
    )
    outputs = contest.answers({}, contest.references(known, NUMBER), test, NUMBER)
    assert list(outputs) == ["ridge", "boosting", "constant"]
    np.testing.assert_allclose(outputs["constant"], np.full((80, 1), known.y.mean()), rtol=1e-5)
    found = contest.compare({**outputs, "champion": outputs["ridge"]}, test, NUMBER, 50, None)
    assert set(found.scores["constant"]) == {"loss", "r2", "mae"}
    assert -0.1 < found.scores["constant"]["r2"].value <= 0
