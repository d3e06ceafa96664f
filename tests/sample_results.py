"""A results folder as the stages leave it: a real Optuna study of a toy objective, real bootstrap intervals."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from sklearn import metrics as sk

from trimtab.paths import write_json
from trimtab.selection.bootstrap import Interval, classification, compare, regression
from trimtab.selection.choose import Direction

KNOBS: dict[str, dict[str, Any]] = {
    "optimizer": {"kind": "choice", "choices": ["adamw", "sgd"], "role": "scientific"},
    "optimizer.lr": {"kind": "float", "log": True, "low": 1e-4, "high": 1.0, "role": "nuisance"},
    "optimizer.momentum": {
        "kind": "float",
        "log": False,
        "low": 0.0,
        "high": 0.99,
        "role": "nuisance",
        "when": {"optimizer": "sgd"},
    },
    "training.batch_size": {"kind": "choice", "choices": [16, 32, 64, 128, 256], "role": "nuisance"},
    "model.width": {"kind": "int", "log": True, "low": 16, "high": 256, "role": "scientific"},
}
CONFIG = {
    "optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.001},
    "training": {"batch_size": 32},
    "model": {"width": 64},
}
DIVERGED = "Diverged: train/loss is NaN at epoch 3"


@dataclass(frozen=True)
class Sample:
    """What kind of results to write.

    Attributes:
        keep: trials beyond this number fail.
        quality: how well each recipe does on the test, relative to the champion; a constant is added to them.
    """

    task: str = "classification"
    metric: str = "val/loss"
    direction: Direction = "minimize"
    trials: int = 24
    keep: int = 10_000
    name: str = "digits"
    target: str = "digit"
    classes: tuple[str, ...] = ("0", "1", "2", "3", "4", "5")
    champion: str = ""
    quality: tuple[tuple[str, float], ...] = (
        ("champion", 1.0),
        ("default", 0.8),
        ("classic", 0.5),
        ("logistic", 0.75),
        ("boosting", 0.97),
    )
    look: int = 1
    seeds: int = 3

    def with_quality(self, **quality: float) -> "Sample":
        """Another outcome of the test."""
        return replace(self, quality=tuple({**dict(self.quality), **quality}.items()))


REGRESSION = Sample(
    task="regression",
    metric="val/r2",
    direction="maximize",
    name="houses",
    target="price",
    classes=(),
)


def write_sample(folder: Path, sample: Sample) -> Path:
    """Writes all stages' results into `folder` and returns it."""
    study = _study(sample)
    best = _best(study, sample)
    _prepare(folder / "prepare", sample)
    _sweep(folder / "sweep", study, best, sample)
    _select(folder / "select", study, best, sample)
    _evaluate(folder / "evaluate", sample)
    return folder


def _study(sample: Sample) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction=sample.direction, sampler=optuna.samplers.RandomSampler(seed=3))
    study.enqueue_trial({"optimizer": "adamw", "optimizer.lr": 0.001, "training.batch_size": 32, "model.width": 64})
    study.optimize(lambda t: _objective(t, sample), sample.trials, catch=(FloatingPointError,))
    return study


def _objective(trial: optuna.Trial, sample: Sample) -> float:
    optimizer = trial.suggest_categorical("optimizer", ["adamw", "sgd"])
    lr = trial.suggest_float("optimizer.lr", 1e-4, 1.0, log=True)
    momentum = trial.suggest_float("optimizer.momentum", 0.0, 0.99) if optimizer == "sgd" else 0.9
    batch = trial.suggest_categorical("training.batch_size", [16, 32, 64, 128, 256])
    width = trial.suggest_int("model.width", 16, 256, log=True)
    if trial.number > sample.keep or (lr > 0.4 and optimizer == "adamw"):
        raise FloatingPointError(DIVERGED)
    loss = 0.06 + 0.12 * (math.log10(lr) + 2) ** 2 + 0.08 * (1 - momentum) + 2 / width + batch / 4000
    loss *= 1 + 0.15 * math.sin(37 * trial.number)
    return loss if sample.direction == "minimize" else 1 - loss


def _completed(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return study.get_trials(states=[optuna.trial.TrialState.COMPLETE])


def _value(trial: optuna.trial.FrozenTrial) -> float:
    assert trial.value is not None
    return trial.value


def _best(study: optuna.Study, sample: Sample) -> list[optuna.trial.FrozenTrial]:
    sign = 1 if sample.direction == "minimize" else -1
    return sorted(_completed(study), key=lambda t: sign * _value(t))[:5]


def _prepare(folder: Path, sample: Sample) -> None:
    counts = dict.fromkeys(sample.classes, 70)
    write_json(
        folder / "manifest.json",
        {
            "name": sample.name,
            "data_hash": "5f1d0c2ab97e",
            "task": sample.task,
            "target": sample.target,
            "features": 64,
            "classes": list(sample.classes),
            "rows": {"train": 1078, "val": 359, "test": 360},
            "class_counts": {"train": counts, "val": dict.fromkeys(counts, 23)},
            "dropped": [{"rows": 3, "reason": f"no value in the target {sample.target}"}],
            "imputed": {"pixel_7": 12},
        },
    )


def _sweep(folder: Path, study: optuna.Study, best: list[optuna.trial.FrozenTrial], sample: Sample) -> None:
    rows = [
        {
            "number": t.number,
            "state": t.state.name,
            "value": t.value,
            "epochs": 30 if t.value is not None else None,
            "seed": 1000 + t.number,
            **{f"params.{name}": t.params.get(name) for name in KNOBS},
        }
        for t in study.trials
    ]
    folder.mkdir(parents=True)
    pd.DataFrame(rows).to_csv(folder / "trials.csv", index=False)
    numbers = list(dict.fromkeys([*(t.number for t in best), 0]))
    _curves({n: _value(study.trials[n]) for n in numbers}, sample).to_parquet(folder / "curves.parquet")
    failed = len(study.trials) - len(_completed(study))
    write_json(
        folder / "study.json",
        {
            "name": "0f3a9c2b71de",
            "data": sample.name,
            "model": "mlp",
            "metric": sample.metric,
            "direction": sample.direction,
            "sampler": "random",
            "seed": 0,
            "folder": "runs/0f3a9c2b71de",
            "counts": {"COMPLETE": len(_completed(study)), "FAIL": failed},
            "best": {"number": best[0].number, "value": best[0].value},
            "baseline": {"number": 0, "value": study.trials[0].value},
            "knobs": {name: {"log": None, "choices": None, "when": None, **knob} for name, knob in KNOBS.items()},
            "failures": {DIVERGED: failed} if failed else {},
        },
    )


def _curves(values: Mapping[int, float], sample: Sample) -> pd.DataFrame:
    epochs = np.arange(1, 31)
    parts = []
    for number, value in values.items():
        floor = value if sample.direction == "minimize" else 1 - value
        train = floor * 0.5 + 2.2 * np.exp(-epochs / 3) + 0.004
        val = floor + 2.1 * np.exp(-epochs / 3) + 0.0006 * np.maximum(epochs - 18, 0) ** 2
        columns = {"trial": number, "epoch": epochs, "train/loss": train, "val/loss": val, "lr": 0.01}
        parts.append(pd.DataFrame({**columns, **({} if sample.metric == "val/loss" else {sample.metric: 1 - val})}))
    return pd.concat(parts, ignore_index=True)


def _select(folder: Path, study: optuna.Study, best: list[optuna.trial.FrozenTrial], sample: Sample) -> None:
    rng = np.random.default_rng(5)
    baseline = _value(study.trials[0])
    candidates = [
        _candidate(
            f"trial {t.number}", t.number, _value(t), [f"{k}={v}" for k, v in t.params.items()], sample.seeds, rng
        )
        for t in best
    ]
    candidates.append(_candidate("default", None, baseline, [], sample.seeds, rng))
    candidates.append(_candidate("classic", None, baseline * 1.3, ["optimizer=sgd"], sample.seeds, rng))
    write_json(
        folder / "champion.json",
        {
            "id": "a1b2c3d4e5f6",
            "metric": sample.metric,
            "direction": sample.direction,
            "champion": sample.champion or candidates[0]["name"],
            "seeds": list(range(11, 11 + sample.seeds)),
            "candidates": candidates,
            "data": {"name": sample.name, "data_hash": "5f1d0c2ab97e"},
        },
    )


def _candidate(
    name: str, trial: int | None, value: float, overrides: list[str], seeds: int, rng: np.random.Generator
) -> dict[str, Any]:
    values = [float(v) for v in value * rng.normal(1.02, 0.04, size=seeds)]
    return {
        "name": name,
        "trial": trial,
        "eligible": trial is not None,
        "overrides": overrides,
        "values": values,
        "mean": float(np.mean(values)),
        "std": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        "best_epochs": [17, 19, 18][: len(values)],
        "epochs": 18,
        "config": CONFIG,
    }


def _evaluate(folder: Path, sample: Sample) -> None:
    predictions, intervals = _classified(sample) if sample.classes else _regressed(sample)
    write_json(
        folder / "metrics.json",
        {
            "sealed": False,
            "look": {"number": sample.look, "verdict": "first" if sample.look == 1 else "exploratory"},
            "champion": "trial 17",
            "rows": len(predictions),
            "estimates": "model",
            "data": sample.name,
            "metric": sample.metric,
            **intervals,
        },
    )
    predictions.to_parquet(folder / "predictions.parquet")


def _classified(sample: Sample) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Logits = quality × the truth + noise; half of the noise is common to all recipes."""
    rng = np.random.default_rng(7)
    classes = np.array(sample.classes)
    targets = np.arange(360) % len(classes)
    common = rng.normal(size=(360, len(classes)))
    outputs = {}
    for name, quality in sample.quality:
        logits = 3.2 * quality * (targets[:, None] == np.arange(len(classes)))
        logits = logits + common + 0.5 * rng.normal(size=common.shape)
        outputs[name] = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    outputs["constant"] = np.full((360, len(classes)), 1 / len(classes))
    table = pd.DataFrame({"target": classes[targets]})
    for name, output in outputs.items():
        table[f"{name}/prediction"] = classes[output.argmax(axis=1)]

    def score(p: np.ndarray) -> dict[str, float]:
        labels = p.argmax(axis=1)
        return {
            "loss": float(sk.log_loss(targets, p)),
            "accuracy": float(sk.accuracy_score(targets, labels)),
            "balanced_accuracy": float(sk.balanced_accuracy_score(targets, labels)),
            "f1": float(sk.f1_score(targets, labels, average="macro")),
            "auroc": float(sk.roc_auc_score(targets, p, multi_class="ovr")),
        }

    found = compare(outputs, classification(targets), score, rows=360, resamples=300, seed=0)
    return table, {"scores": _json(found.scores), "differences": _json(found.differences)}


def _regressed(sample: Sample) -> tuple[pd.DataFrame, dict[str, Any]]:
    rng = np.random.default_rng(7)
    targets, common = rng.normal(size=360), rng.normal(size=360)
    names = {"logistic": "ridge"}
    outputs = {
        names.get(name, name): targets + 0.3 / quality * (common + 0.4 * rng.normal(size=360))
        for name, quality in sample.quality
    }
    outputs["constant"] = np.zeros(360)
    table = pd.DataFrame({"target": 200 + 80 * targets})
    for name, output in outputs.items():
        table[f"{name}/prediction"] = 200 + 80 * output

    def score(p: np.ndarray) -> dict[str, float]:
        return {
            "loss": float(sk.mean_squared_error(targets, p)),
            "r2": float(sk.r2_score(targets, p)),
            "mae": float(sk.mean_absolute_error(targets, p)) * 80,
        }

    found = compare(outputs, regression(targets, target_std=80.0), score, rows=360, resamples=300, seed=0)
    return table, {"scores": _json(found.scores), "differences": _json(found.differences)}


def _json(table: dict[str, dict[str, Interval]]) -> dict[str, Any]:
    plain = {r: {m: vars(found) for m, found in metrics.items()} for r, metrics in table.items()}
    return dict(json.loads(json.dumps(plain)))
