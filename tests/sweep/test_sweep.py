"""Whole sweeps in this process: outcomes, baseline, resume, files, errors before anything runs."""

import json
import logging
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from optuna.trial import FrozenTrial
from sweep_app import App, objective

import trimtab
from trimtab.errors import ConfigError, Diverged, SweepError
from trimtab.sweep.store.journal import Journal, lock
from trimtab.sweep.store.study import Study, open_study, reason

Sweep = Callable[..., None]
FEW = "hydra.sweeper.n_trials=4"


def test_the_table_lists_every_trial(app: App, sweep: Sweep) -> None:
    def task(cfg: DictConfig) -> float:
        trimtab.record(epochs=cfg.n, clean=True)
        return objective(cfg)

    sweep(task, FEW)
    lines = app.table().splitlines()
    assert lines[0] == ("number,state,value,clean,epochs,seed,params.n,params.opt,params.opt.lr,params.opt.momentum")
    assert [line.split(",")[0] for line in lines[1:]] == ["0", "1", "2", "3"]
    assert lines[1].endswith(",3,adam,0.1,")
    assert ",COMPLETE," in lines[1]
    assert ",true,3," in lines[1]


def test_the_best_is_written_as_the_official_sweeper_does(app: App, sweep: Sweep) -> None:
    sweep(objective, FEW)
    found = yaml.safe_load((app.out / "optimization_results.yaml").read_text())
    best = open_study(app.out).best
    assert best is not None
    assert found == {"name": "optuna", "best_params": best.params, "best_value": best.value}


@pytest.mark.parametrize(
    ("direction", "numbers", "shown"),
    [("minimize", [1, 4, 0, 3], "best 0.5 (trial 1"), ("maximize", [0, 3, 1, 4], "best 2 (trial 0")],
)
def test_completed_trials_are_ranked_equal_ones_by_number(
    app: App, sweep: Sweep, capsys: pytest.CaptureFixture[str], direction: str, numbers: list[int], shown: str
) -> None:
    values = [2.0, 0.5, float("nan"), 2.0, 0.5]
    sweep(
        lambda cfg: values[HydraConfig.get().job.num],
        "hydra.sweeper.n_trials=5",
        f"hydra.sweeper.direction={direction}",
        "hydra.sweeper.progress=quiet",
    )
    study = open_study(app.out)
    assert [t.number for t in study.ranked] == numbers
    assert study.best == study.ranked[0]
    assert shown in capsys.readouterr().out


def test_a_study_without_completed_trials_has_no_best(app: App, sweep: Sweep) -> None:
    with pytest.raises(SweepError, match="all 4 trials failed"):
        sweep(lambda cfg: None, FEW)
    assert open_study(app.out).ranked == []
    assert open_study(app.out).best is None


def test_a_job_has_its_own_directory_log_and_hydra_config(app: App, sweep: Sweep) -> None:
    seen: list[tuple[Any, ...]] = []

    def task(cfg: DictConfig) -> float:
        hydra = HydraConfig.get()
        logging.getLogger("task").info("number %d", hydra.job.num)
        seen.append((hydra.job.num, hydra.job.id, Path(hydra.runtime.output_dir).name, cfg.x, hydra.output_subdir))
        return 1.0

    sweep(task, FEW, "x=${hydra:job.num}")
    assert seen == [(n, str(n), str(n), n, ".hydra") for n in range(4)]
    overrides = yaml.safe_load((app.out / "2" / ".hydra" / "overrides.yaml").read_text())
    assert overrides[0] == "x=${hydra:job.num}"
    logs = [log_of(app, n) for n in range(4)]
    assert [f"number {n}" in logs[n] and logs[n].count("number") == 1 for n in range(4)] == [True] * 4


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (None, "returned None"),
        ("0.5", "returned '0.5'"),
        (float("nan"), "returned nan"),
        (float("inf"), "returned inf"),
        ([1.0], "returned a list"),
    ],
)
def test_what_is_no_number_fails_its_trial(app: App, sweep: Sweep, returned: Any, said: str) -> None:
    sweep(lambda cfg: returned if HydraConfig.get().job.num == 1 else 1.0, FEW)
    trials = open_study(app.out).trials
    assert [t.state.name for t in trials] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert said in reason(trials[1])


@pytest.mark.parametrize(
    "error", [ValueError("two\nlines"), SystemExit(3), Diverged("loss is nan"), ConfigError("too wide")]
)
def test_an_exception_fails_its_trial_and_is_in_its_log(app: App, sweep: Sweep, error: BaseException) -> None:
    def task(cfg: DictConfig) -> float:
        if HydraConfig.get().job.num == 2:
            raise error
        return 1.0

    sweep(task, FEW)
    trials = open_study(app.out).trials
    assert [t.state.name for t in trials] == ["COMPLETE", "COMPLETE", "FAIL", "COMPLETE"]
    assert "\n" not in reason(trials[2])
    assert "Traceback" in log_of(app, 2)


def test_if_all_trials_fail_the_commonest_reason_is_said_once(app: App, sweep: Sweep) -> None:
    def task(cfg: DictConfig) -> float:
        raise ValueError("odd" if HydraConfig.get().job.num == 1 else "no such layer")

    with pytest.raises(SweepError, match=r"all 4 trials failed, 3 of them by: ValueError: no such layer"):
        sweep(task, FEW)
    assert app.table().count("FAIL") == 4


def test_bad_input_of_the_baseline_ends_the_sweep_at_once(app: App, sweep: Sweep) -> None:
    calls: list[int] = []

    def task(cfg: DictConfig) -> float:
        calls.append(1)
        raise ConfigError("no column 'price'")

    with pytest.raises(SweepError, match="no column 'price'"):
        sweep(task, FEW)
    assert len(calls) == 1
    sweep(objective, FEW)  # mended: goes on as if nothing had been
    assert app.table().count("COMPLETE") == 4


def test_without_a_baseline_every_trial_is_swept(app: App, sweep: Sweep) -> None:
    sweep(objective, FEW, "hydra.sweeper.baseline=false")
    study = open_study(app.out)
    assert study.baseline is None
    assert all(any(o.startswith("opt.lr=") for o in overrides(app, t)) for t in study.trials)


def test_a_baseline_outside_the_space_is_recorded_but_not_shown_to_the_sampler(app: App, sweep: Sweep) -> None:
    sweep(objective, FEW, "n=choice(1,2)")
    study = open_study(app.out)
    assert study.trials[0].params == {}
    assert app.table().splitlines()[1].endswith(",3,adam,0.1,")


def log_of(app: App, number: int) -> str:
    return next((app.out / str(number)).glob("*.log")).read_text()


def overrides(app: App, trial: FrozenTrial) -> list[str]:
    read: list[str] = yaml.safe_load((app.out / str(trial.number) / ".hydra" / "overrides.yaml").read_text())
    return read


def test_each_trial_gets_its_own_seed(app: App, sweep: Sweep) -> None:
    seeds: list[int] = []

    def task(cfg: DictConfig) -> float:
        seeds.append(cfg.seed)
        return 1.0

    sweep(task, FEW)
    assert len(set(seeds)) == 4
    assert seeds == [t.user_attrs["seed"] for t in open_study(app.out).trials]
    assert seeds[0] == int(sha256(b"0,0").hexdigest()[:8], 16)


def test_a_raised_budget_goes_on_and_a_lowered_one_does_nothing(
    app: App, sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep(objective, FEW)
    sweep(objective, "hydra.sweeper.n_trials=9", "hydra.sweeper.progress=quiet")
    assert len(open_study(app.out).finished) == 9
    before = app.table()
    sweep(objective, FEW, "hydra.sweeper.progress=quiet")
    assert "nothing to do" in capsys.readouterr().out
    assert app.table() == before


def test_a_raised_budget_gives_what_the_larger_one_gives_at_once(app: App, sweep: Sweep) -> None:
    early = ("hydra.sweeper.sampler.n_startup_trials=2", "hydra.sweeper.lag=3")
    sweep(objective, "hydra.sweeper.n_trials=8", *early)
    sweep(objective, "hydra.sweeper.n_trials=14", *early)
    resumed = app.table()
    sweep(objective, "hydra.sweeper.n_trials=14", *early, "hydra.sweep.dir=other")
    assert (app.folder / "other" / "trials.csv").read_text() == resumed


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("deep.leaf=2", "deep.leaf: 1 → 2"),
        ("n=range(1,6)", r"n: \{.*\"high\": 4.*→.*\"high\": 5"),
        ("hydra.sweeper.seed=1", "seed: 0 → 1"),
        ("hydra.sweeper.lag=4", "lag: 8 → 4"),
        ("hydra.sweeper.direction=maximize", '"minimize" → "maximize"'),
        ("hydra.sweeper.sampler.n_startup_trials=5", "sampler.n_startup_trials: 10 → 5"),
    ],
)
def test_another_study_in_the_same_directory_is_refused_by_name(
    app: App, sweep: Sweep, override: str, said: str
) -> None:
    sweep(objective, FEW)
    with pytest.raises(SweepError, match=said):
        sweep(objective, FEW, override)


def test_editing_an_option_that_only_the_sweep_chooses_is_another_study(app: App, sweep: Sweep) -> None:
    sweep(objective, FEW)
    (app.folder / "conf" / "opt" / "sgd.yaml").write_text("lr: 0.1\nmomentum: 0.9\nnesterov: true\n")
    with pytest.raises(SweepError, match=r"opt=sgd opt\.nesterov: absent → true"):
        sweep(objective, FEW)


def test_ignored_keys_may_change(app: App, sweep: Sweep) -> None:
    sweep(objective, FEW)
    sweep(objective, FEW, "sleep=0.001")


def test_callbacks_are_told_after_the_journal(app: App, sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    TOLD.clear()
    callback = "hydra.sweeper.callbacks=[{_target_: test_sweep.Told}]"
    sweep(objective, FEW, callback)
    assert TOLD == ["started 0", "finished 0", "finished 1", "finished 2", "finished 3", "ended 4"]


def test_a_callback_that_raises_ends_the_sweep_with_the_trial_kept(app: App, sweep: Sweep) -> None:
    with pytest.raises(ZeroDivisionError):
        sweep(objective, FEW, "hydra.sweeper.callbacks=[{_target_: test_sweep.Broken}]")
    assert app.table().count("COMPLETE") == 1
    sweep(objective, FEW)
    assert app.table().count("COMPLETE") == 4


TOLD: list[str] = []


class Told:
    """Keeps what it was told."""

    def started(self, study: Study) -> None:
        TOLD.append(f"started {len(study.trials)}")

    def finished(self, study: Study, trial: FrozenTrial) -> None:
        assert open_study(study.directory).trials[trial.number].state.is_finished()
        TOLD.append(f"finished {trial.number}")

    def ended(self, study: Study) -> None:
        assert (study.directory / "trials.csv").exists()
        TOLD.append(f"ended {len(study.trials)}")


class Broken(Told):
    """Has a bug."""

    def finished(self, study: Study, trial: FrozenTrial) -> None:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("hydra.sweeper.n_trials=0", "n_trials must be positive but is 0"),
        ("hydra.sweeper.n_jobs=-1", "n_jobs must be positive but is -1"),
        ("hydra.sweeper.direction=up", "it can be minimize, maximize"),
        ("hydra.sweeper.seed_key=sed", "did you mean 'seed'"),
        ("hydra.sweeper.seed_key=n", "both a knob"),
        ("opt=choice(adam,sdg)", "did you mean 'sgd'"),
        ("nn=1,2", "did you mean 'n'"),
        ("deep.leave=1,2", "did you mean 'deep.leaf'"),
        ("+hydra.sweeper.params.deep.lef={values: '1,2'}", "no `values`|takes values"),
        ("hydra/sweeper/sampler=grid", "range\\(0.0001, 1.0, step\\)"),
        ("hydra.sweeper.pruner=asha", "is 'asha'; with slashes hydra/sweeper/pruner=asha chooses one"),
        ("hydra.sweeper.sampler=random", "with slashes hydra/sweeper/sampler=random chooses one"),
        ("hydra.sweeper.executor=inline", "with slashes hydra/sweeper/executor=inline chooses one"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(app: App, sweep: Sweep, override: str, said: str) -> None:
    with pytest.raises(SweepError, match=said):
        sweep(objective, override)
    assert not app.out.exists()


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ("{opt.momentum: 'interval(0,1)'}", "opt.momentum.*does not have"),
        ("{opt: 'adam,sgd', opt.momentum: 'interval(0,1)'}", "'opt.momentum'.*does not have"),
        ("{opt: 'adam,sgd', opt.momentum: {values: 'interval(0,1)', when: {opt: sdg}}}", "did you mean 'sgd'"),
        ("{opt: 'adam,sgd', opt.momentun: {values: 'interval(0,1)', when: {opt: sgd}}}", "did you mean 'opt.momentum'"),
        ("{x: {values: 'interval(0,1)', when: {knid: a}}}", "did you mean 'kind'"),
        ("{opt.momentum: {values: 'interval(0,1)', when: {opt: sdg}}}", "did you mean 'sgd'"),
    ],
)
def test_a_space_that_does_not_fit_is_refused(app: App, sweep: Sweep, params: str, said: str) -> None:
    set_params(app, yaml.safe_load(params))
    with pytest.raises(SweepError, match=said):
        sweep(objective, FEW)


def set_params(app: App, params: dict[str, Any]) -> None:
    path = app.folder / "conf" / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["hydra"]["sweeper"]["params"] = params
    path.write_text(yaml.safe_dump(config))


@pytest.mark.parametrize(
    ("fixed", "columns"),
    [
        ("opt=sgd", ["n", "opt.lr", "opt.momentum"]),
        ("opt=adam", ["n", "opt.lr"]),
        ("n=2", ["opt", "opt.lr", "opt.momentum"]),
    ],
)
def test_a_value_typed_for_a_knob_fixes_it(app: App, sweep: Sweep, fixed: str, columns: list[str]) -> None:
    sweep(objective, "hydra.sweeper.n_trials=6", fixed)
    header = app.table().splitlines()[0].split(",")
    assert [c.removeprefix("params.") for c in header if c.startswith("params.")] == columns


def test_a_grid_lists_every_point_once_and_caps_the_budget(app: App, sweep: Sweep) -> None:
    momentum = {"values": "0.0,0.5", "when": {"opt": "sgd"}}
    set_params(app, {"opt": "adam,sgd", "opt.momentum": momentum, "n": "range(1, 4)", "deep.list": "choice([1],[2,3])"})
    sweep(objective, "hydra/sweeper/sampler=grid", "hydra.sweeper.n_trials=100")
    points = [tuple(sorted(t.params.items())) for t in open_study(app.out).trials[1:]]
    assert len(points) == len(set(points)) == 3 * 3 * 2


def test_an_orphan_that_was_started_ten_times_is_poison(app: App, sweep: Sweep) -> None:
    sweep(objective, FEW)
    path = app.out / "study.journal"
    lines = path.read_text().splitlines()
    ends = [i for i, line in enumerate(lines) if '"op_code":6' in line]
    path.write_text("\n".join(lines[: ends[-1]]) + "\n")
    with lock(app.out):
        journal = Journal(app.out, "", ["minimize"], {})
        for _ in range(9):
            journal.start(journal.trials[3])
    sweep(objective, FEW)
    trial = open_study(app.out).trials[3]
    assert "poison: started 10 times" in reason(trial)


def test_a_dry_run_shows_the_space_and_writes_nothing(
    app: App, sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep(objective, "hydra.sweeper.dry_run=true")
    shown = capsys.readouterr().out
    assert not app.out.exists()
    for part in (
        "0.0001 … 1.0",
        "opt = sgd",
        "nuisance",
        "continuous",
        "would run 20 of 20",
        "timed yet",
        "no trial was run, nothing was written",
    ):
        assert part in shown
    sweep(objective, FEW)
    before = sorted(app.out.rglob("*"))
    sweep(objective, "hydra.sweeper.dry_run=true")
    shown = capsys.readouterr().out
    assert "would run 16 of 20 trials (4 finished)" in shown
    assert "time: about" in shown
    assert sorted(app.out.rglob("*")) == before


def test_the_pieces_of_the_fingerprint_are_kept(app: App, sweep: Sweep) -> None:
    sweep(objective, FEW)
    study = open_study(app.out)
    assert study.name == study.attributes["fingerprint"]
    assert json.dumps(study.attributes["pieces"]["configuration"])
    assert study.attributes["knobs"]["opt.lr"] == {
        "kind": "float", "log": True, "low": 0.0001, "high": 1.0, "step": None,
        "choices": None, "role": "nuisance", "when": None,
    }  # fmt: skip


def test_live_display_draws(app: App, sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    sweep(objective, FEW, "hydra.sweeper.progress=live")
    assert "4 of 4 trials done" in capsys.readouterr().out


def test_more_workers_than_the_lag_would_idle(app: App, sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    sweep(objective, FEW, "hydra.sweeper.n_jobs=9")
    assert "8 workers instead of 9" in capsys.readouterr().out


def test_another_launcher_is_refused(app: App, sweep: Sweep) -> None:
    (app.folder / "conf" / "hydra" / "launcher").mkdir(parents=True)
    (app.folder / "conf" / "hydra" / "launcher" / "mine.yaml").write_text("x: 1\n")
    with pytest.raises(SweepError, match="hydra/sweeper/executor"):
        sweep(objective, "hydra/launcher=mine")
