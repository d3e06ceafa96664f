"""Configurations as the official Optuna sweeper's users write them: one line changes, and they run."""

import csv
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hydra
import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from trimtab.errors import SweepError
from trimtab.sweep.store.study import open_study, params

SPHERE = """
defaults:
  - override hydra/sweeper: optuna
  - override hydra/sweeper/sampler: tpe
hydra:
  sweeper:
    sampler:
      seed: 123
    direction: minimize
    study_name: sphere
    storage: null
    n_trials: 12
    n_jobs: 1
    max_failure_rate: 0.0
    params:
      x: range(-5.5, 5.5, step=0.5)
      y: choice(-5, 0, 5)
x: 1
y: 1
z: 100
"""
CUSTOM = """
defaults:
  - override hydra/sweeper: optuna
hydra:
  sweeper:
    sampler:
      seed: 123
    direction: minimize
    study_name: custom-search-space
    storage: null
    n_trials: 12
    n_jobs: 1
    params:
      x: range(-5.5, 5.5, 0.5)
      y: choice(-5, 0, 5)
    custom_search_space: .custom-search-space.configure
x: 1
y: 1
z: 100
max_z_difference_from_x: 0.5
"""
MULTI = """
defaults:
  - override hydra/sweeper: optuna
  - override hydra/sweeper/sampler: nsgaii
hydra:
  sweeper:
    sampler:
      seed: 123
      population_size: 6
    direction: [minimize, minimize]
    study_name: multi-objective
    storage: null
    n_trials: 20
    n_jobs: 1
    params:
      x: range(0, 5, step=0.5)
      y: range(0, 3, step=0.5)
x: 1
y: 1
"""
TEMPLATE = """
defaults:
  - override hydra/sweeper: optuna
model: {lr: 0.1, width: 64}
data: {batch_size: 32}
hydra:
  mode: MULTIRUN
  sweeper:
    storage: null
    study_name: null
    n_jobs: 1
    direction: maximize
    n_trials: 12
    sampler:
      _target_: optuna.samplers.TPESampler
      seed: 1234
      n_startup_trials: 4
    params:
      model.lr: interval(0.0001, 0.1)
      data.batch_size: choice(32, 64, 128, 256)
      model.width: choice(64, 128, 256)
"""
GRID = """
defaults:
  - override hydra/sweeper: optuna
  - override hydra/sweeper/sampler: grid
hydra:
  sweeper:
    direction: minimize
    n_trials: 100
    n_jobs: 1
    params:
      x: choice(-1, 1)
      y: range(0, 3)
x: 0
y: 0
"""
CONFIGURE = """
def configure(cfg, trial):
    x = trial.params["x"]
    trial.suggest_float("z", x - cfg.max_z_difference_from_x, x + cfg.max_z_difference_from_x)
    trial.suggest_float("+w", 0.0, 10.0)

def broken(cfg, trial):
    raise KeyError("no such knob")

def twice(cfg, trial):
    trial.suggest_float("fixed", 0.0, 1.0)
"""


def sphere(cfg: DictConfig) -> float:
    return float(cfg.x**2 + cfg.y**2 + cfg.get("z", 0) ** 2)


def two(cfg: DictConfig) -> tuple[float, float]:
    return 4 * cfg.x**2 + 4 * cfg.y**2, (cfg.x - 5) ** 2 + (cfg.y - 5) ** 2


def trained(cfg: DictConfig) -> float:
    return float(-abs(cfg.model.lr - 0.01) + cfg.model.width / 256 - cfg.data.batch_size / 1e4)


Run = Callable[..., Path]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Sweeps with a configuration of the official sweeper's after changing one line of it."""
    (tmp_path / "custom-search-space.py").write_text(CONFIGURE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")

    def sweep(config: str, task: Callable[[DictConfig], Any], *overrides: str) -> Path:
        ours = config.replace("override hydra/sweeper: optuna", "override hydra/sweeper: trimtab")
        assert sum(a != b for a, b in zip(config.splitlines(), ours.splitlines(), strict=True)) == 1
        (tmp_path / "config.yaml").write_text(ours)
        GlobalHydra.instance().clear()
        arguments = ["--multirun", "hydra.sweep.dir=out", "hydra.sweeper.progress=none", *overrides]
        monkeypatch.setattr(sys, "argv", ["app.py", *arguments])
        hydra.main(config_path=str(tmp_path), config_name="config", version_base="1.3")(task)()
        return tmp_path / "out"

    yield sweep
    GlobalHydra.instance().clear()
    sys.modules.pop("custom-search-space", None)


def test_sphere(run: Run) -> None:
    out = run(SPHERE, sphere)
    study = open_study(out)
    assert study.name == "sphere"
    assert [t.state.name for t in study.trials] == ["COMPLETE"] * 12
    assert {params(t)["y"] for t in study.trials[1:]} <= {-5, 0, 5}
    found = yaml.safe_load((out / "optimization_results.yaml").read_text())
    assert found["best_value"] == min(t.value for t in study.trials if t.value is not None)


def test_a_custom_search_space_adds_knobs_that_depend_on_others(run: Run) -> None:
    seen: list[tuple[float, float]] = []

    def task(cfg: DictConfig) -> float:
        if HydraConfig.get().job.num:
            seen.append((cfg.x, cfg.z))
            assert 0 <= cfg.w <= 10
        return sphere(cfg)

    out = run(CUSTOM, task)
    assert len(seen) == 11
    assert all(abs(x - z) <= 0.5 for x, z in seen)
    header, *rows = csv.reader((out / "trials.csv").read_text().splitlines())
    assert {"params.x", "params.y", "params.z", "params.+w"} <= set(header)
    assert len(rows) == 12


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["hydra.sweeper.custom_search_space=nowhere.configure"], "no function that can be imported"),
        (["hydra.sweeper.custom_search_space=custom-search-space.broken"], "failed: KeyError"),
        (["hydra.sweeper.custom_search_space=custom-search-space.twice", "+fixed=1"], "suggests 'fixed'"),
        (["hydra/sweeper/sampler=sobol"], "sampler=sobol cannot search what"),
    ],
)
def test_a_custom_search_space_that_cannot_be_is_refused(run: Run, overrides: list[str], said: str) -> None:
    with pytest.raises(SweepError, match=said):
        run(CUSTOM, sphere, *overrides)


def test_several_objectives_give_a_front(run: Run) -> None:
    out = run(MULTI, two)
    found = yaml.safe_load((out / "optimization_results.yaml").read_text())
    assert found["name"] == "optuna"
    values = [tuple(s["values"]) for s in found["solutions"]]
    assert len(values) > 1
    assert not any(a[0] < b[0] and a[1] < b[1] for a in values for b in values)


def test_a_sampler_named_by_its_class_is_made_afresh_with_its_own_seed(run: Run) -> None:
    out = run(TEMPLATE, trained)
    study = open_study(out)
    assert (study.direction, len(study.finished)) == ("maximize", 12)
    points = [params(t) for t in study.trials]
    again = run(TEMPLATE, trained, "hydra.sweep.dir=again", "hydra.sweeper.seed=7")
    assert [params(t) for t in open_study(again.parent / "again").trials] == points


def test_a_grid_ends_with_its_points(run: Run) -> None:
    study = open_study(run(GRID, sphere, "hydra.sweeper.baseline=false"))
    assert sorted((params(t)["x"], params(t)["y"]) for t in study.trials) == [(x, y) for x in (-1, 1) for y in range(3)]
    assert study.baseline is None


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["hydra.sweeper.sampler._target_=optuna.samplers.TPESamplre"], "hydra.sweeper.sampler cannot be made"),
        (["hydra.sweeper.sampler._target_=optuna.samplers.PartialFixedSampler"], "takes no seed"),
        (["hydra.sweeper.sampler._target_=optuna.Trial"], "is no sampler"),
        (["+hydra.sweeper.sampler.population=3"], "population"),
    ],
)
def test_a_sampler_that_cannot_be_made_is_refused_by_name(run: Run, overrides: list[str], said: str) -> None:
    with pytest.raises(Exception, match=said):
        run(TEMPLATE, trained, *overrides)


@pytest.mark.parametrize(("rate", "allowed"), [(0.0, 0), (0.25, 3), (1.0, 12)])
def test_more_failures_than_allowed_end_the_sweep(run: Run, rate: float, allowed: int) -> None:
    def task(cfg: DictConfig) -> float:
        if HydraConfig.get().job.num % 2:
            raise ValueError("no luck")
        return sphere(cfg)

    if allowed >= 6:
        run(SPHERE, task, f"hydra.sweeper.max_failure_rate={rate}")
        return
    with pytest.raises(
        SweepError, match=rf"{allowed + 1} of 12 trials failed, .*max_failure_rate.* ValueError: no luck"
    ):
        run(SPHERE, task, f"hydra.sweeper.max_failure_rate={rate}")
    assert sum(open_study(Path("out")).failures.values()) == allowed + 1


def test_a_rate_that_is_none_is_refused(run: Run) -> None:
    with pytest.raises(SweepError, match=r"max_failure_rate is 2"):
        run(SPHERE, sphere, "hydra.sweeper.max_failure_rate=2")
