"""The door of population based training, on real data."""

import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run

from projects import Project
from trimtab import config
from trimtab.paths import read_json
from trimtab.stages.prepare import prepare
from trimtab.tools.pbt import main

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
QUICK = ["--members", "6", "--epochs", "5", "--every", "2"]


def files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "timing.json"}


@pytest.mark.slow
def test_it_improves_and_writes_the_schedule(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    config.door(prepare, [])
    capsys.readouterr()
    main([*QUICK, "optimizer=sgd", "optimizer.weight_decay=0.001"])
    (folder,) = project.root.glob("runs/pbt/*")
    found, moved, where, then = capsys.readouterr().out.splitlines()
    assert found.startswith("val/loss = ")
    assert "optimizer.momentum" in moved
    assert "weight_decay" not in moved  # set: it stays
    assert where == f"where: {folder.relative_to(project.root)}/schedule.csv"
    assert "lineage.html" in then
    schedule, members = (pd.read_csv(folder / f"{name}.csv") for name in ("schedule", "members"))
    assert schedule["epoch"].tolist() == [1, 2, 3, 4, 5]
    knobs = {"optimizer.lr", "optimizer.momentum", "model.dropout"}
    assert {c for c in members.columns if "." in c} == knobs
    result = read_json(folder / "result.json")
    assert result["value"] < schedule["val/loss"].iloc[0]
    assert result["best"]["val/accuracy"] > 0.8
    assert "layers.output.weight" in torch.load(folder / "weights.pt")
    (run,) = mlflow_runs(project)
    assert run.data.tags["role"] == "pbt"
    assert run.data.metrics["objective"] == pytest.approx(result["value"])
    assert knobs <= set(run.data.metrics)
    before = files(folder)
    main([*QUICK, "optimizer=sgd", "optimizer.weight_decay=0.001"])
    assert files(folder) == before
    assert len(mlflow_runs(project)) == 1


def mlflow_runs(project: Project) -> list[Run]:
    client = MlflowClient(f"sqlite:///{project.root}/runs/mlflow.db")
    experiment = client.get_experiment_by_name("digits")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--share", "0.7"], "--share must be above 0 and at most 0.5"),
        (["search=none"], "search=none has no interval of a knob that can move during training"),
        (["optimizer.lr=0.1", "optimizer.weight_decay=0", "model.dropout=0"], "set fewer knobs"),
        (["training.batch_size=auto"], "can't be in it: training.batch_size=auto"),
        (["--member", "3"], "--member"),
    ],
)
def test_what_cannot_be_is_refused(
    project: Project, argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config.door(prepare, [])
    with pytest.raises(SystemExit):
        main(argv)
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_one_goes_on(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.stage("prepare")
    command = ("trimtab.tools.pbt", *QUICK, "tracking=none", "--epochs", "40")
    with project.start(*command) as killed:
        while not [*project.root.glob("runs/pbt/*/round.pt")]:
            assert killed.poll() is None
            time.sleep(0.01)
        killed.kill()
    assert project.python(*command).stdout.startswith("going on from ")
    (folder,) = project.root.glob("runs/pbt/*")
    again = files(folder)
    assert "round.pt" not in again
    assert project.python(*command).returncode == 0  # from the beginning
    whole = files(folder)
    assert all(again[name] == whole[name] for name in ("members.csv", "schedule.csv", "weights.pt"))


@pytest.mark.slow
def test_regression_is_trained_too(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    config.door(prepare, ["data=diabetes"])
    main(["--members", "4", "--epochs", "3", "data=diabetes", "objective.metric=val/r2", "tracking=none"])
    assert "val/r2 = " in capsys.readouterr().out
