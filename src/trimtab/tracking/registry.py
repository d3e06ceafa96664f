"""The champion in MLflow's registry, as a model that answers raw rows."""

import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import torch
from hydra.utils import instantiate
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from mlflow.types import ColSpec, Schema

from trimtab.data.preprocessing import Preprocessing
from trimtab.errors import DataError, TrackingError
from trimtab.tracking.runs import Experiment, Settings, reaching
from trimtab.trial.train import predict


class Champion(PythonModel):
    """Preprocessing and network as one model. Only its files are stored, no pickled code."""

    preprocessing: Preprocessing
    network: torch.nn.Module

    @classmethod
    def from_files(cls, artifacts: Mapping[str, str]) -> "Champion":
        """Builds it from the files `weights`, `preprocessing` and `model`."""
        champion = cls()
        champion._load(artifacts)
        return champion

    def load_context(self, context: PythonModelContext) -> None:
        """Called by MLflow."""
        self._load(context.artifacts)

    def _load(self, artifacts: Mapping[str, str]) -> None:
        self.preprocessing = Preprocessing.load(Path(artifacts["preprocessing"]))
        problem = self.preprocessing.problem
        model = json.loads(Path(artifacts["model"]).read_text(encoding="utf-8"))
        self.network = instantiate(model)(problem.shape, problem.outputs)
        self.network.load_state_dict(torch.load(artifacts["weights"], weights_only=True))

    def answer(self, rows: pd.DataFrame) -> pd.DataFrame:
        """One row of predictions for each raw row.

        Raises:
            DataError: a feature's column is absent or holds text for a number.
        """
        x = self.preprocessing.features(rows)
        return self.preprocessing.decode(predict(self.network, x, self.preprocessing.problem))

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        """Called by MLflow, whose server answers 400 with the text of such an error, and hides that of any other."""
        try:
            return self.answer(model_input)
        except DataError as e:
            raise MlflowException.invalid_parameter_value(str(e)) from e


@dataclass(frozen=True)
class ChampionFiles:
    """What the served model is made of.

    Attributes:
        weights: a state_dict.
        preprocessing: the fitted preprocessing.
        model: the resolved `model` node of the configuration, as JSON.
    """

    weights: Path
    preprocessing: Path
    model: Path

    def as_artifacts(self) -> dict[str, str]:
        """Names that `Champion` looks for."""
        return {
            "weights": str(self.weights),
            "preprocessing": str(self.preprocessing),
            "model": str(self.model),
        }


def register_champion(
    store: Experiment,
    run_id: str,
    files: ChampionFiles,
    rows: pd.DataFrame,
    tags: Mapping[str, str],
) -> str:
    """Puts the model, preprocessing included, into the registry under the data set's name with the alias `champion`.

    Args:
        store: the data set's experiment.
        run_id: the run that the model belongs to.
        files: weights, preprocessing and configuration.
        rows: a few raw rows, the input example.
        tags: marks of this version, e.g. the number of the look.

    Returns:
        The version's number.
    """
    with reaching(store.settings.uri):
        return _registered(store, run_id, files, rows, tags)


def _registered(
    store: Experiment, run_id: str, files: ChampionFiles, rows: pd.DataFrame, tags: Mapping[str, str]
) -> str:
    _point_to(store.settings)
    answers = Champion.from_files(files.as_artifacts()).answer(rows)
    with _quiet(), mlflow.start_run(run_id=run_id):
        info = mlflow.pyfunc.log_model(
            name="champion",
            python_model=Path(__file__).with_name("served.py"),
            artifacts=files.as_artifacts(),
            signature=_lenient(infer_signature(_as_json_would(rows), answers)),
            input_example=_as_json_would(rows),
            code_paths=[str(Path(__file__).parents[1])],
            pip_requirements=_requirements(),
        )
    try:
        store.client.create_registered_model(store.name)
    except MlflowException as e:
        if e.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    made = store.client.create_model_version(store.name, info.model_uri, run_id, tags=dict(tags))
    store.client.set_registered_model_alias(store.name, "champion", made.version)
    return str(made.version)


def load_champion(settings: Settings, name: str) -> Any:
    """The registered champion as an MLflow pyfunc model.

    Raises:
        TrackingError: there is none yet, or tracking is off.
    """
    if settings.uri is None:
        raise TrackingError("tracking=none keeps no model; set `tracking: sqlite` in params.yaml and run `dvc repro`")
    with reaching(settings.uri):
        _point_to(settings)
        try:
            with _quiet():
                return mlflow.pyfunc.load_model(champion_uri(name))
        except MlflowException as e:
            raise TrackingError(
                f"MLflow has no model '{name}' with the alias 'champion' yet; `dvc repro` makes one of the data "
                f"that params.yaml names; data=… names others ({e.message})"
            ) from e


def _point_to(settings: Settings) -> None:
    """Some of MLflow's functions know only the process's own address."""
    mlflow.set_tracking_uri(str(settings.uri))
    mlflow.set_registry_uri(str(settings.uri))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without MLflow's progress bars over single files, its notes to itself, and a hint that our signature heeds."""
    logger = logging.getLogger("mlflow.pyfunc")
    level = logger.level
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    try:
        logger.setLevel(logging.WARNING)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Hint: Inferred schema contains integer column")
            yield
    finally:
        logger.setLevel(level)


def champion_uri(name: str) -> str:
    """MLflow's address of the champion."""
    return f"models:/{name}@champion"


def _as_json_would(rows: pd.DataFrame) -> pd.DataFrame:
    """Numbers as doubles: an integer column could not hold a missing value in a request."""
    numbers = rows.select_dtypes(include=["number", "bool"]).columns
    return rows.astype(dict.fromkeys(numbers, "float64"))


def _lenient(signature: Any) -> Any:
    """Every input may be missing in a row; a column that is absent altogether is our own error message."""
    signature.inputs = Schema([ColSpec(c.type, c.name, required=False) for c in signature.inputs.inputs])
    return signature


def _requirements() -> list[str]:
    names: Sequence[str] = (
        "mlflow",
        "torch",
        "scikit-learn",
        "pandas",
        "numpy",
        "hydra-core",
        "optuna",
    )
    return [f"{n}=={version(n).partition('+')[0]}" for n in names]
