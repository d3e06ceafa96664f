"""What a study is refused for before its first trial, besides what a single recipe is."""

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from projects import Project
from trimtab import config
from trimtab.data.arrays import Problem
from trimtab.errors import ConfigError, TrackingError
from trimtab.overrides import overrides
from trimtab.stages import unpack
from trimtab.stages.preflight import preflight
from trimtab.stages.sweep import fixed_by_experiment, swept
from trimtab.trial.train import check


class Own(pl.LightningModule):
    """Trains by itself."""

    def __init__(self, shape: tuple[int, ...], outputs: int, lr: float) -> None:
        super().__init__()
        self.layer, self.lr = nn.Linear(shape[0], outputs), lr

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.layer(x)
        return outputs

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), self.lr)


@pytest.fixture
def prepared(project: Project) -> Project:
    (project.root / "conf/model/own.yaml").write_text(
        f"_target_: {__name__}.Own\n_partial_: true\nlr: 0.1\n", encoding="utf-8"
    )
    (project.root / "conf/search/own.yaml").write_text(
        'knobs:\n  model.lr: {values: "interval(0.1, 1.0)", role: nuisance}\n', encoding="utf-8"
    )
    project.stage("prepare")
    return project


def checked(*typed: str) -> dict[str, str]:
    given = overrides([*typed, "tracking=none"])
    cfg = config.compose(given)
    searched = swept(cfg, given)
    preflight(cfg, searched)
    return searched


def test_knobs_that_would_have_no_effect_or_no_meaning(prepared: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(checked("model=own")) == ["model.lr"]
    assert "the model is a LightningModule and trains by its own loss and optimizer" in capsys.readouterr().out
    for typed in ("optimizer.lr=0.1,0.2", "schedule=constant,cosine", "regularisation.l2=0,1"):
        name = typed.partition("=")[0]
        with pytest.raises(ConfigError, match=rf"the study searches '{name}', but the model is a LightningModule"):
            checked("model=own", typed)
        assert name in checked("model=linear", typed)
    assert capsys.readouterr().out == ""
    assert "training.batch_size" in checked("model=own", "training.batch_size=16,all")
    assert "training.batch_size" not in checked("training.batch_size=auto")
    with pytest.raises(ConfigError, match=r"searches training.batch_size=auto among other values"):
        checked("training.batch_size=16,auto")


def test_what_is_wrong_with_the_study_is_said_before_what_is_wrong_with_mlflow(prepared: Project) -> None:
    unusable = "tracking.uri=sqlite:////proc/nowhere/mlflow.db"
    for typed, error in (([], TrackingError), (["schedule.warmup=1.5"], ConfigError)):
        given = overrides([unusable, *typed])
        cfg = config.compose(given)
        with pytest.raises(error):
            preflight(cfg, swept(cfg, given))


def test_a_fixed_knob_is_not_searched(prepared: Project) -> None:
    assert "optimizer.lr" in checked()
    assert "optimizer.lr" not in checked("optimizer.lr=0.1")


def test_what_an_experiment_sets_is_not_searched(project: Project) -> None:
    typed = ["experiment=classic", "optimizer.momentum=0.5,0.9"]
    given = overrides(typed)
    fixed = fixed_by_experiment(config.compose(given), given)
    knobs = ("optimizer.lr=0.01", "optimizer.weight_decay=0.0001", "training.batch_size=32", "model.dropout=0.5")
    assert fixed == ["optimizer='sgd'", *knobs]
    again = overrides([*typed, *fixed])
    assert set(swept(config.compose(again), again)) == {"optimizer.momentum", "model.depth", "model.width"}
    for others in (["optimizer.momentum=0.5,0.9"], ["search=classic_grid", "experiment=classic"]):
        given = overrides(others)
        assert fixed_by_experiment(config.compose(given), given) == []


@pytest.mark.slow
def test_a_dry_run_refuses_what_nearly_every_trial_would_fail_by(project: Project) -> None:
    project.stage("prepare")
    done = project.python("trimtab.stages.sweep", "model.depth=interval(1,4)", "sweep.dry_run=true")
    assert done.returncode == 2
    assert "'model.depth' takes whole numbers, but the interval proposes such as model.depth=2.11" in done.stderr
    assert "write int(interval(1, 4))" in done.stderr
    said = project.stage("sweep", "experiment=classic", "model.depth=int(interval(1,4))", "sweep.dry_run=true").stdout
    assert "model.depth  int   1 … 4" in said
    assert "optimizer" not in said


@pytest.mark.slow
def test_a_study_typed_by_hand_tries_each_point_once(project: Project) -> None:
    project.stage("prepare", "data=wine")
    typed = ("--multirun", "data=wine", "training.epochs=1", "optimizer.lr=0.1,0.01", "tracking=none")
    done = project.stage("train", *typed)
    assert "3 of 3 trials done" in done.stdout
    assert "RuntimeWarning" not in done.stderr


@pytest.mark.slow
def test_a_sweep_says_why_trials_failed_and_how_to_go_on(project: Project) -> None:
    project.stage("prepare", "data=wine")
    typed = ("data=wine", "training.epochs=1", "tracking=none", "budget.trials=8")
    said = project.stage("sweep", *typed, "model.dropout=0.1,2.5").stdout
    assert "failed by: model.dropout must be at least 0 and below 1 but is 2.5 (all: `make status`)" in said
    assert f"`python -m trimtab.stages.select {' '.join(typed)}` confirms" in said
    assert "champion" in project.stage("select", *typed, "select.candidates=1", "select.seeds=1").stdout


@pytest.mark.parametrize(
    ("typed", "fragment"),
    [
        ("training.batch_size=most", "training.batch_size must be a whole number, all or auto but is 'most'"),
        ("training.batch_size=1.5", "training.batch_size must be a whole number but is 1.5"),
        ("regularisation.clip_norm=-1", "regularisation.clip_norm must be a finite number of at least 0 but is -1.0"),
        ("schedule.warmup=1.5", "schedule.warmup must be at least 0 and below 1 but is 1.5"),
        ("optimizer._target_=torch.optim.Adan", "optimizer._target_=torch.optim.Adan cannot be built"),
        ("optimizer._target_=trimtab.trial.optimizers.adan", "cannot be built: "),
        ("+optimizer.rho=1", "unexpected keyword argument 'rho'"),
        ("model._target_=torch.nn.Linear", "the model must be callable as model(shape, outputs, …)"),
    ],
)
def test_bad_settings_end_in_a_sentence(typed: str, fragment: str, project: Project) -> None:
    problem = Problem("classification", (64,), 10, tuple("0123456789"), 0.0, 1.0, None)
    with pytest.raises(ConfigError) as e:
        check(unpack.recipe(config.compose(overrides([typed]))), problem)
    assert fragment in str(e.value)
