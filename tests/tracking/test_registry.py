"""The registered champion: what its HTTP server answers, and what `predict` says beside the predictions."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from projects import Project
from trimtab import config
from trimtab.data.preprocessing import Preprocessing
from trimtab.models.linear import Linear
from trimtab.overrides import overrides
from trimtab.stages import unpack
from trimtab.tracking.runs import Settings, experiment

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns of its own type hints
    from mlflow.exceptions import MlflowException
    from mlflow.pyfunc.scoring_server import invocations

    from trimtab.tools import predict
    from trimtab.tracking.registry import Champion, ChampionFiles, load_champion, register_champion

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")

ROWS = pd.DataFrame(
    {"größe": [1.0, 2.0, np.nan, 6.0], "stadt": ["Ulm", "Bonn", "Ulm", "Ulm"], "krank": ["ja", "nein", "ja", "ja"]}
)


@pytest.fixture
def files(tmp_path: Path) -> ChampionFiles:
    """A champion that has learnt nothing."""
    fitted = Preprocessing.fit(ROWS, target="krank", numeric=["größe"], categorical=["stadt"], task="classification")
    files = ChampionFiles(tmp_path / "weights.pt", tmp_path / "preprocessing.joblib", tmp_path / "model.json")
    fitted.save(files.preprocessing)
    torch.save(Linear(fitted.problem.shape, fitted.problem.outputs).state_dict(), files.weights)
    files.model.write_text(json.dumps({"_target_": "trimtab.models.linear.Linear", "_partial_": True}))
    return files


def registered(files: ChampionFiles, settings: Settings, name: str) -> Any:
    store = experiment(settings, name)
    assert store is not None
    with store.run("champion", {"role": "champion"}, params={}) as run:
        pass
    register_champion(store, run.run_id, files, ROWS[["größe", "stadt"]].head(2), {})
    return load_champion(settings, name)


def test_an_error_about_rows_reaches_whoever_sent_them(files: ChampionFiles) -> None:
    champion = Champion.from_files(files.as_artifacts())
    with pytest.raises(MlflowException, match="'stadt' is not there") as caught:
        champion.predict(None, ROWS[["größe"]])
    assert caught.value.get_http_status_code() == 400


@pytest.mark.slow
def test_the_registered_champion(files: ChampionFiles, project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """One test: MLflow keeps to the first registry that a process names."""
    typed = ["data=csv", "data.path=patients.csv", "data.target=krank"]
    cfg = config.compose(overrides(typed))
    champion = registered(files, unpack.tracking(unpack.plain(cfg.tracking)), cfg.data.name)
    answers_rows_and_says_what_is_wrong_with_them(champion)
    capsys.readouterr()
    says_what_training_never_saw(typed, capsys)


def answers_rows_and_says_what_is_wrong_with_them(champion: Any) -> None:
    def post(*records: dict[str, object]) -> Any:
        body = json.dumps({"dataframe_records": records}).encode()
        return invocations(body, "application/json", champion, champion.metadata.get_input_schema())

    answer = post({"größe": 1, "stadt": "Atlantis"}, {"größe": None}, {"stadt": "Ulm"})
    assert (answer.status, len(json.loads(answer.response)["predictions"])) == (200, 3)
    for record, said in (
        ({"größe": 1}, "'stadt' is not there; the rows have 'größe'"),
        ({"größe": 1, "stadt": {"name": "Ulm"}}, "'stadt' holds {'name': 'Ulm'} in row 0"),
        ({"größe": 1, "stadt": ["Ulm"]}, "'stadt' holds ['Ulm'] in row 0"),
        ({"größe": [1], "stadt": "Ulm"}, "column größe"),
    ):
        with pytest.raises(MlflowException) as caught:
            post(record, record)
        assert said in caught.value.message
        assert caught.value.get_http_status_code() == 400


def says_what_training_never_saw(typed: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    ROWS.assign(stadt=["Atlantis", "Ulm", "Atlantis", "Bonn"]).to_csv("new.csv", index=False)
    predict.main(["new.csv", *typed])
    assert capsys.readouterr().out.splitlines()[:2] == [
        "4 rows predicted by 'patients' @champion",
        "'stadt': 2 of 4 values never seen in training ('Atlantis'); "
        "'größe': 1 of 4 values missing, filled in with 2, the training median",
    ]
    assert len(pd.read_csv("results/predict/new.csv")) == 4
