"""Who goes into confirmation, and as what."""

import math
from pathlib import Path

import pytest

from projects import Project
from trimtab import config
from trimtab.errors import ConfigError
from trimtab.overrides import overrides
from trimtab.selection.choose import Candidate
from trimtab.stages.select import Entrant, _entrants, _row, _say, fresh_seeds, read_trials

HEADER = (
    "number,state,value,epochs,seed,params.model.width,params.optimizer,params.optimizer.lr,params.optimizer.momentum"
)
ROWS = """
0,COMPLETE,0.5,3,1,64,adamw,0.001,
1,COMPLETE,0.3,3,2,17,sgd,0.0123456789012345,0.9
2,FAIL,,,3,18,adamw,0.5,
3,COMPLETE,0.4,3,4,19,adamw,0.25,
4,COMPLETE,0.2,3,5,20,sgd,1e-05,0.0
"""
STUDY = {"direction": "minimize", "baseline": {"number": 0, "value": 0.5}}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "trials.csv"
    path.write_text(HEADER + ROWS)
    return path


def test_best_trials_default_and_classic(project: Project, table: Path) -> None:
    entrants = _entrants(overrides([]), read_trials(table), STUDY, 2)
    assert [(e.name, e.trial, e.eligible) for e in entrants] == [
        ("trial 4", 4, True),
        ("trial 1", 1, True),
        ("default", 0, True),
        ("classic", None, False),
    ]
    best = entrants[0].cfg
    assert (best.model.width, best.optimizer.lr, best.optimizer.momentum) == (20, 1e-05, 0.0)
    assert best.optimizer._target_ == "trimtab.trial.optimizers.sgd"
    assert entrants[1].overrides[2] == "optimizer.lr=0.0123456789012345"


def test_default_is_what_the_person_set_and_classic_is_classic(project: Project, table: Path) -> None:
    project.set_params(set={"optimizer": {"lr": 0.7}, "training": {"epochs": 9, "batch_size": 128}})
    *_, default, classic = _entrants(overrides([]), read_trials(table), STUDY, 1)
    assert (default.cfg.optimizer.lr, default.cfg.training.batch_size) == (0.7, 128)
    settings = (classic.cfg.optimizer.lr, classic.cfg.optimizer.momentum, classic.cfg.optimizer.weight_decay)
    assert settings == (0.01, 0.0, 1e-4)
    assert (classic.cfg.training.batch_size, classic.cfg.model.dropout) == (32, 0.5)
    assert classic.cfg.training.epochs == 9  # it gets as long as the others


def test_named_overlays_compete_as_what_they_are(project: Project, table: Path) -> None:
    project.set_params(set={"optimizer": {"lr": 0.7}, "regularisation": {"l2": 0.1}, "training": {"epochs": 9}})
    entrants = _entrants(overrides([]), read_trials(table), STUDY, 1, ["classic", "one_cycle"])
    assert [(e.name, e.eligible) for e in entrants[-2:]] == [("classic", False), ("one_cycle", False)]
    cfg = entrants[-1].cfg
    assert (cfg.schedule._target_, cfg.optimizer.lr) == ("trimtab.trial.schedules.OneCycle", 0.01)
    assert (cfg.regularisation.l2, cfg.training.epochs) == (0.0, 9)


def test_an_overlay_that_does_not_exist_is_named(project: Project, table: Path) -> None:
    with pytest.raises(ConfigError, match="no option 'clasic'; did you mean 'classic'"):
        _entrants(overrides([]), read_trials(table), STUDY, 1, ["clasic"])


def test_without_a_baseline_the_default_still_competes(project: Project, table: Path) -> None:
    entrants = _entrants(overrides([]), read_trials(table), {**STUDY, "baseline": None}, 4)
    assert [e.name for e in entrants] == ["trial 4", "trial 1", "trial 3", "trial 0", "default", "classic"]


def test_seeds_are_fresh_common_and_follow_the_study(project: Project) -> None:
    assert fresh_seeds(0, 3) == fresh_seeds(0, 5)[:3]
    assert not set(fresh_seeds(0, 5)) & set(fresh_seeds(1, 5))


@pytest.mark.parametrize(
    ("values", "default", "folds", "said"),
    [
        ((0.1,), (0.2,), 1, "0.1 over one fresh seed (default: 0.2)"),
        ((0.1,), (0.2,), 5, "0.1 over one fresh seed of 5 folds (default: 0.2)"),
        ((0.1, 0.3), (0.2, 0.2), 1, "0.2 ± 0.14 over 2 fresh seeds (default: 0.2 ± 0)"),
        ((0.1, 0.3), (0.2, math.nan), 5, "0.2 ± 0.14 over 2 fresh seeds of 5 folds each (default: failed)"),
    ],
)
def test_one_seed_shows_no_spread(
    values: tuple[float, ...],
    default: tuple[float, ...],
    folds: int,
    said: str,
    project: Project,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cfg = config.compose(overrides([]))
    candidates = [Candidate("trial 6", 6, True, values), Candidate("default", 0, True, default)]
    rows = [_row(Entrant(c.name, c.trial, True, (), cfg), c, [3]) for c in candidates]
    facts = {"champion": "trial 6", "metric": "val/loss", "seeds": list(values), "folds": folds, "candidates": rows}
    _say(facts, project.root / "champion.json")
    assert capsys.readouterr().out.startswith(f"champion: trial 6, val/loss {said}\n")
