"""Cross-validation by the real doors: folds as members, alone, by hand, refused, and through the whole pipeline."""

import json
import shutil
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from mlflow import MlflowClient

from projects import Project
from same_results import agree
from trimtab import config
from trimtab.data.folds import Fold
from trimtab.data.prepared import load_prepared
from trimtab.data.seal import test_fingerprint as fingerprint_of_test
from trimtab.errors import ConfigError, DataError
from trimtab.overrides import overrides
from trimtab.population.members import Member
from trimtab.population.train import train_many
from trimtab.selection.choose import median_epoch
from trimtab.stages import unpack
from trimtab.stages.preflight import preflight
from trimtab.stages.sweep import swept
from trimtab.trial.result import TrialResult, load_result
from trimtab.trial.train import train

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")

THREE = "validation.folds=3"
RANDOM = ("hydra/sweeper/sampler=random", "budget.trials=6")
TAME = ("optimizer=adamw", "optimizer.lr=tag(log, interval(1e-4, 1e-2))")
PARTS = [f"by_fold.{i}" for i in range(3)]


def table(project: Project) -> pd.DataFrame:
    return pd.read_csv(project.root / "results/sweep/trials.csv")


def folder_of(project: Project) -> Path:
    """Of the latest study."""
    return max((project.root / "runs").glob("*/study.journal"), key=lambda p: p.stat().st_mtime).parent


@pytest.mark.slow
def test_trials_are_the_means_of_their_folds_together_and_alone(project: Project) -> None:
    project.stage("prepare")
    sealed = fingerprint_of_test(project.root / "results/prepare")
    done = project.stage("sweep", *RANDOM, *TAME, THREE)
    assert "engine population: " in done.stdout
    assert "(6 trials of 3 folds)" in done.stdout
    together, study = table(project), folder_of(project)
    assert set(together["state"]) <= {"COMPLETE", "PRUNED"}
    complete = together[together["state"] == "COMPLETE"]
    assert len(complete) >= 2
    pd.testing.assert_series_equal(complete["value"], complete[PARTS].mean(axis=1), check_names=False)
    for number in complete["number"]:
        folders = [study / f"{number}", *(study / f"{number}/fold-{i}" for i in (1, 2))]
        assert [load_result(f).value for f in folders] == together.loc[number, PARTS].tolist()
    kept = {p.relative_to(study).parts[0] for p in study.rglob("weights.pt")}
    best = complete.sort_values("value")["number"].head(5)
    assert kept == {"0", *map(str, best)}
    project.stage("sweep", *RANDOM, *TAME, THREE, "engine=solo")
    agree(together, table(project))
    assert fingerprint_of_test(project.root / "results/prepare") == sealed
    one_run_per_fold(project, study, together)


def one_run_per_fold(project: Project, study: Path, found: pd.DataFrame) -> None:
    client = MlflowClient(f"sqlite:///{project.root}/runs/mlflow.db")
    (experiment,) = [e for e in client.search_experiments() if e.name == "digits"]
    parent = json.loads((study / "mlflow.json").read_text())["run_id"]
    runs = client.search_runs([experiment.experiment_id], f"tags.`mlflow.parentRunId` = '{parent}'")
    by_place = {(int(r.data.tags["trial"]), int(r.data.tags["fold"])): r for r in runs}
    assert len(runs) == len(by_place) == 18
    for row in found.to_dict("records"):
        first = by_place[row["number"], 0].data
        assert first.metrics["objective/mean"] == pytest.approx(row["value"])
        assert first.tags["mlflow.runName"] == f"trial {row['number']}, fold 0"
        for i, part in enumerate(PARTS):
            if row["state"] == "COMPLETE":
                assert by_place[row["number"], i].data.metrics["objective"] == pytest.approx(row[part])


@pytest.mark.slow
def test_one_folds_member_is_that_fold_alone_bit_for_bit(project: Project) -> None:
    """Trained among others, against a stack of its own, and to a tolerance against Lightning alone."""
    project.stage("prepare")
    shape = ("model.width=32", "model.depth=2", "training.batch_size=32")  # no padding, one stack
    project.stage("sweep", "hydra/sweeper/sampler=random", "budget.trials=4", *TAME, *shape, THREE, "tracking=none")
    assert json.loads((folder_of(project) / "population.json").read_text())["solo_trials"] == 0
    study = folder_of(project)
    number = int(table(project).query("state == 'COMPLETE'")["number"].max())
    folders = [study / f"{number}", *(study / f"{number}/fold-{i}" for i in (1, 2))]
    for i, folder in enumerate(folders):
        cfg = config.compose(overrides(written(folder)))
        assert (cfg.validation.fold, cfg.validation.folds) == (i, 3)
        recipe, data = unpack.recipe(cfg), load_prepared(project.root / "results/prepare", Fold(i, 3))
        ((_, alone),) = train_many(
            [Member(0, recipe, cfg.seed)], data.train, data.val, data.problem, unpack.device(cfg)
        )
        assert isinstance(alone, TrialResult)
        saved = load_result(folder)
        assert saved.curves == alone.curves
        assert saved.value == alone.value
        weights = torch.load(folder / "weights.pt")
        assert all(torch.equal(weights[k], alone.weights[k]) for k in alone.weights)
        solo = train(recipe, data.train, data.val, data.problem, cfg.seed, unpack.device(cfg))
        assert solo.value == pytest.approx(alone.value, rel=1e-4)


def written(folder: Path) -> list[str]:
    """What a trial's configuration was composed of."""
    found: list[str] = yaml.safe_load((folder / ".hydra/overrides.yaml").read_text())
    return [line for line in found if not line.startswith("data.hash")]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["population", "solo"])
def test_a_killed_sweep_goes_on_to_the_same_table(project: Project, engine: str) -> None:
    typed = (*RANDOM, *TAME, THREE, f"engine={engine}")
    project.stage("prepare")
    project.stage("sweep", *typed)
    undisturbed = project.files("results/sweep")
    folder = folder_of(project)
    shutil.move(folder, folder.with_name("undisturbed"))
    with project.start("trimtab.stages.sweep", *typed) as sweep:
        deadline = time.monotonic() + 120
        while not list(folder.glob("*/fold-1/started")) and time.monotonic() < deadline:
            time.sleep(0.05)
        sweep.kill()
    assert not (folder / "trials.csv").exists()
    project.stage("sweep", *typed)
    assert project.files("results/sweep") == undisturbed


@pytest.mark.slow
def test_one_trial_by_hand_trains_every_fold(project: Project) -> None:
    project.stage("prepare")
    done = project.stage("train", THREE, "training.epochs=2")
    (run,) = (project.root / "runs/single").iterdir()
    values = [load_result(run / f"fold-{i}").value for i in range(3)]
    shown = ", ".join(f"{v:.4g}" for v in values)
    assert f"val/loss = {fmean(values):.4g}, the mean of 3 folds: {shown} (data digits)" in done.stdout
    done = project.stage("train", THREE, "training.epochs=2", "validation.fold=1", "hydra.run.dir=runs/one")
    assert load_result(project.root / "runs/one").value == values[1]
    assert f"val/loss = {values[1]:.4g} at the best epoch" in done.stdout


def checked(*typed: str) -> None:
    given = overrides([*typed, "tracking=none"])
    cfg = config.compose(given)
    preflight(cfg, swept(cfg, given))


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["validation.folds=0"], r"validation.folds must be at least 1 but is 0 \(the command line\); raise it"),
        (["validation.folds=1.5"], r"validation\.folds=1\.5.*could not be converted to Integer"),
        (["validation.fold=0"], r"goes through all folds, but validation\.fold is 0; leave it at null"),
        (["validation.folds=3,5"], r"searches 'validation\.folds', but values from different validation rows"),
        ([THREE, "validation.fold=0"], r"goes through all folds, but validation\.fold is 0; leave it at null"),
        (
            ["validation.folds=500"],
            r"validation\.folds is 500 and outside .* rows of its rarest class, 8; set validation",
        ),
        (["validation.folt=3"], r"did you mean 'validation\.fold"),
    ],
)
def test_bad_folds_end_in_a_sentence(prepared: Project, typed: list[str], said: str) -> None:
    with pytest.raises((ConfigError, DataError), match=said):
        checked(*typed)


def test_what_a_configuration_is_validated_on(project: Project) -> None:
    def folds(*typed: str) -> list[Fold | None]:
        return unpack.each_fold(config.compose(overrides(typed)))

    assert folds() == [None]
    assert folds(THREE) == [Fold(0, 3), Fold(1, 3), Fold(2, 3)]
    assert folds(THREE, "validation.fold=2") == [Fold(2, 3)]
    with pytest.raises(ConfigError, match=r"validation\.folds=1 and validation\.fold=0 do not go together"):
        folds("validation.fold=0")
    with pytest.raises(ConfigError, match=r"validation\.fold must be one of 0 to 2.* but is 3"):
        folds(THREE, "validation.fold=3")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("digits") / "results"


@pytest.fixture
def prepared(project: Project, digits: Path) -> Project:
    """With digits, prepared once."""
    if not digits.exists():
        project.stage("prepare")
        shutil.copytree(project.root / "results", digits)
    shutil.copytree(digits, project.root / "results", dirs_exist_ok=True)
    return project


@pytest.mark.slow
def test_rows_in_time_have_no_folds(project: Project) -> None:
    rows = "\n".join(f"2024-01-{1 + i % 28:02},{i},{i % 2}" for i in range(90))
    (project.root / "t.csv").write_text("day,x,y\n" + rows)
    typed = ("data=csv", "data.path=t.csv", "data.target=y", "data.time=day", "tracking=none", "model=linear")
    project.stage("prepare", *typed, THREE)
    for door in ("train", "sweep"):
        done = project.python(f"trimtab.stages.{door}", *typed, THREE)
        assert done.returncode == 2
        assert "data.time 'day' keeps newer rows for later parts" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_folds_are_another_study_and_the_line_says_so(project: Project) -> None:
    project.stage("prepare")
    first = project.stage("sweep", "model=linear", "budget.trials=1", "tracking=none")
    again = project.stage("sweep", "model=linear", "budget.trials=1", "tracking=none", THREE)
    assert "a new study" not in first.stdout
    assert "validation.folds: 1 → 3" in again.stdout
    done = project.python("trimtab.stages.select", "model=linear", "tracking=none")
    assert done.returncode == 2
    assert "of another configuration (data, validation, model" in done.stderr


@pytest.mark.slow
def test_the_whole_pipeline_on_folds(project: Project) -> None:
    project.set_params(
        validation={"folds": 3},
        budget={"trials": 4},
        set={"training": {"epochs": 4}, "select": {"candidates": 2, "seeds": 2}, "evaluate": {"resamples": 100}},
    )
    for stage in ("prepare", "sweep", "select", "evaluate", "report"):
        done = project.stage(stage)
        if stage == "select":
            assert "over 2 fresh seeds of 3 folds each" in done.stdout
    choice: dict[str, Any] = json.loads((project.root / "results/select/champion.json").read_text())
    study = folder_of(project)
    assert choice["folds"] == 3
    for row in choice["candidates"]:
        assert len(row["best_epochs"]) == 6
        assert row["epochs"] == median_epoch(row["best_epochs"])
        assert len(row["values"]) == 2
    confirmed = [load_result(p.parent).value for p in (study / "confirm").glob("*/result.json")]
    assert len(confirmed) == 6 * len(choice["candidates"])
    means = sum((row["mean"] for row in choice["candidates"]), 0.0) / len(choice["candidates"])
    assert fmean(confirmed) == pytest.approx(means)
    metrics = json.loads((project.root / "results/evaluate/metrics.json").read_text())
    assert metrics["sealed"] is False
    page = (project.root / "results/report/report.html").read_text()
    for said in (
        "over 2 fresh seeds of 3 folds each)",
        "chosen by its mean over 2 fresh seeds of 3 folds each;",
        "as the mean over 3 folds (one seed each)",
        "validated on 3 folds of the first two together",
        "curves of the first fold",
    ):
        assert said in page
    before = (project.root / "results/select/champion.json").read_bytes()
    project.stage("select")
    assert (project.root / "results/select/champion.json").read_bytes() == before
