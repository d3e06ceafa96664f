"""CMA-ES in steady state: what it learns from, and where it starts again."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from trimtab.errors import SweepError
from trimtab.sweep.samplers import covariance
from trimtab.sweep.samplers.covariance import RUN, CmaEs
from trimtab.sweep.samplers.view import View
from trimtab.sweep.space.knobs import Knob, Space, Value

Point = dict[str, Value]
THREE = Space.of(Knob(f"x{i}", FloatDistribution(0.0, 1.0)) for i in range(3))


def far(point: Mapping[Any, Value]) -> float:
    """Least at 0.9."""
    return sum((v - 0.9) ** 2 for v in point.values() if isinstance(v, float))


class Search:
    """Asks and tells without a sweeper, in whatever order trials end."""

    def __init__(self, sampler: CmaEs, space: Space = THREE, direction: Any = "minimize") -> None:
        self.sampler, self.space = sampler, space
        self.view = View([direction])
        self.trials: list[FrozenTrial] = []

    def ask(self) -> Point:
        number = len(self.trials)
        asked = self.view.propose(self.sampler, self.space, 3, number, number)
        trial = create_trial(
            state=TrialState.RUNNING,
            params=asked.params,
            distributions=asked.distributions,
            system_attrs=asked.memory,
        )
        trial.number = number
        self.trials.append(trial)
        return asked.params

    def tell(self, number: int, loss: float, **more: Any) -> None:
        trial = self.trials[number]
        ended = create_trial(value=loss, params=trial.params, distributions=trial.distributions, **more)
        ended.number = number
        self.view.tell(ended)

    def run(self, count: int, loss: Callable[[Point], float] = far, lag: int = 1) -> "Search":
        for number in range(count):
            self.ask()
            if number + 1 >= lag:
                self.tell(number + 1 - lag, loss(self.trials[number + 1 - lag].params))
        return self

    @property
    def points(self) -> list[Point]:
        return [t.params for t in self.trials]


def proposed(search: Search, losses: Iterable[float]) -> Point:
    """What is proposed next where a search's trials ended otherwise."""
    other = Search(CmaEs(popsize=4))
    for trial in search.trials:
        other.view.show(trial)
        other.trials.append(trial)
    for number, loss in enumerate(losses):
        other.tell(number, loss)
    return other.ask()


@pytest.mark.parametrize("lag", [1, 8])
@pytest.mark.parametrize("changed", range(12))
def test_every_finished_trial_counts(changed: int, lag: int) -> None:
    """Also those drawn at random, or from a distribution of long ago."""
    search = Search(CmaEs(popsize=4)).run(12, lag=lag)
    losses = [far(p) for p in search.points]
    other = [*losses[:changed], 9.0 if losses[changed] == min(losses) else -1.0, *losses[changed + 1 :]]
    assert proposed(search, losses) != proposed(search, other)


def test_each_generation_is_learnt_once_together_with_the_best_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, so that a proposal costs the same at any time."""
    told: list[list[float]] = []
    tell = covariance._tell

    def noted(cma: Any, points: Any) -> None:
        told.append([far(dict(enumerate(map(float, p)))) for p in points])
        tell(cma, points)

    monkeypatch.setattr(covariance, "_tell", noted)
    search = Search(CmaEs(popsize=4)).run(41)
    losses = [far(p) for p in search.points]
    assert [len(t) for t in told] == [4] * 10
    for generation, points in enumerate(told, start=1):
        assert points[:2] == pytest.approx(sorted(losses[: 4 * generation])[:2])


def test_a_trial_far_away_counts_as_if_it_were_just_likely() -> None:
    cma = CmaEs(popsize=4)._begun(THREE.knobs, 3, 0)
    cma._sigma = 0.001
    covariance._tell(cma, [np.full(3, 1.0)] * 4)
    assert 0.5 < cma.mean.max() < 0.51


@pytest.mark.parametrize("late", [0, 5, 15])
def test_a_trial_that_ends_late_is_learnt_in_its_place(late: int) -> None:
    prompt, delayed = Search(CmaEs(popsize=4)), Search(CmaEs(popsize=4))
    for search in (prompt, delayed):
        search.run(16, lag=99)
    for number in range(16):
        prompt.tell(number, number % 5)
        if number != late:
            delayed.tell(number, number % 5)
    delayed.sampler.propose(THREE, delayed.view._study, 3, 16)  # learns without it
    delayed.tell(late, late % 5)
    expected = prompt.sampler.propose(THREE, prompt.view._study, 3, 17).params
    assert delayed.sampler.propose(THREE, delayed.view._study, 3, 17).params == expected


@pytest.mark.parametrize("lag", [1, 8])
def test_where_it_gets_no_further_it_starts_again_with_twice_the_generation(lag: int) -> None:
    search = Search(CmaEs(popsize=4)).run(60, loss=lambda point: 1.0, lag=lag)
    runs = [t.system_attrs.get(RUN, 0) for t in search.trials]
    assert runs == sorted(runs)
    # What is drawn before a restart can be known belongs to the run before.
    assert [runs.count(r) for r in range(3)] == [4 + lag - 1, 8 + lag - 1, 16 + lag - 1]


def test_a_broken_limit_is_worse_than_any_value() -> None:
    kept, broken = (Search(CmaEs(popsize=4)).run(4, lag=99) for _ in range(2))
    for number, point in enumerate(kept.points):
        kept.tell(number, far(point) + (100.0 if number == 2 else 0.0))
        broken.tell(number, -9.0 if number == 2 else far(point), constraints={"size": 1.0 if number == 2 else -1.0})
    assert kept.ask() == broken.ask()


@pytest.mark.parametrize("state", [TrialState.FAIL, TrialState.PRUNED])
def test_trials_without_a_value_are_passed_over(state: TrialState) -> None:
    search = Search(CmaEs(popsize=4)).run(8)
    search.ask()
    lost = create_trial(state=state, params=search.points[8], distributions=search.trials[8].distributions)
    lost.number = 8
    search.view.tell(lost)
    assert search.view._study.get_trials(deepcopy=False)[8].state == state
    other = Search(CmaEs(popsize=4)).run(8)
    one, two = (CmaEs(popsize=4).propose(THREE, s.view._study, 3, 9).params for s in (search, other))
    assert one == two


@pytest.mark.parametrize("value", [math.inf, -math.inf, 1e308])
def test_values_beyond_measure_do_no_harm(value: float) -> None:
    search = Search(CmaEs()).run(30, loss=lambda point: value if float(str(point["x0"])) < 0.4 else far(point))
    assert all(0.0 <= v <= 1.0 for p in search.points for v in p.values() if isinstance(v, float))


def test_it_maximises_where_that_is_asked() -> None:
    down = Search(CmaEs(popsize=4)).run(20)
    up = Search(CmaEs(popsize=4), direction="maximize").run(20, loss=lambda point: -far(point))
    assert up.points == down.points


@pytest.mark.parametrize("with_margin", [False, True])
def test_few_knobs_and_odd_ones_can_be_searched(with_margin: bool) -> None:
    fixed = Knob("fixed", FloatDistribution(2.0, 2.0))
    odd = [
        Knob("n", IntDistribution(1, 2)),
        Knob("s", FloatDistribution(0.0, 1.0, step=0.25)),
        Knob("w", IntDistribution(1, 1000, log=True)),
        fixed,
    ]
    for knobs in ([fixed], odd[:1], [Knob("x", FloatDistribution(0.0, 1.0))], odd):
        space = Space.of(knobs)
        search = Search(CmaEs(with_margin=with_margin), space).run(40)
        assert all(space[name].holds(value) for p in search.points for name, value in p.items())
    assert {p["n"] for p in search.points} == {1, 2}


def test_a_knob_of_one_value_changes_nothing() -> None:
    more = Space.of([*THREE.knobs, Knob("fixed", FloatDistribution(2.0, 2.0))])
    points = [{**p, "fixed": 2.0} for p in Search(CmaEs()).run(20).points]
    assert Search(CmaEs(), more).run(20).points == points


@pytest.mark.parametrize("popsize", [4, 64])
def test_a_generation_may_be_small_or_large(popsize: int) -> None:
    points = Search(CmaEs(popsize=popsize)).run(2 * popsize + 1).points
    assert len({str(p) for p in points}) == len(points)


def test_a_generation_of_one_parent_is_refused() -> None:
    with pytest.raises(SweepError, match="popsize must be at least 4 but is 3"):
        CmaEs(popsize=3)


@pytest.mark.parametrize("with_margin", [False, True])
def test_a_margin_keeps_whole_numbers_from_freezing(with_margin: bool) -> None:
    space = Space.of([*THREE.knobs, Knob("n", IntDistribution(0, 1))])
    search = Search(CmaEs(with_margin=with_margin), space)
    search.run(200, loss=lambda point: far(point) + (point["n"] == 0))
    assert ({p["n"] for p in search.points[-100:]} == {0, 1}) == with_margin


def test_an_earlier_study_gives_it_a_start() -> None:
    earlier = [
        create_trial(value=far(p), params=p, distributions={k.name: k.distribution for k in THREE.knobs})
        for p in Search(CmaEs(n_startup_trials=99)).run(40).points
    ]
    warm, cold = Search(CmaEs()), Search(CmaEs())
    warm.view.warm(earlier)
    found = [sum(map(far, s.run(10).points)) for s in (warm, cold)]
    assert found[0] < 0.5 * found[1]
