"""The contract of all samplers, and what each is for."""

import json
import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, ClassVar

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from trimtab.errors import SweepError
from trimtab.sweep.samplers import sampler as samplers
from trimtab.sweep.samplers.auto import choose
from trimtab.sweep.samplers.covariance import CmaEs
from trimtab.sweep.samplers.designs import Grid, Sobol
from trimtab.sweep.samplers.genetic import Genetic, Nsga2, crowding
from trimtab.sweep.samplers.optunas import Foreign, Gp, Random, Tpe
from trimtab.sweep.samplers.sampler import Proposal, Sampler, refuse_misfit
from trimtab.sweep.samplers.view import View
from trimtab.sweep.space.grammar import parse
from trimtab.sweep.space.knobs import Space

LOADER = ConfigLoaderImpl(create_config_search_path(None))
NUMBERS = {"x": "interval(-5.0, 5.0)", "y": "tag(log, interval(1e-3, 10.0))", "n": "range(1, 9)"}
CHOICES = {"x": "interval(-5.0, 5.0)", "c": "choice(a, b, [1, 2], true, 1)", "s": "range(0, 1, 0.25)"}
CONDITIONS = {
    "opt": "choice(adam, sgd)",
    "lr": [
        {"values": "tag(log, interval(1e-4, 1e-2))", "when": {"opt": "adam"}},
        {"values": "tag(log, interval(1e-2, 1.0))", "when": {"opt": "sgd"}},
    ],
    "momentum": {"values": "interval(0.0, 0.99)", "when": {"opt": "sgd"}},
}
DISCRETE = {"n": "range(1, 5)", "c": "choice(a, b)", "m": {"values": "range(0, 3)", "when": {"c": "b"}}}


def space(params: Mapping[str, Any]) -> Space:
    return Space.of(parse(params, [], LOADER).knobs)


class Bench:
    """Asks and tells as the sweeper does, without running anything."""

    def __init__(self, sampler: Sampler, space: Space, directions: int = 1, lag: int = 4, seed: int = 3) -> None:
        self.sampler, self.space, self.seed = sampler, space, seed
        self.directions, self.told = directions, 0
        self.trials: list[FrozenTrial] = []
        self.lag = lag
        self.view = View(["minimize"] * directions)

    def run(self, count: int) -> "Bench":
        while len(self.trials) < count:
            self.trials.append(self._ended(len(self.trials), self.ask()))
        return self

    def ask(self) -> Proposal:
        number = len(self.trials)
        horizon = max(0, number + 1 - self.lag)
        for trial in self.trials[self.told : horizon]:
            self.view.tell(trial)
        self.told = max(self.told, horizon)
        return self.view.propose(self.sampler, self.space, self.seed, number, number)

    def resumed(self, sampler: Sampler) -> "Bench":
        """Another process: all it has is what the journal holds."""
        other = Bench(sampler, self.space, self.directions, self.lag, self.seed)
        other.trials = list(self.trials)
        for trial in other.trials:
            other.view.show(trial)
        return other

    def _ended(self, number: int, proposal: Proposal) -> FrozenTrial:
        memory = json.loads(json.dumps(proposal.memory))  # as it comes back from the journal
        loss = sum(x * x for x in proposal.params.values() if isinstance(x, float)) + number % 3 / 10
        failed = number % 7 == 5
        trial = create_trial(
            state=TrialState.FAIL if failed else TrialState.COMPLETE,
            values=None if failed else [loss, -loss / 2 + number % 5][: self.directions],
            params=proposal.params,
            distributions=proposal.distributions,
            system_attrs={**memory, **({} if failed else {"constraints:size": loss - 20})},
        )
        trial.number = number
        return trial

    @property
    def points(self) -> list[dict[str, Any]]:
        return [t.params for t in self.trials]


class SamplerContract:
    """What every sampler owes the schedule `reproducible`; subclasses say what theirs can search."""

    kinds: Mapping[str, Mapping[str, Any]] = {"numbers": NUMBERS, "choices": CHOICES, "conditions": CONDITIONS}
    count = 24
    objectives = 1

    def make(self) -> Sampler:
        raise NotImplementedError

    def spaces(self) -> list[Space]:
        return [space(params) for params in self.kinds.values()]

    def bench(self, space: Space, **options: Any) -> Bench:
        return Bench(self.make(), space, self.objectives, **options)

    def test_it_is_a_function_of_seed_and_number(self) -> None:
        for each in self.spaces():
            one, again, other = (self.bench(each, seed=s).run(self.count).points for s in (3, 3, 4))
            assert one == again
            assert one != other

    def test_it_stays_inside_the_space_and_proposes_what_exists(self) -> None:
        for each in self.spaces():
            for trial in self.bench(each).run(self.count).trials:
                chosen = each.choose(lambda knob, trial=trial: trial.params[knob.name])
                assert chosen == trial.params
                for name, value in trial.params.items():
                    assert isinstance(each[name].distribution, CategoricalDistribution) or each[name].holds(value)

    @pytest.mark.parametrize("stopped", [1, 9])
    def test_it_goes_on_from_the_journal_as_if_it_had_never_stopped(self, stopped: int) -> None:
        for each in self.spaces():
            undisturbed = self.bench(each).run(self.count).points
            first = self.bench(each).run(stopped)
            assert first.resumed(self.make()).run(self.count).points == undisturbed

    @pytest.mark.slow
    def test_a_used_sampler_proposes_as_a_fresh_one(self) -> None:
        """What a sampler keeps between calls saves time and decides nothing."""
        for each in self.spaces():
            used = self.make()
            Bench(used, each, self.objectives, seed=9).run(self.count)
            assert Bench(used, each, self.objectives).run(self.count).points == self.bench(each).run(self.count).points

    def test_what_it_cannot_search_is_refused_with_another_to_take(self) -> None:
        able = {"numbers": NUMBERS, "choices": CHOICES, "conditions": CONDITIONS}
        for kind, params in able.items():
            if kind in self.kinds or (kind == "numbers" and isinstance(self.make(), Gp)):
                refuse_misfit(self.make(), space(params), self.objectives)
            elif not isinstance(self.make(), Grid):
                with pytest.raises(SweepError, match=r"hydra/sweeper/sampler=\w+ .*; take hydra/sweeper/sampler=\w+"):
                    refuse_misfit(self.make(), space(params), self.objectives)


class TestRandom(SamplerContract):
    def make(self) -> Sampler:
        return Random()


class TestTpe(SamplerContract):
    def make(self) -> Sampler:
        return Tpe(n_startup_trials=4)


class TestTpeSeveral(SamplerContract):
    objectives = 2

    def make(self) -> Sampler:
        return Tpe(n_startup_trials=4)


class TestSobol(SamplerContract):
    def make(self) -> Sampler:
        return Sobol()


class TestGenetic(SamplerContract):
    def make(self) -> Sampler:
        return Genetic(population_size=6)


class TestNsga2(SamplerContract):
    objectives = 2

    def make(self) -> Sampler:
        return Nsga2(population_size=6)


class TestForeignNsga2(SamplerContract):
    """Optuna's keeps the parents of a generation in the study."""

    objectives = 2
    count = 30

    def make(self) -> Sampler:
        import optuna

        return Foreign("NSGAIISampler", optuna.samplers.NSGAIISampler, {"population_size": 4})


@pytest.mark.slow
class TestGp(SamplerContract):
    kinds: ClassVar = {"choices": CHOICES}
    count = 11

    def make(self) -> Sampler:
        return Gp(n_startup_trials=3)


class TestCmaEs(SamplerContract):
    kinds: ClassVar = {"numbers": NUMBERS}

    def make(self) -> Sampler:
        return CmaEs(popsize=4)


class TestCmaEsWithMargin(SamplerContract):
    kinds: ClassVar = {"numbers": NUMBERS}

    def make(self) -> Sampler:
        return CmaEs(popsize=4, with_margin=True)


class TestGrid(SamplerContract):
    kinds: ClassVar = {"discrete": DISCRETE}
    count = 16

    def make(self) -> Sampler:
        return Grid()

    def test_every_point_comes_once(self) -> None:
        each = space(DISCRETE)
        assert self.make().points(each) == 4 + 4 * 3
        found = self.bench(each).run(16).points
        assert len({json.dumps(p, sort_keys=True) for p in found}) == 16

    def test_an_interval_has_no_grid(self) -> None:
        with pytest.raises(SweepError, match=r"'x' is an interval"):
            self.make().points(space(NUMBERS))


def test_sobol_is_scrambled_and_fills_every_half_evenly() -> None:
    each = space({"x": "interval(0.0, 1.0)", "y": "interval(0.0, 1.0)"})
    points = [(p["x"], p["y"]) for p in Bench(Sobol(), each).run(16).points]
    assert points[0] != (0.0, 0.0)
    cells = {(int(x * 4), int(y * 4)) for x, y in points}
    assert len(cells) == 16


def test_sobol_asked_out_of_order_gives_the_same_points() -> None:
    each, view, sampler = space(NUMBERS), View(["minimize"])._study, Sobol()
    forward = [sampler.propose(each, view, 3, i).params for i in range(8)]
    assert [Sobol().propose(each, view, 3, i).params for i in reversed(range(8))] == forward[::-1]


@pytest.mark.parametrize(
    ("text", "at", "expected"),
    [
        ("interval(0.0, 10.0)", 0.25, 2.5),
        ("tag(log, interval(1.0, 100.0))", 0.5, 10.0),
        ("range(1, 5)", 0.0, 1),
        ("range(1, 5)", 0.3, 2),
        ("range(1, 5)", 0.999, 4),
        ("range(0, 1, 0.25)", 0.5, 0.5),
        ("choice(a, b, c)", 0.99, "c"),
        ("interval(0.0, 10.0)", 1.0, 10.0),
    ],
)
def test_a_quantile_is_a_value_and_back(text: str, at: float, expected: Any) -> None:
    knob = space({"k": text}).knobs[0]
    assert knob.at(at) == pytest.approx(expected) if isinstance(expected, float) else knob.at(at) == expected
    assert knob.at(knob.where(knob.at(at))) == pytest.approx(knob.at(at)) if expected != "c" else knob.where("c") > 0.8


def test_crowding_favours_the_ends_and_the_lonely() -> None:
    import numpy as np

    room = crowding(np.array([[0.0, 3.0], [1.0, 2.0], [1.1, 1.9], [3.0, 0.0]]))
    assert math.isinf(room[0])
    assert math.isinf(room[3])
    assert room[2] > room[1]


def sphere(points: Sequence[Mapping[str, Any]]) -> float:
    return min(sum(v * v for v in p.values()) for p in points)


@pytest.mark.parametrize(
    ("sampler", "count"),
    [(Tpe(), 60), (CmaEs(), 120), (Genetic(population_size=16), 120)],
    ids=lambda value: type(value).__name__,
)
def test_a_sampler_that_learns_beats_random(sampler: Sampler, count: int) -> None:
    each = space({f"x{i}": "interval(-5.0, 5.0)" for i in range(3)})

    def found(sampler: Sampler, seed: int) -> float:
        bench = Bench(sampler, each, seed=seed, lag=8)
        while len(bench.trials) < count:
            proposal = bench.ask()
            trial = create_trial(
                value=sphere([proposal.params]),
                params=proposal.params,
                distributions=proposal.distributions,
                system_attrs=proposal.memory,
            )
            trial.number = len(bench.trials)
            bench.trials.append(trial)
        return sphere(bench.points)

    seeds = range(3)
    assert median(found(sampler, s) for s in seeds) < 0.5 * median(found(Random(), s) for s in seeds)


@pytest.mark.parametrize(
    ("params", "trials", "objectives", "workers", "chosen"),
    [
        (DISCRETE, 20, 1, 8, "grid"),
        (DISCRETE, 14, 1, 4, "sobol"),
        (CHOICES, 18, 1, 8, "sobol"),
        (CHOICES, 64, 1, 8, "tpe"),
        (CONDITIONS, 64, 2, 8, "tpe"),
        (NUMBERS, 64, 1, 8, "gp"),
        (NUMBERS, 64, 2, 8, "gp"),
        (NUMBERS, 500, 1, 8, "cmaes"),
        (NUMBERS, 500, 2, 8, "tpe"),
        (CONDITIONS, 5000, 1, 8, "genetic"),
        (NUMBERS, 5000, 2, 8, "nsga2"),
    ],
)
def test_auto_chooses_by_space_budget_and_objectives(
    params: Mapping[str, Any], trials: int, objectives: int, workers: int, chosen: str
) -> None:
    choice = choose(space(params), trials, objectives, workers)
    assert choice.name == chosen
    assert str(trials) in choice.why


def test_auto_says_which_knob_decided() -> None:
    assert "'c' is a choice" in choose(space(CHOICES), 64, 1, 8).why
    assert "'c' is a choice" not in choose(space(NUMBERS), 64, 1, 8).why


@pytest.mark.parametrize(
    ("sampler", "objectives", "warm", "said"),
    [
        (CmaEs(), 2, False, "not made for 2 objectives"),
        (Genetic(), 2, False, "take hydra/sweeper/sampler=nsga2"),
        (Random(), 1, True, "learns nothing from hydra.sweeper.warm_start"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_study_that_a_sampler_is_not_made_for_is_refused(
    sampler: Sampler, objectives: int, warm: bool, said: str
) -> None:
    with pytest.raises(SweepError, match=said):
        refuse_misfit(sampler, space(NUMBERS), objectives, warm=warm)


@pytest.mark.parametrize(("sampler", "package"), [(Gp(), "torch"), (CmaEs(), "cmaes"), (Sobol(), "scipy")])
def test_a_package_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, sampler: Sampler, package: str
) -> None:
    monkeypatch.setattr(samplers, "find_spec", lambda name: None)
    with pytest.raises(SweepError, match=rf"needs .*{package}.*pip install 'trimtab\[search\]', or take"):
        refuse_misfit(sampler, space(NUMBERS), 1)
