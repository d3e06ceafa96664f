"""Several seeds or folds of each: the mean is told, each value is kept, the hopeless are dropped in between."""

import math
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml
from curves_app import write_curves_app
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from optuna.trial import TrialState
from scipy.stats import ttest_1samp, wilcoxon
from sweep_app import App

import trimtab
from trimtab.errors import SweepError
from trimtab.sweep.outcome import Completed, Failed, Outcome, Pruned
from trimtab.sweep.repeats import Repeats, p_worse, repeated
from trimtab.sweep.seeds import derive
from trimtab.sweep.store.study import by_seed, open_study, reason

Sweep = Callable[..., None]
FIVE = ["hydra.sweeper.seeds=5"]
FOLDS = ["hydra.sweeper.folds=5", "hydra.sweeper.fold_key=fold"]
SEEDS = [derive(0, i, "common") for i in range(5)]


@pytest.mark.parametrize("count", [4, 5, 8, 12])
@pytest.mark.parametrize("shift", [-0.5, 0.0, 0.7])
def test_wilcoxon_is_scipys_exact_one(count: int, shift: float) -> None:
    noise = Random(count)
    differences = [noise.gauss(shift, 1) for _ in range(count)]
    expected = wilcoxon(differences, alternative="greater", method="exact").pvalue
    assert p_worse(differences) == pytest.approx(expected)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("shift", [-0.5, 0.0, 3.0])
def test_t_is_scipys(count: int, shift: float) -> None:
    noise = Random(count)
    differences = [noise.gauss(shift, 1) for _ in range(count)]
    assert p_worse(differences) == pytest.approx(ttest_1samp(differences, 0, alternative="greater").pvalue)


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([], 1.0),
        ([9.0], 1.0),
        ([1.0, 1.0], 0.0),
        ([0.0, 0.0, 0.0], 1.0),
        ([1.0, 1.0, 1.0, 1.0], 1 / 16),  # ties
        ([1.0, 1.0, 1.0, -1.0], 5 / 16),
        ([2.0, 1.0, 0.0, 3.0], 1 / 8),  # a zero says nothing
        ([0.0] * 4, 1.0),
    ],
)
def test_p_at_the_edges(differences: list[float], p: float) -> None:
    assert p_worse(differences) == pytest.approx(p)


RIVAL = (1.0, 2.0, 3.0, 4.0, 5.0)


@pytest.mark.parametrize(
    ("values", "sign", "dropped"),
    [
        ([9.0], 1, False),  # one seed proves nothing
        ([2.0, 3.001], 1, True),
        ([2.0, 3.5], 1, False),
        ([2.0, 3.1, 4.05], 1, True),
        ([1.1, 2.9, 3.2], 1, False),
        ([1.1, 2.9, 3.2, 4.4], 1, True),  # from the fourth: all four worse
        ([0.9, 2.9, 3.2, 4.4], 1, False),
        ([0.0, 1.001], -1, True),
        ([2.0, 3.001], -1, False),
        ([9.0] * 5, 1, False),  # nothing is left to save
    ],
)
def test_a_configuration_is_dropped_when_it_is_beyond_doubt_worse(
    values: list[float], sign: int, dropped: bool
) -> None:
    assert bool(Repeats("seed", tuple(SEEDS), 3, RIVAL, sign).verdict(values)) is dropped


def test_without_a_rival_nobody_is_dropped() -> None:
    assert not Repeats("seed", tuple(SEEDS)).verdict([9.0] * 4)


def run(outcomes: list[Outcome], rival: tuple[float, ...] = ()) -> Outcome:
    return repeated(Repeats("seed", (7, 8, 9), 0 if rival else None, rival), lambda i: outcomes[i])


def test_the_outcome_of_several_seeds() -> None:
    outcome = run(
        [
            Completed((1.0,), {1: 0.5}, {"epochs": 3}, 1.0, {"size": -1.0}),
            Completed((2.0,), {1: 0.6}, {"epochs": 4}, 2.0, {"size": 2.0}),
            Completed((6.0,), {1: 0.7}, {"epochs": 5}, 4.0, {"size": 1.0}),
        ]
    )
    assert outcome == Completed((3.0,), {1: 0.5}, {"epochs": 3}, 7.0, {"size": 2.0}, (1.0, 2.0, 6.0))


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([Failed("nan", seconds=1.0)], Failed("nan", seconds=1.0)),
        ([Completed((1.0,), seconds=1.0), Failed("nan", seconds=2.0)], Failed("seed 8: nan", seconds=3.0)),
        ([Pruned("at 3", {3: 0.5})], Pruned("at 3", {3: 0.5})),
        ([Completed((1.0,)), Pruned("enough", {3: 0.5})], Pruned("seed 8: enough", by_seed=(1.0,))),
    ],
)
def test_a_seed_without_a_value_ends_it(outcomes: list[Outcome], expected: Outcome) -> None:
    assert run(outcomes) == expected


@pytest.fixture
def app(tmp_path: Path) -> App:
    return write_curves_app(tmp_path / 'it\'s "an" app')


def noisy(cfg: DictConfig) -> float:
    """Some configurations are clearly worse, on every seed; the noise of a seed is common to all."""
    noise = Random(cfg.seed).gauss(0, 1) + Random(f"{cfg.seed} {cfg.x}").gauss(0, 0.05)
    return float(10 * abs(cfg.x - 0.5) + noise)


def test_each_value_is_kept_and_the_mean_is_told(app: App, sweep: Sweep) -> None:
    seen: list[tuple[int, int, str]] = []

    def task(cfg: DictConfig) -> float:
        hydra = HydraConfig.get()
        seen.append((hydra.job.num, cfg.seed, str(Path(hydra.runtime.output_dir).relative_to(app.out.absolute()))))
        trimtab.record(first=cfg.seed)
        return noisy(cfg)

    sweep(task, *FIVE, "hydra.sweeper.n_trials=2")
    trial = open_study(app.out).trials[0]
    assert [s for s in seen if s[0] == 0] == [(0, s, f"0/seed-{i}" if i else "0") for i, s in enumerate(SEEDS)]
    assert len(by_seed(trial)) == 5
    assert trial.value == pytest.approx(sum(by_seed(trial)) / 5)
    header, row = (line.split(",") for line in app.table().splitlines()[:2])
    cells = dict(zip(header, row, strict=True))
    assert [float(cells[f"by_seed.{i}"]) for i in range(5)] == list(by_seed(trial))
    assert cells["seed"] == cells["first"] == str(SEEDS[0])
    written = yaml.safe_load((app.out / "0" / "seed-3" / ".hydra" / "overrides.yaml").read_text())
    assert written == [f"seed={SEEDS[3]}"]
    assert yaml.safe_load((app.out / "0" / "seed-3" / ".hydra" / "config.yaml").read_text())["seed"] == SEEDS[3]


def test_the_hopeless_are_dropped_and_never_the_baseline(app: App, sweep: Sweep) -> None:
    sweep(noisy, *FIVE, "hydra.sweeper.n_trials=12")
    trials = open_study(app.out).trials
    dropped = [t for t in trials if t.state == TrialState.PRUNED]
    assert trials[0].state == TrialState.COMPLETE
    assert 3 <= len(dropped) <= 10
    for trial in dropped:
        assert 2 <= len(by_seed(trial)) <= 4
        assert "of 5 seeds: worse than trial" in reason(trial)
        assert trial.value == pytest.approx(sum(by_seed(trial)) / len(by_seed(trial)))
    assert all(len(by_seed(t)) == 5 for t in trials if t.state == TrialState.COMPLETE)


def test_folds_are_numbered_and_share_the_trials_own_seed(app: App, sweep: Sweep) -> None:
    seen: list[tuple[int, int, int, str]] = []

    def task(cfg: DictConfig) -> float:
        hydra = HydraConfig.get()
        folder = Path(hydra.runtime.output_dir).relative_to(app.out.absolute())
        seen.append((hydra.job.num, cfg.fold, cfg.seed, str(folder)))
        return float(cfg.x + cfg.fold)

    sweep(task, *FOLDS, "fold=3", "hydra.sweeper.n_trials=2")
    trials = open_study(app.out).trials
    for n in (0, 1):
        expected = [(n, i, derive(0, n), f"{n}/fold-{i}" if i else f"{n}") for i in range(5)]
        assert [s for s in seen if s[0] == n] == expected
        x = trials[n].params.get("x", 0.5)
        assert by_seed(trials[n]) == tuple(x + i for i in range(5))
        assert trials[n].value == pytest.approx(x + 2)
    cells = dict(zip(*(line.split(",") for line in app.table().splitlines()[:2]), strict=True))
    assert [float(cells[f"by_fold.{i}"]) for i in range(5)] == list(by_seed(trials[0]))
    assert cells["seed"] == str(derive(0, 0))
    written = yaml.safe_load((app.out / "1" / "fold-3" / ".hydra" / "overrides.yaml").read_text())
    assert sorted(written) == ["fold=3", f"seed={derive(0, 1)}", f"x={trials[1].params['x']}"]


def test_folds_are_dropped_by_name(app: App, sweep: Sweep) -> None:
    def task(cfg: DictConfig) -> float:
        if HydraConfig.get().job.num == 1 and cfg.fold == 2:
            raise ValueError("no")
        return float(cfg.fold + 2 * (HydraConfig.get().job.num == 2))

    sweep(task, *FOLDS, "hydra.sweeper.n_trials=3", "hydra.sweeper.lag=1")
    failed, worse = open_study(app.out).trials[1:]
    assert reason(failed) == "fold 2: ValueError: no"
    assert reason(worse).startswith("dropped after 2 of 5 folds: worse than trial 0")
    assert (worse.value, by_seed(worse)) == (2.5, (2.0, 3.0))


@pytest.mark.slow
@pytest.mark.parametrize("repeats", [FIVE, FOLDS])
def test_workers_kills_and_resume_change_nothing(app: App, tmp_path: Path, sweep: Sweep, repeats: list[str]) -> None:
    few = [*repeats, "hydra.sweeper.n_trials=9"]
    assert app.run(*few, "hydra.sweep.dir=plain").returncode == 0
    undisturbed = (app.folder / "plain" / "trials.csv").read_text()
    done = app.run(*few, "hydra/sweeper/executor=processes", "hydra.sweeper.n_jobs=3", "fail=[2,5]", "sleep=0.01")
    assert done.returncode == 0, done.stderr
    assert app.table() == undisturbed
    lines = (app.out / "study.journal").read_text().splitlines()
    (app.out / "study.journal").write_text("".join(f"{line}\n" for line in lines[: len(lines) // 2]))
    assert app.run(*few).returncode == 0
    assert app.table() == undisturbed


def test_pruners_look_at_the_first_seed_only(app: App, sweep: Sweep) -> None:
    calls: list[tuple[int, int]] = []

    def task(cfg: DictConfig) -> float:
        number = HydraConfig.get().job.num
        calls.append((number, cfg.seed))
        trimtab.report(1, 5.0 if number == 2 or cfg.seed != SEEDS[0] else 0.0)
        return 1.0

    pruner = ["hydra/sweeper/pruner=threshold", "hydra.sweeper.pruner.upper=1"]
    sweep(task, *pruner, "hydra.sweeper.seeds=2", "hydra.sweeper.n_trials=3")
    assert calls == [(0, SEEDS[0]), (0, SEEDS[1]), (1, SEEDS[0]), (1, SEEDS[1]), (2, SEEDS[0])]
    trials = open_study(app.out).trials
    assert [(t.state.name, t.value, by_seed(t)) for t in trials] == [
        *[("COMPLETE", 1.0, (1.0, 1.0))] * 2,
        ("PRUNED", 5.0, ()),
    ]


def test_one_seed_that_diverges_fails_its_trial(app: App, sweep: Sweep) -> None:
    def task(cfg: DictConfig) -> Any:
        return math.nan if HydraConfig.get().job.num == 1 and cfg.seed == SEEDS[1] else 1.0

    sweep(task, *FIVE, "hydra.sweeper.n_trials=2")
    assert f"seed {SEEDS[1]}: the task returned nan" in reason(open_study(app.out).trials[1])


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["hydra.sweeper.seeds=0"], "seeds must be positive but is 0"),
        ([*FIVE, "hydra.sweeper.seed_key=null"], r"set hydra\.sweeper\.seed_key"),
        ([*FIVE, "hydra.sweeper.direction=[minimize,maximize]"], "take seeds=1"),
        (["hydra.sweeper.folds=0"], "folds must be positive but is 0"),
        (["hydra.sweeper.folds=5"], r"folds=5 needs the key.*set hydra\.sweeper\.fold_key"),
        ([*FOLDS, "hydra.sweeper.fold_key=folt"], "fold_key names 'folt'.*did you mean 'fold'"),
        ([*FOLDS, "hydra.sweeper.fold_key=x"], "'x' is both a knob and hydra.sweeper.fold_key"),
        ([*FOLDS, "hydra.sweeper.direction=[minimize,maximize]"], "take folds=1"),
        ([*FIVE, *FOLDS], "hydra.sweeper.seeds is 5 and hydra.sweeper.folds 5; set one of them to 1"),
        ([*FIVE, "hydra/sweeper/pruner=asha", "hydra.sweeper.pruner.pause=true"], r"pruner\.pause=false"),
    ],
)
def test_bad_settings_are_refused(app: App, sweep: Sweep, overrides: list[str], said: str) -> None:
    with pytest.raises(SweepError, match=said):
        sweep(noisy, *overrides)
    assert not app.out.exists()


def test_other_seeds_are_another_study(app: App, sweep: Sweep) -> None:
    sweep(noisy, *FIVE, "hydra.sweeper.n_trials=2")
    with pytest.raises(SweepError, match="seeds: 5 → 3"):
        sweep(noisy, "hydra.sweeper.seeds=3", "hydra.sweeper.n_trials=2")
    with pytest.raises(SweepError, match="folds: absent → 5"):
        sweep(noisy, *FOLDS, "hydra.sweeper.n_trials=2")
