import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn import metrics as reference

from trimtab.data.arrays import Problem
from trimtab.trial.metrics import LEAST_PROBABILITY, METRICS, data_loss, measure, names, score

REGRESSION = Problem("regression", (4,), 1, (), 50.0, 20.0, None)


def classes(number: int) -> Problem:
    return Problem("classification", (4,), number, tuple(map(str, range(number))), 0.0, 1.0, None)


def sample(number: int, rows: int = 200) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    random = np.random.default_rng(number)
    targets = random.integers(0, number, rows)
    logits = random.standard_normal((rows, number)) + 1.5 * np.eye(number)[targets]
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True), targets


@pytest.mark.parametrize("number", [2, 3, 10])
def test_classification_scores_are_scikit_learns(number: int) -> None:
    probabilities, targets = sample(number)
    predicted = probabilities.argmax(1)
    ranked = probabilities[:, 1] if number == 2 else probabilities
    assert score(probabilities, targets, classes(number)) == pytest.approx(
        {
            "loss": reference.log_loss(targets, probabilities),
            "accuracy": reference.accuracy_score(targets, predicted),
            "balanced_accuracy": reference.balanced_accuracy_score(targets, predicted),
            "f1": reference.f1_score(targets, predicted, average="macro"),
            "auroc": reference.roc_auc_score(targets, ranked, multi_class="ovr"),
        },
        abs=1e-6,
    )


def test_regression_scores_are_scikit_learns() -> None:
    random = np.random.default_rng(0)
    targets = random.standard_normal(100)
    outputs = targets + 0.5 * random.standard_normal(100)
    for shaped in (outputs, outputs[:, None]):
        assert score(shaped, targets, REGRESSION) == pytest.approx(
            {
                "loss": reference.mean_squared_error(targets, outputs),
                "r2": reference.r2_score(targets, outputs),
                "mae": reference.mean_absolute_error(targets * 20 + 50, outputs * 20 + 50),
            }
        )


def test_classes_absent_from_the_targets_do_not_count() -> None:
    probabilities, targets = sample(4)
    kept = targets != 2
    probabilities, targets = probabilities[kept], targets[kept]
    found = score(probabilities, targets, classes(4))
    per_class = [reference.roc_auc_score(targets == c, probabilities[:, c]) for c in (0, 1, 3)]
    recalls = reference.recall_score(targets, probabilities.argmax(1), average=None, labels=[0, 1, 3])
    assert found["auroc"] == pytest.approx(np.mean(per_class))
    assert found["balanced_accuracy"] == pytest.approx(np.mean(recalls))


def test_a_single_class_ranks_nothing() -> None:
    assert score(sample(3)[0], np.ones(200, dtype=np.int64), classes(3))["auroc"] == 0.5


def test_loss_of_probabilities_is_loss_of_logits_and_never_infinite() -> None:
    logits, targets = torch.randn(50, 3), torch.randint(0, 3, (50,))
    of_logits = measure(names("classification"), logits, targets, classes(3))
    of_probabilities = score(logits.softmax(1).numpy(), targets.numpy(), classes(3))
    assert of_probabilities == pytest.approx({k.removeprefix("val/"): v for k, v in of_logits.items()}, abs=1e-6)
    wrong = score(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([1, 0]), classes(2))["loss"]
    assert wrong == pytest.approx(-np.log(LEAST_PROBABILITY) / 2, rel=1e-6)


def test_training_loss_is_torchs() -> None:
    logits, targets, weights = torch.randn(50, 3), torch.randint(0, 3, (50,)), torch.tensor([1.0, 2.0, 0.5])
    assert torch.equal(data_loss(logits, targets, classes(3), weights), F.cross_entropy(logits, targets, weights))
    values, wanted = torch.randn(50, 1), torch.randn(50)
    assert torch.equal(data_loss(values, wanted, REGRESSION), F.mse_loss(values[:, 0], wanted))


def test_every_metric_knows_direction_and_task() -> None:
    assert {name: (m.direction, m.tasks) for name, m in METRICS.items() if m.direction == "minimize"} == {
        "val/loss": ("minimize", ("classification", "regression")),
        "val/mae": ("minimize", ("regression",)),
    }
    assert names("regression") == ("val/loss", "val/r2", "val/mae")
