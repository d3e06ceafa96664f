"""The door of the learning-rate range test, on real data."""

from pathlib import Path

import pandas as pd
import pytest

from projects import Project
from trimtab import config
from trimtab.overrides import overrides
from trimtab.stages.prepare import prepare
from trimtab.tools.lr_range import main

QUICK = ["--steps", "40", "--rates", "6", "--low", "1e-5"]
OWN = """
import pytorch_lightning as pl
import torch

class Own(pl.LightningModule):
    def __init__(self, shape, outputs):
        super().__init__()
        self.layer = torch.nn.Linear(shape[0], outputs)

    def forward(self, x):
        return self.layer(x.flatten(1))
"""


def run(project: Project, *argv: str) -> Path:
    before = set(project.root.glob("runs/lr_range/*"))
    main([*QUICK, *argv])
    (made,) = set(project.root.glob("runs/lr_range/*")) - before
    return made


@pytest.mark.slow
@pytest.mark.parametrize("data", ["digits", "diabetes"])
def test_it_says_what_to_search(project: Project, data: str, capsys: pytest.CaptureFixture[str]) -> None:
    config.door(prepare, [f"data={data}"])
    capsys.readouterr()
    folder = run(project, f"data={data}", "optimizer=sgd", "optimizer.lr=0.5")
    *found, where, then = capsys.readouterr().out.splitlines()
    assert found[0].startswith(f"{data}, mlp, sgd: rates from")
    assert where == f"where: {folder.relative_to(project.root)}/lr_range.html"
    searched = then.split("'")[1]
    assert f"data={data} optimizer=sgd 'optimizer.lr=tag(log, interval(" in then
    assert overrides([searched])[-1].swept  # in Hydra's grammar
    table = pd.read_csv(folder / "lr_range.csv")
    assert set(table["kind"]) == {"ramp", "constant"}
    assert table.loc[table["kind"] == "ramp", "lr"].is_monotonic_increasing
    assert {p.name for p in folder.iterdir()} == {"lr_range.csv", "lr_range.html"}
    page = (folder / "lr_range.html").read_bytes()
    main([*QUICK, f"data={data}", "optimizer=sgd", "optimizer.lr=0.5"])
    assert (folder / "lr_range.html").read_bytes() == page


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--low", "3", "--high", "2"], "--low must be above 0 and below --high but they are 3 and 2"),
        (["--rates", "1"], "--rates must be at least 2"),
        (["training.batch_size=auto"], "can't be in it: training.batch_size=auto"),
        (["model=own"], "LightningModule"),
        (["optimizer.lrr=1"], "did you mean 'optimizer.lr'?"),
    ],
)
def test_what_cannot_be_is_refused(
    project: Project, argv: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.root / "own.py").write_text(OWN)
    (project.root / "conf/model/own.yaml").write_text("_target_: own.Own\n_partial_: true\n")
    monkeypatch.syspath_prepend(project.root)
    config.door(prepare, [])
    with pytest.raises(SystemExit):
        main(argv)
    assert said in capsys.readouterr().err


def test_data_that_are_not_prepared_are_asked_for(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([])
    assert "run `python -m trimtab.stages.prepare" in capsys.readouterr().err
