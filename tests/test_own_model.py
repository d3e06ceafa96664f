"""docs/own_model.md: its files, written out of the page into a project, train and sweep by the doors."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from projects import ROOT, Project

PAGE = (ROOT / "docs" / "own_model.md").read_text()
FILES: dict[str, str] = dict(re.findall(r"^`(\S+)`:\n\n```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
MODELS = [Path(name).stem for name in FILES if name.startswith("conf/model/")]


def test_every_block_of_the_page_is_a_file_that_is_not_there_yet() -> None:
    assert PAGE.count("```") == 2 * len(FILES)
    assert len(MODELS) == 2
    assert [name for name in FILES if (ROOT / name).exists()] == []


@pytest.fixture
def with_models(project: Project) -> Project:
    """The files of the page in a copy of the checkout; data prepared."""
    for name, text in FILES.items():
        (project.root / name).write_text(text)
    project.stage("prepare")
    return project


def trained(project: Project, *overrides: str) -> dict[str, Any]:
    """Result of one trial of one epoch, by the door."""
    before = set(project.root.glob("runs/single/*/result.json"))
    # A run's folder is named by the second that it starts in.
    project.stage("train", *overrides, "training.epochs=1", PYTHONPATH=str(project.root / "src"))
    (result,) = set(project.root.glob("runs/single/*/result.json")) - before
    found: dict[str, Any] = json.loads(result.read_text())
    return found


KNOBS: dict[str, dict[str, Any]] = {
    name: {k: v for k, v in yaml.safe_load(FILES[f"conf/model/{name}.yaml"]).items() if not k.startswith("_")}
    for name in MODELS
}
PARAMETERS = {
    # digits: 64 pixels, 10 classes
    "residual": 65 * 64 + 3 * (2 * 64 + 65 * 64) + 65 * 10,
    "mixup": 65 * 64 + 65 * 10,
}


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_trains_by_the_real_door(model: str, with_models: Project) -> None:
    result = trained(with_models, f"model={model}")
    assert result["parameters"] == PARAMETERS[model]
    assert result["steps"] == -(-1078 // 32)
    assert result["best"]["val/accuracy"] > 0.5  # ten classes


@pytest.mark.slow
def test_lightning_module_trains_by_its_own_optimizer(with_models: Project) -> None:
    as_it_is = trained(with_models, "model=mixup")
    of_no_effect = trained(with_models, "model=mixup", "optimizer.lr=0.5")
    slower = trained(with_models, "model=mixup", "model.lr=1e-6")
    assert of_no_effect["best"] == as_it_is["best"]
    assert slower["value"] > as_it_is["value"]


@pytest.mark.slow
def test_knob_out_of_its_range_ends_in_a_sentence(with_models: Project) -> None:
    done = with_models.python(
        "trimtab.stages.train", "model=residual", "model.width=0", PYTHONPATH=str(with_models.root / "src")
    )
    assert (done.returncode, done.stderr.strip()) == (2, "error: model.width must be at least 1 but is 0")


@pytest.mark.slow
def test_a_search_space_of_its_own_is_found(with_models: Project) -> None:
    path = str(with_models.root / "src")
    said = with_models.stage("sweep", "model=residual", "sweep.dry_run=true", PYTHONPATH=path).stdout
    assert "model.blocks" in said
    said = with_models.python("trimtab.stages.sweep", "model=mixup", "sweep.dry_run=true", PYTHONPATH=path)
    assert "model.alpha" not in said.stdout
