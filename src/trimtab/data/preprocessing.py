"""From raw rows to network inputs and back, fitted on training rows alone; goes with the model into serving."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api import types
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from trimtab.data.arrays import Arrays, Problem, Task
from trimtab.data.checks import Missing, refuse_missing
from trimtab.data.columns import as_numbers, as_text, listed, place, suggestion
from trimtab.errors import DataError

MISSING = "missing"  # the category of categorical values that are not there
MOST_CATEGORIES = 50  # the rest of a column, and unknown ones, share one input

Scaling = Literal["standard", "channel", "none"]
ClassWeights = Literal["none", "balanced"]


@dataclass(frozen=True)
class Preprocessing:
    """A fitted preprocessing. Only ever load one from a file that you trust: joblib unpickles.

    Attributes:
        shape: of one example if it is a sequence or an image; None for a table.
        labels: the classes as they stand in the data, in the order of the outputs; empty for regression.
    """

    target: str
    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    missing: Missing
    scaling: Scaling
    class_weights: ClassWeights
    shape: tuple[int, ...] | None
    transformer: ColumnTransformer
    labels: tuple[Any, ...]
    problem: Problem

    @classmethod
    def fit(
        cls,
        frame: pd.DataFrame,
        *,
        target: str,
        numeric: Sequence[str],
        categorical: Sequence[str],
        task: Task,
        missing: Missing = "impute",
        scaling: Scaling = "standard",
        class_weights: ClassWeights = "none",
        shape: tuple[int, ...] | None = None,
    ) -> "Preprocessing":
        """Learns medians, scales, categories and labels from `frame`.

        Raises:
            DataError: the target of these rows does not vary; balanced class weights for a regression; scaling by
                channel of a table.
        """
        raw = _filled(_columns(frame, numeric, categorical), categorical)
        transformer = _transformer(numeric, categorical, _scaler(scaling, shape)).fit(raw)
        width = transformer.transform(raw.head(1)).shape[1]
        labels = tuple(sorted(set(frame[target].tolist()))) if task == "classification" else ()
        problem = _problem(frame[target], task, shape or (width,), labels, class_weights)
        names = (target, tuple(numeric), tuple(categorical))
        return cls(*names, missing, scaling, class_weights, shape, transformer, labels, problem)

    def refitted(self, frame: pd.DataFrame) -> "Preprocessing":
        """The same settings, learnt from other rows."""
        return Preprocessing.fit(
            frame,
            target=self.target,
            numeric=self.numeric,
            categorical=self.categorical,
            task=self.problem.task,
            missing=self.missing,
            scaling=self.scaling,
            class_weights=self.class_weights,
            shape=self.shape,
        )

    def raw(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The columns that `features` reads, as a caller of the model may give them: float64, bool and text."""
        numbers = {n: frame[n] if types.is_bool_dtype(frame[n]) else frame[n].astype("float64") for n in self.numeric}
        return pd.DataFrame(numbers | {n: as_text(frame[n]) for n in self.categorical}).reset_index(drop=True)

    def features(self, frame: pd.DataFrame) -> NDArray[np.float32]:
        """Raw rows → (rows, *shape); further columns are ignored, whole JSON rows are understood.

        Raises:
            DataError: a column is not there, holds structures or text for numbers, or lacks a value that it may not.
        """
        columns = [*self.numeric, *self.categorical]
        if absent := [name for name in columns if name not in frame.columns]:
            there = [str(name) for name in frame.columns]
            raise DataError(
                f"rows need the columns that the model was trained on, but {listed(absent)} is not there"
                f"{suggestion(absent[0], there)} the rows have {listed(there)}"
            )
        _refuse_structures(frame[columns])
        raw = _columns(frame, self.numeric, self.categorical)
        if self.missing == "refuse":
            refuse_missing(raw)
        if raw.empty:
            return np.empty((0, *self.problem.shape), np.float32)
        inputs = self.transformer.transform(_filled(raw, self.categorical))
        return np.asarray(inputs, dtype=np.float32).reshape(-1, *self.problem.shape)

    @property
    def categories(self) -> dict[str, frozenset[str]]:
        """What training saw in each categorical column; `MISSING` is among it where a value was not there."""
        if not self.categorical:  # the encoder of no columns is not fitted
            return {}
        seen = self.transformer.named_transformers_["categorical"].categories_
        return dict(zip(self.categorical, map(frozenset, seen), strict=True))

    @property
    def medians(self) -> dict[str, float]:
        """What stands for a missing value in each numeric column; 0 where training had no value at all."""
        if not self.numeric:
            return {}
        found = self.transformer.named_transformers_["numeric"][0].statistics_
        return dict(zip(self.numeric, np.nan_to_num(found).tolist(), strict=True))

    def arrays(self, frame: pd.DataFrame) -> Arrays:
        """Features and target of raw rows.

        Raises:
            DataError: as `features`; a label that training rows do not have.
        """
        return Arrays(self.features(frame), self._targets(frame[self.target]))

    def decode(self, outputs: NDArray[np.floating[Any]]) -> pd.DataFrame:
        """Predictions in the words of the data, from probabilities or standardised values.

        Args:
            outputs: (rows, outputs); for classification probabilities (not logits), as `predict` gives them.

        Returns:
            `prediction`, and `probability_<class>` for each class.
        """
        if outputs.ndim != 2 or outputs.shape[1] != self.problem.outputs:
            raise ValueError(f"outputs must be (rows, {self.problem.outputs}), but are {outputs.shape}")
        if not self.labels:
            values = outputs[:, 0].astype(np.float64)
            return pd.DataFrame({"prediction": values * self.problem.target_std + self.problem.target_mean})
        if not np.allclose(outputs.sum(axis=1), 1, atol=1e-2):
            raise ValueError("outputs of a classification must be probabilities; apply softmax to logits first")
        columns: dict[str, Any] = {"prediction": np.array(self.labels)[outputs.argmax(axis=1)]}
        names = (f"probability_{name}" for name in self.problem.classes)
        return pd.DataFrame(columns | dict(zip(names, outputs.T, strict=True)))

    def save(self, path: Path) -> None:
        """Writes a joblib file; equal preprocessing gives equal bytes."""
        joblib.dump(self, path)

    @classmethod
    def load(cls, path: Path) -> "Preprocessing":
        """Reads what `save` wrote.

        Raises:
            DataError: the file is absent, damaged or something else.
        """
        try:
            loaded = joblib.load(path)
        except Exception as e:  # a damaged pickle raises whatever its bytes happen to mean
            raise DataError(f"{path} is not there or damaged; run `python -m trimtab.stages.prepare`") from e
        if not isinstance(loaded, cls):
            raise DataError(f"{path} must hold a Preprocessing, but holds a {type(loaded).__name__}")
        return loaded

    def _targets(self, target: pd.Series) -> NDArray[Any]:
        if not self.labels:
            standardised = (target.astype("float64") - self.problem.target_mean) / self.problem.target_std
            return standardised.to_numpy(np.float32)
        numbers = target.map({label: number for number, label in enumerate(self.labels)})
        if (unseen := numbers.isna()).any():
            strange = target[unseen].unique().tolist()
            raise DataError(
                f"each class must occur in training, but {self.target!r} has {listed(strange)}; "
                f"the classes are {listed(self.labels)}"
            )
        return numbers.to_numpy(np.int64)


def _refuse_structures(frame: pd.DataFrame) -> None:
    """Lists and objects, which JSON can send, would pass as text."""
    for name, column in frame.items():
        if types.is_object_dtype(column.dtype) and (nested := column.map(_is_structure)).any():
            raise DataError(
                f"a value must be a number, a text, true, false or null, but {name!r} holds {column[nested].iloc[0]!r} "
                f"in {place(column, nested)}; give plain values"
            )


def _is_structure(value: object) -> bool:
    return isinstance(value, dict | list)


def _columns(frame: pd.DataFrame, numeric: Sequence[str], categorical: Sequence[str]) -> pd.DataFrame:
    """Numeric columns as float64, categorical ones as Python text; gaps stay."""
    numbers = {name: as_numbers(frame[name], "numeric column") for name in numeric}
    texts = {name: as_text(frame[name]).astype(object) for name in categorical}
    return pd.DataFrame(numbers | texts, index=frame.index)


def _filled(raw: pd.DataFrame, categorical: Sequence[str]) -> pd.DataFrame:
    return raw.fillna(dict.fromkeys(categorical, MISSING))


class ChannelScaler(BaseEstimator, TransformerMixin):  # type: ignore[misc]
    """Zero mean and unit variance per channel, over all rows and positions: neighbours keep their proportions."""

    def __init__(self, channels: int) -> None:
        self.channels = channels

    def fit(self, x: NDArray[np.float64], y: None = None) -> "ChannelScaler":
        """x: (rows, channels * positions); a channel that does not vary is only centred."""
        values = self._by_channel(x)
        self.mean_ = values.mean(axis=(0, 2), keepdims=True)
        scale = values.std(axis=(0, 2), keepdims=True)
        self.scale_ = np.where(scale == 0, 1.0, scale)
        return self

    def transform(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same shape, scaled."""
        scaled: NDArray[np.float64] = (self._by_channel(x) - self.mean_) / self.scale_
        return scaled.reshape(x.shape)

    def _by_channel(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return x.reshape(len(x), self.channels, x.shape[1] // self.channels)


def _scaler(scaling: Scaling, shape: tuple[int, ...] | None) -> Any:
    if scaling == "standard":
        return StandardScaler()
    if scaling == "none":
        return FunctionTransformer()
    if shape is None:
        raise DataError(
            "data.scaling=channel needs sequences or images, but the rows are a table; set it to standard, or name the "
            "shape of a row in data.shape"
        )
    return ChannelScaler(shape[0])


def _transformer(numeric: Sequence[str], categorical: Sequence[str], scaler: Any) -> ColumnTransformer:
    median = SimpleImputer(strategy="median", keep_empty_features=True)
    one_hot = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=MOST_CATEGORIES, sparse_output=False)
    return ColumnTransformer(
        [
            ("numeric", make_pipeline(median, scaler), list(numeric)),
            ("categorical", one_hot, list(categorical)),
        ]
    )


def _problem(
    target: pd.Series, task: Task, shape: tuple[int, ...], labels: tuple[Any, ...], class_weights: ClassWeights
) -> Problem:
    if target.nunique() < 2:
        raise DataError(
            f"the target must vary in the training part, but {target.name!r} is {target.tolist()[0]!r} in each row; "
            "set another data.split_seed, or another column to split by"
        )
    if task == "classification":
        counts = target.value_counts()
        weights = tuple(len(target) / (len(labels) * int(counts[label])) for label in labels)
        given = weights if class_weights == "balanced" else None
        return Problem(task, shape, len(labels), tuple(map(str, labels)), 0.0, 1.0, given)
    if class_weights == "balanced":
        raise DataError(f"data.class_weights=balanced needs classes, but {target.name!r} is a quantity; set it to none")
    values = target.to_numpy(np.float64)
    return Problem(task, shape, 1, (), float(values.mean()), float(values.std()), None)
