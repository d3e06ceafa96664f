"""The story: a person's own CSV → a sweep, killed and resumed → champion, test score, page, model over HTTP."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from sklearn.datasets import load_breast_cancer

from projects import Project

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
]

TRIALS = 10


def own_csv(path: Path) -> pd.DataFrame:
    """A real table as people have them: text labels, a text column, gaps."""
    raw = load_breast_cancer(as_frame=True)
    frame = raw.frame.iloc[:, [0, 1, 2, 3, 20, 27]].assign(
        diagnosis=raw.frame.target.map({0: "malignant", 1: "benign"})
    )
    random = np.random.default_rng(0)
    frame["ward"] = random.choice(["north", "south, old"], len(frame))
    frame.loc[random.choice(len(frame), 40, replace=False), "mean texture"] = np.nan
    frame.to_csv(path, index=False)
    return frame


@pytest.fixture
def csv_project(project: Project) -> Project:
    own_csv(project.root / "my table.csv")
    project.set_params(
        data="csv",
        budget={"trials": TRIALS},
        set={
            "data": {"path": "my table.csv", "target": "diagnosis"},
            "training": {"epochs": 5},
            "evaluate": {"resamples": 200},
            "select": {"candidates": 2, "seeds": 2},
        },
    )
    return project


def folder_of(project: Project) -> Path:
    (found,) = (project.root / "runs").glob("my table-mlp-*")
    return found


def kill_in_the_middle(project: Project, finished: int) -> None:
    """Starts the sweep and kills it, and only it, with SIGKILL when so many trials have ended."""
    process = project.start("trimtab.stages.sweep")
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        journals = list((project.root / "runs").glob("*/study.journal"))
        if process.poll() is not None:
            raise AssertionError(process.communicate()[0])
        if journals and journals[0].read_bytes().count(b'"state":1') >= finished:
            break
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def test_own_csv_to_champion(csv_project: Project, tmp_path: Path, free_port: int) -> None:
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(csv_project.root, undisturbed)
    csv_project.stage("prepare")
    kill_in_the_middle(csv_project, 3)
    kill_in_the_middle(csv_project, 6)
    csv_project.stage("sweep")
    same_table_as(Project(undisturbed), csv_project)
    one_run_per_trial(csv_project)
    (csv_project.root / "runs/mlflow.db").unlink()  # what the journal knows and MLflow lacks is replayed
    csv_project.stage("sweep")
    one_run_per_trial(csv_project)
    repro(csv_project)
    predictions_agree(csv_project, free_port)


def same_table_as(other: Project, project: Project) -> None:
    other.stage("prepare")
    other.stage("sweep")
    assert other.files("results/sweep") == project.files("results/sweep")
    table = pd.read_csv(project.root / "results/sweep/trials.csv")
    assert list(table["number"]) == list(range(TRIALS))
    assert set(table["state"]) == {"COMPLETE"}
    assert {"epochs", "seed", "params.optimizer.lr", "params.optimizer.momentum"} <= set(table.columns)
    assert table["params.optimizer.momentum"].notna().equals(table["params.optimizer"] == "sgd")


def one_run_per_trial(project: Project) -> None:
    client = MlflowClient(f"sqlite:///{project.root}/runs/mlflow.db")
    experiment = client.get_experiment_by_name("my table")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    (study,) = [r for r in runs if r.data.tags["role"] == "study"]
    trials = [r for r in runs if r.data.tags["role"] in ("trial", "baseline")]
    assert sorted(int(r.data.tags["trial"]) for r in trials) == list(range(TRIALS))
    assert {r.info.status for r in runs} == {"FINISHED"}
    assert {r.data.tags["mlflow.parentRunId"] for r in trials} == {study.info.run_id}
    table = pd.read_csv(project.root / "results/sweep/trials.csv").set_index("number")
    for run in trials:
        row = table.loc[int(run.data.tags["trial"])]
        assert run.data.metrics["objective"] == pytest.approx(row["value"])
        assert float(run.data.params["optimizer.lr"]) == row["params.optimizer.lr"]
        steps = [m.step for m in client.get_metric_history(run.info.run_id, "val/loss")]
        assert steps == list(range(1, int(row["epochs"]) + 1))
    assert study.data.metrics["best/objective"] == pytest.approx(table["value"].min())


def metrics(project: Project) -> dict[str, object]:
    found: dict[str, object] = json.loads((project.root / "results/evaluate/metrics.json").read_text())
    return found


def repro(project: Project) -> None:
    """`dvc repro`, again with nothing to do, an experiment that stays sealed, and a second champion's look."""
    project.git("init", "-q")
    project.git("add", "-A")
    project.git("commit", "-qm", "start")
    project.dvc("repro")
    first = metrics(project)
    assert first["sealed"] is False
    assert first["look"] == {"number": 1, "verdict": "first"}
    scores = first["scores"]
    assert isinstance(scores, dict)
    assert set(scores) == {"champion", "default", "classic", "logistic", "boosting", "constant"}
    assert scores["champion"]["accuracy"]["low"] <= scores["champion"]["accuracy"]["value"]
    assert (project.root / "results/report/report.html").stat().st_size > 1_000_000
    before = project.files("results")
    again = project.dvc("repro")
    assert project.files("results") == before
    assert "Running stage 'sweep'" not in again
    project.git("add", "-A")
    project.git("commit", "-qm", "first look")

    project.dvc("exp", "run", "-S", "seed=1", "-S", "+set.training.patience_epochs=3")
    assert metrics(project)["sealed"] is True
    ledger = (project.root / "runs/ledger.jsonl").read_text().splitlines()
    assert len(ledger) == 1
    project.dvc("repro")
    assert metrics(project)["look"] == {"number": 2, "verdict": "exploratory"}
    assert "exploratory" in (project.root / "results/report/report.html").read_text()


@contextmanager
def serving(project: Project, port: int) -> Iterator[str]:
    command = [sys.executable, "-m", "trimtab.tools.serve", "--port", str(port)]
    process = subprocess.Popen(
        command, cwd=project.root, env=project.environment(), stderr=subprocess.DEVNULL, start_new_session=True
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(90):
            try:
                urllib.request.urlopen(f"{url}/ping", timeout=2)
                break
            except OSError:
                time.sleep(1)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def predictions_agree(project: Project, port: int) -> None:
    """`make predict` and the HTTP server on the same raw rows, one with a gap and one with an unknown ward."""
    rows = pd.read_csv(project.root / "my table.csv").drop(columns="diagnosis").head(6)
    rows.loc[0, "ward"] = "a ward that training never saw"
    rows.to_csv(project.root / "new.csv", index=False)
    done = project.python("trimtab.tools.predict", "new.csv")
    assert done.returncode == 0, done.stderr
    assert "'ward': 1 of 6 values never seen in training ('a ward that training never saw')" in done.stdout
    predicted = pd.read_csv(project.root / "results/predict/new.csv")
    assert set(predicted["prediction"]) <= {"malignant", "benign"}
    body = json.dumps({"dataframe_split": json.loads(rows.to_json(orient="split", index=False))}).encode()
    with serving(project, port) as url:
        request = urllib.request.Request(f"{url}/invocations", body, {"Content-Type": "application/json"})
        answer = urllib.request.urlopen(request, timeout=60).read()
    served = pd.DataFrame(json.load(io.BytesIO(answer))["predictions"])
    assert list(served["prediction"]) == list(predicted["prediction"])
    for column in ("probability_benign", "probability_malignant"):
        np.testing.assert_allclose(served[column], predicted[column], rtol=1e-5)


@pytest.mark.parametrize("folds", [1, 3])
def test_nobody_needs_the_sealed_folder_before_evaluate(csv_project: Project, tmp_path: Path, folds: int) -> None:
    """With the sealed folder gone, sweep and select write the same bytes; so no file depends on test labels."""
    other = tmp_path / "with seal"
    csv_project.set_params(
        data="csv",
        budget={"trials": 3},
        validation={"folds": folds},
        set={
            "data": {"path": "my table.csv", "target": "diagnosis"},
            "training": {"epochs": 2},
            "select": {"candidates": 1, "seeds": 1},
        },
    )
    csv_project.stage("prepare")
    shutil.copytree(csv_project.root, other)
    shutil.rmtree(csv_project.root / "results/prepare/sealed")
    clocks = ("timing.json", ".journal", ".lock", ".log", "started", "mlflow.json", "mlflow.db", ".yaml")
    written = []
    for project in (csv_project, Project(other)):
        project.stage("sweep")
        project.stage("select")
        files = {**project.files("results/sweep", "results/select"), **project.files("runs")}
        written.append({k: v for k, v in files.items() if not k.endswith(clocks) and "artifacts" not in k})
    assert written[0] == written[1]
    assert any(name.endswith("validation.npz") for name in written[0])
