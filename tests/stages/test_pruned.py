"""Our own trial task under a pruner: what MLflow and the next stages see of a trial that was ended early."""

import pandas as pd
import pytest
from mlflow import MlflowClient

from projects import Project

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
]


def test_pruned_trials_close_their_runs_and_are_no_candidates(project: Project) -> None:
    project.stage("prepare")
    strict = ("hydra/sweeper/pruner=threshold", "hydra.sweeper.pruner.upper=0", "hydra.sweeper.pruner.warmup_steps=2")
    done = project.stage("sweep", *strict)
    assert "(4 trials, 3 pruned)" in done.stdout
    table = pd.read_csv(project.root / "results/sweep/trials.csv")
    assert list(table["state"]) == ["COMPLETE", "PRUNED", "PRUNED", "PRUNED"]
    assert list(table["epochs"]) == [3, 2, 2, 2]
    client = MlflowClient(f"sqlite:///{project.root}/runs/mlflow.db")
    (experiment,) = [e for e in client.search_experiments() if e.name == "digits"]
    runs = {r.data.tags["trial"]: r for r in client.search_runs([experiment.experiment_id]) if "trial" in r.data.tags}
    assert {n: (r.info.status, r.data.tags["state"]) for n, r in runs.items()} == {
        "0": ("FINISHED", "complete"),
        **{str(n): ("FINISHED", "pruned") for n in (1, 2, 3)},
    }
    assert runs["1"].data.tags["reason"] == "pruned at step 2"
    assert [m.step for m in client.get_metric_history(runs["1"].info.run_id, "val/loss")] == [1, 2]
    chosen = project.stage("select", *strict)
    assert "trial 0" in chosen.stdout or "default" in chosen.stdout


@pytest.mark.parametrize("engine", ["population", "solo"])
def test_a_trial_that_paused_ends_as_if_it_had_not(project: Project, engine: str) -> None:
    project.stage("prepare")
    random = (f"engine={engine}", "hydra/sweeper/sampler=random", "training.epochs=4", "budget.trials=6")
    plain = pd.read_csv(swept(project, *random))
    halved = pd.read_csv(
        swept(project, *random, "hydra/sweeper/pruner=asha", "hydra.sweeper.pruner.reduction_factor=2")
    )
    ended = halved["state"] == "COMPLETE"
    assert 1 < ended.sum() < 6
    assert list(halved["value"][ended]) == list(plain["value"][ended])
    assert {*halved["epochs"][~ended]} <= {1, 2}
    study = max((project.root / "runs").glob("digits-mlp-*"), key=lambda folder: folder.stat().st_mtime)
    assert not [*study.rglob("going.ckpt")]


def swept(project: Project, *overrides: str) -> str:
    """The table of a sweep."""
    project.stage("sweep", *overrides)
    return str(project.root / "results/sweep/trials.csv")
