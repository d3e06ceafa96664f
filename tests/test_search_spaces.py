"""Every space of conf/search fits its family, holds the default configuration, and together they hold every knob."""

import functools
import os
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import FloatDistribution, IntDistribution

from projects import ROOT, Project
from trimtab import config
from trimtab.overrides import overrides
from trimtab.paths import Paths
from trimtab.stages.unpack import RECIPE
from trimtab.sweep.space.check import Plan, plan
from trimtab.sweep.space.compose import Composer, plain, written
from trimtab.sweep.space.grammar import parse

FAMILIES = ("linear", "mlp", "cnn", "gru")
SWEPT = "model=" + ",".join(FAMILIES)
NO_PARAMS = Path(os.devnull)


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def options(group: str) -> list[str]:
    return sorted(f.stem for f in (ROOT / "conf" / group).glob("*.yaml"))


@functools.cache
def planned(*typed: str) -> Plan:
    """What the sweeper makes of a command line, checked against the composed configuration."""
    given = [o.text for o in overrides(typed, NO_PARAMS)]
    with initialize_config_dir(str(Paths.here().conf), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        master = hydra.compose_config("config", given, run_mode=RunMode.MULTIRUN, with_log_configuration=False)
        wishes = parse(plain(master.search.knobs), written(master.hydra.overrides.task), hydra.config_loader)
        return plan(wishes, Composer(hydra.config_loader, master))


def composed(*typed: str) -> DictConfig:
    return config.compose(overrides(typed, NO_PARAMS))


@pytest.mark.parametrize(
    "typed",
    [
        *((f"model={family}",) for family in FAMILIES),
        *(pytest.param(("search=all", f"model={family}"), marks=pytest.mark.slow) for family in FAMILIES),
        pytest.param(("search=all", SWEPT), marks=pytest.mark.slow),
        *(("data=mnist1d", "search=sequence", f"model={family}") for family in ("mlp", "cnn", "gru")),
        ("search=classic_grid", "experiment=classic"),
    ],
    ids=" ".join,
)
def test_space_fits_its_configuration_and_holds_it(typed: tuple[str, ...]) -> None:
    made = planned(*typed)
    assert made.default().inside, "the default lies outside"
    assert all(knob.role for knob in made.space.knobs)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_knob_of_a_family_space_can_never_exist(family: str) -> None:
    named = set(composed(f"model={family}").search.knobs)
    assert planned(f"model={family}").space.names == named


# Not augmentation=none: it has the knobs of the others, all at 0.
CHOICES = [(g, o) for g in ("model", "optimizer", "schedule", "augmentation") for o in options(g) if o != "none"]


@pytest.mark.parametrize(("group", "option"), CHOICES)
def test_all_has_every_knob_of_every_option(group: str, option: str) -> None:
    space = planned("search=all", SWEPT).space
    for key in (k for k in composed(f"{group}={option}")[group] if not k.startswith("_")):
        knob = space[f"{group}.{key}"]
        assert all(option in condition.allowed for condition in knob.when if condition.name == group)


@pytest.mark.parametrize("group", sorted(set(RECIPE) - {group for group, _ in CHOICES}))
def test_all_has_every_knob_of_the_other_groups(group: str) -> None:
    assert {f"{group}.{key}" for key in composed()[group]} <= planned("search=all", SWEPT).space.names


@pytest.mark.parametrize("family", FAMILIES)
def test_all_has_every_knob_of_its_family_space(family: str) -> None:
    everything = planned("search=all", SWEPT).space
    assert planned(f"model={family}").space.names <= everything.names


@pytest.mark.parametrize("family", FAMILIES)
def test_family_spaces_stay_small(family: str) -> None:
    assert len(planned(f"model={family}").space.knobs) <= 12


def test_the_mlp_space_is_on_the_scales_that_fit() -> None:
    space = planned("model=mlp").space
    for name, kind in {"optimizer.lr": FloatDistribution, "optimizer.weight_decay": FloatDistribution}.items():
        assert isinstance(space[name].distribution, kind)
        assert space[name].distribution.log  # type: ignore[attr-defined]
    assert isinstance(space["model.width"].distribution, IntDistribution)
    assert space["model.width"].distribution.log
    assert [v.bit_count() for v in space["training.batch_size"].values] == [1] * 5
    assert [(c.name, c.allowed) for c in space["optimizer.momentum"].when] == [("optimizer", ("sgd",))]


def test_the_classic_grid_has_27_points() -> None:
    points = list(planned("search=classic_grid", "experiment=classic").space.points())
    assert len(points) == 27
    assert {p["optimizer.lr"] for p in points} == {0.1, 0.01, 0.001}
    assert {p["training.batch_size"] for p in points} == {16, 32, 64}
    assert {p["model.dropout"] for p in points} == {0.2, 0.3, 0.5}


EXPERIMENTS = [
    (
        ("experiment=cnn_classic",),
        {
            "model._target_": "trimtab.models.cnn.CNN",
            "optimizer._target_": "trimtab.trial.optimizers.sgd",
            "optimizer.lr": 0.01,
            "optimizer.momentum": 0.0,
            "optimizer.weight_decay": 1e-4,
            "training.batch_size": 32,
            "model.dropout": 0.5,
        },
    ),
    (
        ("experiment=exam_first_net",),
        {
            "data.name": "exam",
            "model._target_": "trimtab.models.mlp.MLP",
            "model.depth": 1,
            "model.width": 8,
            "optimizer._target_": "trimtab.trial.optimizers.sgd",
            "optimizer.lr": 0.5,
            "optimizer.momentum": 0.0,
            "optimizer.weight_decay": 0.0,
            "training.epochs": 50,
            "training.batch_size": 32,
        },
    ),
    (
        ("experiment=one_cycle", "model=cnn"),
        {
            "optimizer._target_": "trimtab.trial.optimizers.adamw",
            "schedule._target_": "trimtab.trial.schedules.OneCycle",
            "optimizer.lr": 0.01,
            "training.batch_size": 32,
        },
    ),
    (
        ("experiment=one_cycle_mlp",),
        {
            "model._target_": "trimtab.models.mlp.MLP",
            "schedule._target_": "trimtab.trial.schedules.OneCycle",
            "optimizer.lr": 0.01,
            "training.batch_size": 32,
            "model.depth": 2,
            "model.width": 256,
        },
    ),
]


@pytest.mark.parametrize(("typed", "held"), EXPERIMENTS, ids=lambda x: x[0] if isinstance(x, tuple) else "")
def test_experiments_are_the_recipes_that_they_name(typed: tuple[str, ...], held: dict[str, Any]) -> None:
    cfg = composed(*typed)
    assert {key: OmegaConf.select(cfg, key) for key in held} == held


@pytest.mark.slow
def test_dry_runs_by_the_door(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.root)
    project.stage("prepare", "data=mnist1d")
    everything = project.stage("sweep", "data=mnist1d", "search=all", SWEPT, "sweep.dry_run=true").stdout
    assert "model.kernel" in everything
    grid = ("search=classic_grid", "experiment=classic", "hydra/sweeper/sampler=grid", "budget.trials=100")
    assert "would run 27 of 27 trials" in project.stage("sweep", "data=mnist1d", *grid, "sweep.dry_run=true").stdout
