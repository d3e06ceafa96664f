"""Studies whose trials are trained together, by the real doors: the same science as one by one."""

import json
import os
import signal
import time

import pandas as pd
import pytest
from mlflow import MlflowClient

from projects import Project
from same_results import agree

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
]
RANDOM = ("hydra/sweeper/sampler=random", "budget.trials=12")
TAME = ("optimizer=adamw", "optimizer.lr=tag(log, interval(1e-4, 1e-2))")
"""Rates at which a difference in the last bit stays one: at the edge of divergence it grows without bound."""


def table(project: Project) -> pd.DataFrame:
    return pd.read_csv(project.root / "results/sweep/trials.csv")


def test_trials_are_what_they_are_alone(project: Project) -> None:
    project.stage("prepare")
    done = project.stage("sweep", *RANDOM, *TAME)
    assert "engine population: " in done.stdout
    together = table(project)
    assert not project.stage("sweep", *RANDOM, *TAME, "engine=solo").stdout.startswith("engine ")
    agree(together, table(project))
    folders = {p.name: p for p in (project.root / "runs").iterdir() if (p / "trials.csv").exists()}
    assert len(folders) == 2
    first, second = (
        {
            t: json.loads((f / str(t) / "result.json").read_text())
            for t in range(12)
            if (f / str(t) / "result.json").exists()
        }
        for f in folders.values()
    )
    assert first.keys() == second.keys()
    for number, result in first.items():
        other = second[number]
        for key in ("best_epoch", "epochs", "parameters", "batch_size", "steps"):
            assert result[key] == other[key], (number, key)


def test_every_member_has_a_run_of_its_own_also_after_a_kill(project: Project) -> None:
    project.stage("prepare")
    longer = (*RANDOM, "training.epochs=25", "training.patience_epochs=null")
    with project.start("trimtab.stages.sweep", *longer) as sweep:
        deadline = time.monotonic() + 120
        while not list((project.root / "runs").glob("*/1/started")) and time.monotonic() < deadline:
            time.sleep(0.2)
        time.sleep(0.5)
        os.killpg(sweep.pid, signal.SIGKILL)
    project.stage("sweep", *longer)
    client = MlflowClient(f"sqlite:///{project.root}/runs/mlflow.db")
    (experiment,) = [e for e in client.search_experiments() if e.name == "digits"]
    runs = client.search_runs([experiment.experiment_id])
    found = table(project)
    trials = {int(r.data.tags["trial"]): r for r in runs if "trial" in r.data.tags}
    assert len([r for r in runs if "trial" in r.data.tags]) == len(trials) == len(found) == 12
    for row in found.itertuples():
        run = trials[row.number]
        assert run.info.status == {"COMPLETE": "FINISHED", "FAIL": "FAILED"}[row.state]
        if row.state == "COMPLETE":
            assert run.data.metrics["objective"] == pytest.approx(row.value)
            assert [m.step for m in client.get_metric_history(run.info.run_id, "val/loss")] == list(range(1, 26))
    undisturbed = found.copy()
    for folder in (project.root / "runs").glob("digits-*"):
        folder.rename(folder.with_name("gone"))
    project.stage("sweep", *longer)
    pd.testing.assert_frame_equal(undisturbed, table(project), check_exact=True)


def test_one_that_no_stack_takes_goes_alone(project: Project) -> None:
    project.stage("prepare")
    typed = (
        "engine=population",
        "search=none",
        "engine.precision=32-true,bf16-mixed",
        "optimizer.lr=interval(0.001,0.01)",
    )
    project.stage("sweep", "hydra/sweeper/sampler=random", "budget.trials=5", *typed)
    assert list(table(project)["state"]) == ["COMPLETE"] * 5
    assert set(table(project)["params.engine.precision"].dropna()) == {"32-true", "bf16-mixed"}


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("model=cnn",), "engine population: small networks"),
        (("hydra/sweeper/pruner=hyperband",), "pruner hyperband, which pauses"),
        (("hydra.sweeper.timeout_s=100",), "engine solo: hydra.sweeper.timeout_s is kept for trials that run alone"),
        (("engine.precision=bf16-mixed",), "engine solo: engine.precision=bf16-mixed: stacks compute in 32-true"),
        (("training.batch_size=auto",), "engine solo: training.batch_size=auto"),
        (("model.width=1200", "search=none", "optimizer.lr=0.1,0.01"), "engine solo: MLP has"),
    ],
)
def test_a_dry_run_says_how_trials_would_run(project: Project, typed: tuple[str, ...], said: str) -> None:
    project.stage("prepare", *(t for t in typed if t.startswith("data=")))
    assert said in project.stage("sweep", "sweep.dry_run=true", *typed).stdout
