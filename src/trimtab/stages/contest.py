"""The contest on the test set: who takes part, trained on all rows outside of it, and how they do on the same rows."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from torch import nn

from trimtab.data.arrays import Arrays, Problem
from trimtab.errors import Diverged
from trimtab.selection.bootstrap import Comparison, classification, regression
from trimtab.selection.bootstrap import compare as bootstrapped
from trimtab.selection.standing import CONSTANT
from trimtab.stages import unpack
from trimtab.stages.closing import progress
from trimtab.stages.evaluate import CHAMPION
from trimtab.trial.metrics import score
from trimtab.trial.train import predict, refit


def refits(choice: Mapping[str, Any], known: Arrays, problem: Problem, seed: int) -> Iterator[tuple[str, nn.Module]]:
    """Champion, default and overlays, each for its own best number of epochs on its own schedule's horizon.

    One that diverges is left out, unless it is the champion.
    """
    rows = {row["name"]: row for row in choice["candidates"]}
    baselines = {name: row for name, row in rows.items() if name == "default" or not row["eligible"]}
    wanted = {CHAMPION: rows[choice["champion"]], **baselines}
    with progress("refit", len(wanted)) as advance:
        for name, row in wanted.items():
            if row["epochs"] is not None:  # None: it diverged on every seed
                cfg = OmegaConf.create(row["config"])
                recipe = replace(unpack.recipe(cfg), epochs=row["epochs"])
                try:
                    yield name, refit(recipe, known, problem, seed, unpack.device(cfg))
                except Diverged:
                    if name == CHAMPION:
                        raise
            advance(name)


def references(known: Arrays, problem: Problem) -> dict[str, Any]:
    """scikit-learn's linear model and histogram gradient boosting with their defaults, and a constant.

    The constant is the mean of the targets, or the shares of the classes.
    """
    if problem.task == "regression":
        models = {
            "ridge": Ridge(),
            "boosting": HistGradientBoostingRegressor(random_state=0),
            CONSTANT: DummyRegressor(),
        }
    else:
        weights = "balanced" if problem.class_weights else None
        models = {
            "logistic": LogisticRegression(max_iter=5000, class_weight=weights),
            "boosting": HistGradientBoostingClassifier(random_state=0, class_weight=weights),
            CONSTANT: DummyClassifier(strategy="prior"),
        }
    with progress("references", len(models)) as advance:
        for name, model in models.items():
            model.fit(known.flat, known.y)
            advance(name)
    return models


def answers(
    networks: Mapping[str, nn.Module], others: Mapping[str, Any], test: Arrays, problem: Problem
) -> dict[str, NDArray[Any]]:
    """Probabilities (rows, classes), or standardised predictions (rows, 1), of networks and references."""
    found = {name: predict(network, test.x, problem) for name, network in networks.items()}
    for name, model in others.items():
        is_number = problem.task == "regression"
        found[name] = model.predict(test.flat)[:, None] if is_number else model.predict_proba(test.flat)
    return found


def compare(
    outputs: dict[str, NDArray[Any]],
    test: Arrays,
    problem: Problem,
    resamples: int,
    groups: NDArray[np.int64] | None,
) -> Comparison:
    """Scores with intervals, and paired differences to the champion, over test rows or over their groups."""
    classes = problem.task == "classification"
    metrics = classification(test.y) if classes else regression(test.y, target_std=problem.target_std)
    return bootstrapped(
        outputs,
        metrics,
        lambda predicted: score(predicted, test.y, problem),
        rows=len(test.y),
        resamples=resamples,
        seed=0,
        champion=CHAMPION,
        groups=groups,
    )
