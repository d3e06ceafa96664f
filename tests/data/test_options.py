"""Every option of conf/data, through the door, in a project of its own."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import DictConfig
from PIL import Image

from projects import ROOT, Project
from trimtab import config
from trimtab.data.generated import read_exam
from trimtab.data.prepared import load_prepared
from trimtab.errors import DataError
from trimtab.overrides import overrides
from trimtab.stages.closing import require_prepared
from trimtab.stages.prepare import prepare

SHAPES = {
    "digits": ("classification", 10, (1, 8, 8)),
    "mnist1d": ("classification", 10, (1, 40)),
    "breast_cancer": ("classification", 2, (30,)),
    "wine": ("classification", 3, (13,)),
    "diabetes": ("regression", 1, (10,)),
    "exam": ("classification", 2, (2,)),
    "csv": ("classification", 2, (2,)),
    "parquet": ("classification", 2, (2,)),
    "image_folder": ("classification", 2, (3, 32, 32)),
}


def own(option: str, folder: Path) -> list[str]:
    """Data of one's own, and what to type for them."""
    path = folder / f"my {option}"
    frame = read_exam().frame
    if option == "csv":
        frame.to_csv(path, index=False)
    elif option == "parquet":
        frame.to_parquet(path)
    elif option == "image_folder":
        for seed in range(20):
            file = path / "ab"[seed % 2] / f"{seed}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(file)
        return [f"data.path='{path.name}'"]
    else:
        return []
    return [f"data.path='{path.name}'", "data.target=passes"]


def test_all_options_are_here() -> None:
    assert sorted(p.stem for p in (ROOT / "conf" / "data").glob("*.yaml")) == sorted(SHAPES)


@pytest.mark.parametrize("option", SHAPES)
def test_every_option_prepares(option: str, project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    task, outputs, shape = SHAPES[option]
    cfg = config.compose(overrides([f"data={option}", *own(option, project.root)]))
    prepare(cfg)
    said = capsys.readouterr().out
    prepared = load_prepared(project.root / "results" / "prepare")
    assert (prepared.problem.task, prepared.problem.outputs, prepared.problem.shape) == (task, outputs, shape)
    assert prepared.train.x.shape == (len(prepared.train.y), *shape)
    assert np.isfinite(prepared.train.x).all()
    assert f"{prepared.problem.features} features" in said
    assert (f"({' x '.join(map(str, shape))})" in said) == (len(shape) > 1)
    require_prepared(cfg)
    prepare(cfg)
    assert "prepared already" in capsys.readouterr().out


def test_two_files_of_one_name_are_not_the_same_data(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    def of(folder: str) -> DictConfig:
        return config.compose(overrides(["data=csv", f"data.path={folder}/exam.csv", "data.target=passes"]))

    with pytest.raises(DataError, match=r"run `python -m trimtab.stages.prepare data=csv data.path=a/exam.csv data.t"):
        require_prepared(of("a"))
    for folder in "ab":
        (project.root / folder).mkdir()
        read_exam().frame.to_csv(project.root / folder / "exam.csv", index=False)
    prepare(of("a"))
    first = load_prepared(project.root / "results/prepare").data_hash
    require_prepared(of("./a"))
    with pytest.raises(DataError, match=r"data.path=a/exam.csv but the configuration says b/exam.csv; run .*=b/exam"):
        require_prepared(of("b"))
    capsys.readouterr()
    prepare(of("b"))
    assert "prepared already" not in capsys.readouterr().out
    require_prepared(of("b"))
    assert load_prepared(project.root / "results/prepare").data_hash == first


def test_prepare_says_which_column_names_the_rows(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    typed = own("csv", project.root)
    (file,) = project.root.glob("my csv")
    frame = pd.read_csv(file)
    frame.assign(id=range(len(frame)), name=[f"n{i}" for i in range(len(frame))]).to_csv(file, index=False)
    prepare(config.compose(overrides(["data=csv", *typed])))
    said = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in said[1:3]] == [
        "column 'id' seems to number the rows",
        "column 'name' seems to name the rows",
    ]
    kept = ",".join(frame.drop(columns="passes"))
    prepare(config.compose(overrides(["data=csv", *typed, f"data.numeric=[{kept}]", "data.categorical=[]"])))
    assert "seems to" not in capsys.readouterr().out


def test_options_of_a_source_are_settings_of_the_data(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    for given, rows in (([], 1000), (["data.test_rows=200"], 200)):
        prepare(config.compose(overrides(["data=mnist1d", *given])))
        assert f"{rows} sealed test rows" in capsys.readouterr().out
    manifest = json.loads((project.root / "results" / "prepare" / "manifest.json").read_text())
    assert manifest["settings"]["options"] == {"test_rows": 200}
    assert manifest["problem"]["shape"] == [1, 40]
