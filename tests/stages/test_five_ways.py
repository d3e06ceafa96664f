"""One way in, whichever door: the command line, params.yaml, a DVC experiment, its queue, and conf/ itself."""

import re
from pathlib import Path

import pytest
import yaml

from projects import Project

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning"),
]

TYPED = ["model=linear", "optimizer.lr=0.02", "budget.trials=2"]


@pytest.fixture
def committed(project: Project) -> Project:
    """A project under git and DVC, with a setting of one epoch that every way leaves alone."""
    project.set_params(set={"training": {"epochs": 1}, "optimizer": {"lr": None}})
    project.git("init", "-q")
    project.git("add", "-A")
    project.git("commit", "-qm", "start")
    return project


def test_all_ways_name_the_same_study(committed: Project) -> None:
    committed.stage("prepare")
    committed.stage("sweep", *TYPED)
    (folder,) = studies(committed)
    table = (folder / "trials.csv").read_bytes()

    changes = ["-S", "model=linear", "-S", "budget.trials=2", "-S", "set.optimizer.lr=0.02"]
    committed.dvc("exp", "run", *changes, "sweep")
    assert studies(committed) == [folder]

    committed.dvc("exp", "run", "--queue", *changes, "sweep")
    committed.dvc("exp", "run", "--run-all")
    assert studies(committed) == [folder]

    standing = {
        "model": "linear",
        "budget": {"trials": 2},
        "set": {"training": {"epochs": 1}, "optimizer": {"lr": 0.02}},
    }
    committed.set_params(**standing)
    committed.dvc("repro", "sweep")
    assert studies(committed) == [folder]

    committed.set_params(budget={"trials": 2}, set={})
    edit(committed.root / "conf/training/default.yaml", r"^epochs: \S+", "epochs: 1")
    committed.stage("sweep", "model=linear", "optimizer.lr=0.02")
    assert studies(committed) == [folder]
    assert (folder / "trials.csv").read_bytes() == table


def test_one_trial_and_a_study_compose_alike(project: Project) -> None:
    """`train`, and the baseline of a `sweep` with the same settings: all but the seed and the budget is equal."""
    project.stage("prepare")
    project.stage("train", "model=linear", "optimizer.lr=0.02")
    project.stage("sweep", "model=linear", "optimizer.lr=0.02", "budget.trials=1")
    (single,) = (project.root / "runs" / "single").iterdir()
    (folder,) = studies(project)
    one, baseline = (yaml.safe_load((f / ".hydra" / "config.yaml").read_text()) for f in (single, folder / "0"))
    for written in (one, baseline):
        del written["data"]["hash"]  # pinned in a study, looked up when a trial is typed by hand
    different = {key for key in one if one[key] != baseline[key]}
    assert different == {"seed", "budget"}


def studies(project: Project) -> list[Path]:
    """Folders of studies, in DVC's copies' terms too: they all lie in the real project."""
    return sorted(journal.parent for journal in (project.root / "runs").glob("*/study.journal"))


def edit(file: Path, pattern: str, replacement: str) -> None:
    text, count = re.subn(pattern, replacement, file.read_text(), flags=re.M)
    assert count == 1, (file, pattern)
    file.write_text(text)
