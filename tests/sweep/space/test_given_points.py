"""What comes before the sampler: points to try first, an earlier study, `auto`; and ranges that depend on a choice."""

import csv
import json
import shutil
from collections.abc import Callable
from typing import Any

import pytest
from omegaconf import DictConfig
from sweep_app import App, objective

import trimtab
from trimtab.errors import SweepError
from trimtab.sweep.space.grammar import parse
from trimtab.sweep.space.knobs import Space
from trimtab.sweep.store.study import open_study, params

Sweep = Callable[..., None]
FEW = "hydra.sweeper.n_trials=5"
RANGES = """
hydra:
  sweeper:
    params:
      opt.lr:
        - {values: "tag(log, interval(1e-4, 1e-3))", when: {opt: adam}, role: nuisance}
        - {values: "interval(0.5, 1.0)", when: {opt: sgd}}
"""


def first(*points: dict[str, Any]) -> str:
    text = ", ".join("{" + ", ".join(f"{k}: {v}" for k, v in p.items()) + "}" for p in points)
    return f"hydra.sweeper.try_first=[{text}]"


@pytest.mark.parametrize("baseline", [True, False])
def test_points_to_try_first_come_after_the_baseline(app: App, sweep: Sweep, baseline: bool) -> None:
    points = first({"n": 4}, {"opt": "sgd", "opt.lr": 0.5})
    sweep(objective, FEW, points, f"hydra.sweeper.baseline={str(baseline).lower()}")
    trials = open_study(app.out).trials[int(baseline) :]
    assert params(trials[0]) == {"n": 4, "opt": "adam", "opt.lr": 0.1}
    assert params(trials[1]) == {"n": 3, "opt": "sgd", "opt.lr": 0.5, "opt.momentum": 0.9}
    assert trials[1].value == pytest.approx(0.5 + 0.9 + 3 + trials[1].user_attrs["seed"] % 97 / 1e3)
    assert len(open_study(app.out).trials) == 5


def test_a_point_outside_the_space_runs_and_is_not_shown_to_the_sampler(app: App, sweep: Sweep) -> None:
    sweep(objective, FEW, first({"n": 77}))
    trial = open_study(app.out).trials[1]
    assert params(trial)["n"] == 77
    assert trial.params == {}
    assert trial.value == pytest.approx(0.1 + 0.5 + 77, abs=0.1)


FINITE = ["opt=adam", "opt.lr=0.1", "hydra.sweeper.n_trials=50"]


@pytest.mark.parametrize("sampler", ["grid", "tpe", "random", "auto"])
def test_each_point_of_a_space_that_fits_is_tried_once(
    app: App, sweep: Sweep, capsys: pytest.CaptureFixture[str], sampler: str
) -> None:
    """More trials of a point would crown the luckiest seed. The baseline has n = 3."""
    typed = [*FINITE, f"hydra/sweeper/sampler={sampler}", first({"n": 2})]
    sweep(objective, *typed, "hydra.sweeper.dry_run=true")
    assert "would run 4 of 4 trials" in capsys.readouterr().out
    sweep(objective, *typed)
    said = capsys.readouterr().out
    assert "4 trials instead of 50: the grid has 2 points, besides the 2 that are tried first" in said
    assert ("sampler grid: all 4 points of the space fit into 48 trials" in said) == (sampler != "grid")
    assert [params(t)["n"] for t in open_study(app.out).trials[:2]] == [3, 2]
    assert sorted(params(t)["n"] for t in open_study(app.out).trials[2:]) == [1, 4]


def test_a_study_keeps_its_sampler_when_its_budget_comes_to_hold_the_space(app: App, sweep: Sweep) -> None:
    sweep(objective, *FINITE, "hydra.sweeper.n_trials=3")
    begun = [params(t) for t in open_study(app.out).trials]
    sweep(objective, *FINITE, "hydra.sweeper.n_trials=6")
    study = open_study(app.out)
    assert study.attributes["sampler"] == "tpe"
    assert len(study.trials) == 6
    assert [params(t) for t in study.trials[:3]] == begun


def test_where_nothing_is_searched_one_trial_is_all(app: App, sweep: Sweep) -> None:
    sweep(objective, *FINITE, "n=2")
    assert [t.number for t in open_study(app.out).trials] == [0]


@pytest.mark.parametrize(
    ("point", "said"),
    [
        ({"opt.lrr": 1}, "did you mean 'opt.lr'"),
        ({"opt.momentum": 0.5}, "'opt.momentum'"),
        ({"opt": "adagrad"}, "cannot be composed"),
    ],
)
def test_a_point_that_cannot_be_is_refused_before_anything_runs(
    app: App, sweep: Sweep, point: dict[str, Any], said: str
) -> None:
    with pytest.raises(SweepError, match=r"hydra\.sweeper\.try_first") as e:
        sweep(objective, FEW, first(point))
    assert said in str(e.value)
    assert not app.out.exists()


def test_other_points_are_another_study(app: App, sweep: Sweep) -> None:
    sweep(objective, FEW, first({"n": 4}))
    with pytest.raises(SweepError, match=r"try_first\[0\]"):
        sweep(objective, FEW, first({"n": 2}))


def test_a_warm_start_shows_the_sampler_the_trials_that_fit(
    app: App, sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep(objective, "hydra.sweep.dir=early", "hydra.sweeper.n_trials=8")
    learning = ["hydra.sweeper.sampler.n_startup_trials=4", FEW]
    sweep(objective, *learning, "hydra.sweep.dir=cold")
    warm = [*learning, "hydra.sweeper.warm_start=early"]
    sweep(objective, *warm, "n=range(1,4)")
    kept = json.loads((app.out / "warm_start.json").read_text())
    early = open_study(app.folder / "early").trials
    assert len(kept) == sum(params(t)["n"] <= 3 for t in early)  # the baseline's too
    assert f"warm start: {len(kept)} of 8 trials" in capsys.readouterr().out
    study = open_study(app.out)
    assert len(study.trials) == 5
    cold = open_study(app.folder / "cold")
    assert [t.params for t in study.trials[1:]] != [t.params for t in cold.trials[1:]]


@pytest.mark.slow
def test_a_resumed_warm_start_does_not_need_the_earlier_study(app: App, sweep: Sweep) -> None:
    sweep(objective, "hydra.sweep.dir=early", "hydra.sweeper.n_trials=6")
    warm = ["hydra.sweeper.sampler.n_startup_trials=4", "hydra.sweeper.warm_start=early"]
    sweep(objective, *warm, "hydra.sweeper.n_trials=12", "hydra.sweep.dir=whole")
    sweep(objective, *warm, "hydra.sweeper.n_trials=4")
    shutil.rmtree(app.folder / "early")
    sweep(objective, *warm, "hydra.sweeper.n_trials=12")
    assert app.table() == (app.folder / "whole" / "trials.csv").read_text()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["hydra.sweeper.warm_start=nowhere"], "nowhere holds no study"),
        (["hydra.sweeper.warm_start=early", "hydra.sweeper.direction=maximize"], "has the objectives minimize"),
        (["hydra.sweeper.warm_start=early", "n=range(100,105)"], "none of the 3 completed trials"),
        (["hydra.sweeper.warm_start=early", "opt=sgd", "opt.momentum=0.123"], "none of the 3"),
        (["hydra.sweeper.warm_start=early", "hydra/sweeper/sampler=random"], "learns nothing"),
    ],
)
def test_a_warm_start_that_cannot_be_is_refused(app: App, sweep: Sweep, overrides: list[str], said: str) -> None:
    sweep(objective, "hydra.sweep.dir=early", "hydra.sweeper.n_trials=3", "hydra/sweeper/sampler=random")
    with pytest.raises(SweepError, match=said):
        sweep(objective, FEW, *overrides)


def with_ranges(app: App) -> None:
    import yaml

    path = app.folder / "conf" / "config.yaml"
    config, more = yaml.safe_load(path.read_text()), yaml.safe_load(RANGES)
    config["hydra"]["sweeper"]["params"] |= more["hydra"]["sweeper"]["params"]
    path.write_text(yaml.safe_dump(config))


def test_a_knob_has_its_own_range_under_each_choice(app: App, sweep: Sweep) -> None:
    with_ranges(app)
    sweep(objective, "hydra.sweeper.n_trials=16", "hydra.sweeper.sampler.n_startup_trials=4")
    rows = list(csv.DictReader(app.table().splitlines()))[1:]
    ranges = {"adam": (1e-4, 1e-3), "sgd": (0.5, 1.0)}
    assert {r["params.opt"] for r in rows} == set(ranges)
    for row in rows:
        low, high = ranges[row["params.opt"]]
        assert low <= float(row["params.opt.lr"]) <= high
    study = open_study(app.out)
    assert {"opt.lr if opt=adam", "opt.lr if opt=sgd"} <= set(study.attributes["knobs"])


@pytest.mark.parametrize("sampler", ["sobol", "genetic", "random"])
def test_other_samplers_keep_the_ranges_too(app: App, sweep: Sweep, sampler: str) -> None:
    with_ranges(app)
    sweep(objective, "hydra.sweeper.n_trials=8", f"hydra/sweeper/sampler={sampler}", "hydra.sweeper.baseline=false")
    for trial in open_study(app.out).trials:
        assert (params(trial)["opt.lr"] >= 0.5) == (params(trial)["opt"] == "sgd")  # type: ignore[operator]


def test_a_value_typed_for_a_knob_with_several_ranges_fixes_it(app: App, sweep: Sweep) -> None:
    with_ranges(app)
    sweep(objective, FEW, "opt.lr=0.2")
    assert "params.opt.lr" not in app.table()


@pytest.mark.parametrize(
    ("cases", "said"),
    [
        ([{"values": "1,2", "when": {"a": "x"}}, {"values": "3,4"}], "each needs a `when`"),
        ([{"values": "1,2", "when": {"a": "x"}}, {"values": "3,4", "when": {"a": ["x", "y"]}}], "hold at once"),
        ([{"values": "1,2", "when": {"a": "x"}}, {"values": "3,4", "when": {"b": 1}}], "hold at once"),
        ([{"values": "1,2", "when": {"a": "x"}}, {"values": 3, "when": {"a": "y"}}], "more than one value"),
    ],
)
def test_ranges_that_do_not_exclude_each_other_are_refused(cases: Any, said: str) -> None:
    with pytest.raises(SweepError, match=said):
        parse({"key": cases, "a": "x,y", "b": "1,2"}, [], LOADER)


def test_a_condition_on_a_knob_with_several_ranges_sees_its_value() -> None:
    cases = [{"values": "1,2", "when": {"a": "x"}}, {"values": "3,4", "when": {"a": "y"}}]
    wishes = parse({"a": "x,y", "b": cases, "c": {"values": "7,8", "when": {"b": [2, 3]}}}, [], LOADER)
    points = list(Space.of(wishes.knobs).points())
    assert len(points) == 2 * (1 + 2)
    assert {tuple(sorted(p)) for p in points} == {
        ("a", "b if a=x"),
        ("a", "b if a=x", "c"),
        ("a", "b if a=y"),
        ("a", "b if a=y", "c"),
    }


def test_auto_says_what_it_takes_and_keeps_to_it(app: App, sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    auto = ["hydra/sweeper/sampler=auto", "hydra.sweeper.lag=2"]
    sweep(objective, *auto, "hydra.sweeper.n_trials=8")
    assert "sampler sobol: 7 trials, 2 at once" in capsys.readouterr().out
    sweep(objective, *auto, "hydra.sweeper.n_trials=30")
    assert "sampler sobol: it was chosen when this study began" in capsys.readouterr().out
    sweep(
        objective,
        "hydra/sweeper/sampler=sobol",
        "hydra.sweeper.lag=2",
        "hydra.sweeper.n_trials=30",
        "hydra.sweep.dir=x",
    )
    assert app.table() == (app.folder / "x" / "trials.csv").read_text()


def test_constraints_are_learnt_from(app: App, sweep: Sweep) -> None:
    """The lower n is the better, but below 3 is forbidden."""

    def task(cfg: DictConfig) -> float:
        trimtab.constraint("least n", 3 - cfg.n)
        return float(cfg.n)

    learning = ["hydra.sweeper.sampler.n_startup_trials=6", "hydra.sweeper.lag=1", "hydra.sweeper.n_trials=40"]
    sweep(task, *learning, "opt=adam", "opt.lr=0.1", "n=range(1,30)")
    late = [params(t)["n"] for t in open_study(app.out).trials[20:]]
    best = open_study(app.out).best
    assert best is not None
    assert params(best)["n"] == 3
    assert sum(n >= 3 for n in late) > 0.7 * len(late)  # type: ignore[operator, misc]


def _loader() -> Any:
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.utils import create_config_search_path

    return ConfigLoaderImpl(create_config_search_path(None))


LOADER = _loader()


@pytest.mark.parametrize("points", [[], [{"n": 4}], [{"opt": "sgd"}]])
def test_a_group_without_default_is_swept_without_baseline(
    app: App, sweep: Sweep, points: list[dict[str, Any]]
) -> None:
    path = app.folder / "conf" / "config.yaml"
    path.write_text(path.read_text().replace("opt: adam", "opt: '???'"))
    sweep(objective, FEW, "hydra.sweeper.baseline=false", first(*points))
    assert {params(t)["opt"] for t in open_study(app.out).trials} <= {"adam", "sgd"}
    with pytest.raises(SweepError, match=r"go without it by hydra\.sweeper\.baseline=false"):
        sweep(objective, FEW, "hydra.sweep.dir=other")


@pytest.mark.parametrize(("pattern", "options"), [("*", {"adam", "sgd"}), ("s*", {"sgd"})])
def test_glob_sweeps_the_options_of_a_group(app: App, sweep: Sweep, pattern: str, options: set[str]) -> None:
    fixed = ["opt.lr=0.1", "n=1", "hydra/sweeper/sampler=grid", "hydra.sweeper.baseline=false", "++opt.momentum=0.5"]
    sweep(objective, f"opt=glob({pattern})", *fixed)
    assert {params(t)["opt"] for t in open_study(app.out).trials} == options
