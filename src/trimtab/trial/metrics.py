"""What a result is scored by. `objective.py` says which way is better; here is what is computed, by torchmetrics.

Classification metrics take logits, or logarithms of probabilities, which are logits too. They average over classes
without weights ("macro"), except accuracy. Class counts of two are no special case: both classes count.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor
from torchmetrics.functional import mean_absolute_error, r2_score
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_auroc,
    multiclass_f1_score,
    multiclass_recall,
)

from trimtab.data.arrays import Problem, Task
from trimtab.selection.bootstrap import LEAST_PROBABILITY
from trimtab.trial.objective import OBJECTIVES, Direction

# (rows, outputs) outputs, (rows,) targets, problem → a scalar tensor
Score = Callable[[Tensor, Tensor, Problem], Tensor]


def data_loss(
    outputs: Tensor, targets: Tensor, problem: Problem, weights: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Mean cross entropy, or mean squared error of standardised targets.

    Args:
        outputs: (rows, outputs) logits or predictions.
        targets: (rows,).
        problem: says which of the two.
        weights: (classes,) weights of the cross entropy; for training only, a score has none.
        label_smoothing: share of the target that all classes get alike (Szegedy et al. 2016); for training only.
    """
    if problem.task == "classification":
        return F.cross_entropy(outputs, targets, weights, label_smoothing=label_smoothing)
    return F.mse_loss(outputs.squeeze(1), targets)


def _accuracy(outputs: Tensor, targets: Tensor, problem: Problem) -> Tensor:
    return multiclass_accuracy(outputs, targets, problem.outputs, average="micro", validate_args=False)


def _balanced_accuracy(outputs: Tensor, targets: Tensor, problem: Problem) -> Tensor:
    """Mean recall of the classes that occur among the targets, as scikit-learn has it."""
    recalls = multiclass_recall(outputs, targets, problem.outputs, average="none", validate_args=False)
    return recalls[_present(targets, problem)].mean()


def _f1(outputs: Tensor, targets: Tensor, problem: Problem) -> Tensor:
    """Mean F1 of the classes that occur among targets or predictions."""
    return multiclass_f1_score(outputs, targets, problem.outputs, average="macro", validate_args=False)


def _auroc(outputs: Tensor, targets: Tensor, problem: Problem) -> Tensor:
    """Mean area under the ROC curve of each class that occurs among the targets against the rest.

    0.5 where a single class occurs: there is no rest to rank it against.
    """
    present = _present(targets, problem)
    classes = int(present.sum())
    if classes < 2:
        return torch.tensor(0.5)
    probabilities, numbers = outputs.softmax(1)[:, present], (present.cumsum(0) - 1)[targets]
    return multiclass_auroc(probabilities, numbers, classes, average="macro", validate_args=False)


def _present(targets: Tensor, problem: Problem) -> Tensor:
    """(classes,) whether each occurs."""
    return targets.bincount(minlength=problem.outputs) > 0


def _r2(outputs: Tensor, targets: Tensor, problem: Problem) -> Tensor:
    return r2_score(outputs.squeeze(1), targets)


def _mae(outputs: Tensor, targets: Tensor, problem: Problem) -> Tensor:
    """In original units."""
    return mean_absolute_error(outputs.squeeze(1), targets) * problem.target_std


_SCORES: dict[str, Score] = {
    "val/loss": data_loss,
    "val/accuracy": _accuracy,
    "val/balanced_accuracy": _balanced_accuracy,
    "val/f1": _f1,
    "val/auroc": _auroc,
    "val/r2": _r2,
    "val/mae": _mae,
}


@dataclass(frozen=True)
class Metric:
    """One number that says how good outputs are."""

    function: Score
    direction: Direction
    tasks: tuple[str, ...]


METRICS = {name: Metric(_SCORES[name], o.direction, o.tasks) for name, o in OBJECTIVES.items()}


def names(task: Task) -> tuple[str, ...]:
    """The metrics of a task."""
    return tuple(name for name, metric in METRICS.items() if task in metric.tasks)


def measure(metrics: tuple[str, ...], outputs: Tensor, targets: Tensor, problem: Problem) -> dict[str, float]:
    """The named metrics of raw network outputs.

    Args:
        metrics: names in `METRICS`.
        outputs: (rows, outputs) logits or predictions, finite.
        targets: (rows,).
        problem: what the outputs mean.
    """
    return {name: float(METRICS[name].function(outputs, targets, problem)) for name in metrics}


def score(outputs: ArrayLike, targets: ArrayLike, problem: Problem) -> dict[str, float]:
    """Every metric of the task, named without "val/", of what `predict` or a scikit-learn model gives.

    Args:
        outputs: (rows, classes) probabilities; those below `LEAST_PROBABILITY` count as that in the loss.
            For regression (rows, 1) or (rows,) standardised predictions.
        targets: (rows,) class numbers or standardised targets; at least two rows.
        problem: what the outputs mean.
    """
    given = torch.as_tensor(np.array(outputs, dtype=np.float64)).reshape(-1, problem.outputs)
    if problem.task == "classification":
        given = given.clamp_min(LEAST_PROBABILITY).log()
    wanted = torch.as_tensor(np.array(targets, dtype=np.int64 if problem.task == "classification" else np.float64))
    found = measure(names(problem.task), given, wanted, problem)
    return {name.removeprefix("val/"): value for name, value in found.items()}
