"""The contract of all pruners, and each against its reference: Optuna's own class on a whole study."""

import math
import pickle
from collections.abc import Callable, Iterator, Mapping
from random import Random

import optuna
import optuna.pruners as known
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from trimtab.errors import Pruned, SweepError
from trimtab.sweep.context import Notes, report, taking_notes
from trimtab.sweep.pruners.optunas import Median, Patient, Threshold
from trimtab.sweep.pruners.pruner import Never, Pruner
from trimtab.sweep.pruners.rungs import Asha, Hyperband
from trimtab.sweep.settings import Direction

PRUNERS: dict[str, Pruner] = {
    "median": Median(startup_trials=2),
    "patient": Patient(patience=1),
    "patient over asha": Patient(patience=1, wrapped=Asha()),
    "threshold": Threshold(upper=1.2),
    "asha": Asha(),
    "hyperband": Hyperband(max_step=9),
}
NAN = math.nan


def curves(seed: int, count: int = 40, steps: int = 9) -> Iterator[list[float]]:
    noise = Random(seed)
    for _ in range(count):
        level, speed = noise.random(), noise.uniform(0.1, 1.0)
        yield [level + math.exp(-speed * s) + noise.gauss(0, 0.1) for s in range(1, steps + 1)]


def ended(number: int, reports: Mapping[int, float], state: TrialState = TrialState.COMPLETE) -> FrozenTrial:
    value = reports[max(reports)] if state == TrialState.COMPLETE else None
    trial = create_trial(state=state, value=value, intermediate_values=dict(reports))
    trial.number = number
    return trial


def run(pruner: Pruner, direction: Direction = "minimize", sign: int = 1, shuffle: bool = False) -> list[int]:
    """Steps at which each of a series of trials ends, seen by the next at once."""
    history, ends = pruner.history(direction), []
    for number, curve in enumerate(curves(0)):
        rule = pickle.loads(pickle.dumps(history.rule(number)))
        reports: dict[int, float] = {}
        for step, value in enumerate(curve, start=1):
            reports[step] = sign * value
            seen = dict(sorted(reports.items(), reverse=True)) if shuffle else reports
            if rule is not None and rule.prunes(seen):
                break
        state = TrialState.COMPLETE if len(reports) == len(curve) else TrialState.PRUNED
        history.learn(ended(number, reports, state))
        ends.append(len(reports))
    return ends


@pytest.mark.parametrize("pruner", PRUNERS.values(), ids=PRUNERS)
class TestContract:
    def test_it_ends_some_trials_and_not_others_and_always_the_same(self, pruner: Pruner) -> None:
        ends = run(pruner)
        assert min(ends) < 9 == max(ends)
        assert run(pruner) == ends

    def test_the_order_of_reports_does_not_matter(self, pruner: Pruner) -> None:
        assert run(pruner, shuffle=True) == run(pruner)

    def test_maximising_mirrors(self, pruner: Pruner) -> None:
        mirrored = Threshold(lower=-1.2) if isinstance(pruner, Threshold) else pruner
        assert run(mirrored, "maximize", -1) == run(pruner)

    def test_the_first_trial_sees_nothing_and_its_good_start_is_let_be(self, pruner: Pruner) -> None:
        rule = pruner.history("minimize").rule(0)
        assert rule is None or not rule.prunes({1: 0.5})

    def test_a_decision_stands_when_it_is_asked_for_again(self, pruner: Pruner) -> None:
        """Workers ask at each report, a rerun from the first on; what let a trial pass must not end it later."""
        history = pruner.history("minimize")
        for number, curve in enumerate(curves(1, 12)):
            history.learn(ended(number, dict(enumerate(curve, start=1))))
        rule = history.rule(12)
        assert rule is not None
        assert not rule.prunes({1: -1.0})
        assert not rule.prunes({1: -1.0})

    def test_what_travels_with_a_trial_stays_small(self, pruner: Pruner) -> None:
        history = pruner.history("minimize")
        for number, curve in enumerate(curves(2, 500)):
            history.learn(ended(number, dict(enumerate(curve, start=1))))
        assert len(pickle.dumps(history.rule(500))) < 2000


@pytest.mark.parametrize("pruner", [p for n, p in PRUNERS.items() if not n.startswith("patient")])
def test_a_trial_that_reports_nan_is_ended(pruner: Pruner) -> None:
    history = pruner.history("minimize")
    for number, curve in enumerate(curves(1, 6)):
        history.learn(ended(number, dict(enumerate(curve, start=1))))
    rule = history.rule(9)
    assert rule is not None
    assert rule.prunes(dict.fromkeys(range(1, 10), NAN))


def test_none_never_ends_a_trial() -> None:
    assert set(run(Never())) == {9}


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Median(), lambda: known.MedianPruner()),
        (Median(1, 3, 2, 4), lambda: known.MedianPruner(1, 3, 2, n_min_trials=4)),
        (Patient(2, 0.05), lambda: known.PatientPruner(None, 2, 0.05)),
        (Patient(1, 0, Median()), lambda: known.PatientPruner(known.MedianPruner(), 1)),
        (Threshold(-1.2, 1.2, 2), lambda: known.ThresholdPruner(-1.2, 1.2, 2)),
        (Asha(), lambda: known.SuccessiveHalvingPruner(1, 3)),
        (Asha(2, None, 2), lambda: known.SuccessiveHalvingPruner(2, 2)),
    ],
)
@pytest.mark.parametrize(("direction", "sign"), [("minimize", 1), ("maximize", -1)])
def test_each_decides_as_optunas_own(
    ours: Pruner, theirs: Callable[[], known.BasePruner], direction: Direction, sign: int
) -> None:
    study, ends = optuna.create_study(direction=direction, pruner=theirs()), []
    for curve in curves(0):
        trial, step = study.ask(), 0
        for step, value in enumerate(curve, start=1):
            trial.report(sign * value, step)
            if trial.should_prune():
                break
        state = TrialState.COMPLETE if step == len(curve) else TrialState.PRUNED
        study.tell(trial, sign * curve[-1] if state == TrialState.COMPLETE else None, state=state)
        ends.append(step)
    assert run(ours, direction, sign) == ends


def test_equal_ones_pass_a_rung_together() -> None:
    history = Asha().history("minimize")
    for number in range(5):
        history.learn(ended(number, {1: 0.5}))
    rule = history.rule(5)
    assert rule is not None
    assert [rule.prunes({1: value}) for value in (0.5, 0.5001)] == [False, True]


def test_hyperbands_brackets_follow_from_the_number_in_the_papers_proportion() -> None:
    """Li et al. 2018, table 1: R = 81, eta = 3 has 81, 34, 15, 8 and 5 configurations."""
    hyperband = Hyperband(max_step=81)
    given = [hyperband.bracket(n) for n in range(2 * 143)]
    assert [given[:143].count(b) for b in range(5)] == [81, 34, 15, 8, 5]
    assert given[:143] == given[143:]
    assert {*given[:20]} == {0, 1, 2, 3, 4}


def test_hyperbands_last_bracket_runs_to_the_end() -> None:
    history = (hyperband := Hyperband(max_step=9)).history("minimize")
    for number in range(40):
        history.learn(ended(number, dict.fromkeys(range(1, 9), 0.0)))
    last = next(n for n in range(40) if hyperband.bracket(n) == 2)
    rule = history.rule(last)
    assert rule is not None
    assert not rule.prunes(dict.fromkeys(range(1, 9), 1.0))


@pytest.mark.parametrize("pause", [False, True])
def test_hyperbands_rungs_are_common_to_all_brackets(pause: bool) -> None:
    """A trial of a later bracket passes the first rung unseen, the second only if it beats those that came there."""
    history = (hyperband := Hyperband(max_step=9, pause=pause)).history("minimize")
    state = TrialState.WAITING if pause else TrialState.COMPLETE
    early, late = ([n for n in range(60) if hyperband.bracket(n) == b] for b in (0, 1))
    for place, number in enumerate(early[:6]):
        history.learn(ended(number, {1: 0.1 * place, 2: 0.1 * place, 3: 0.1 * place}, state))
    rule = history.rule(late[0])
    assert rule is not None
    assert not rule.prunes({1: 9.0, 2: 9.0})
    assert rule.prunes({1: 9.0, 2: 9.0, 3: 0.15})
    assert rule.prunes({1: 9.0, 2: 9.0, 3: 0.05}) == pause  # better than all but one: passes, or waits to be sent on
    history.learn(ended(late[0], {1: 9.0, 2: 9.0, 3: -1.0}, state))
    first = history.rule(early[6])
    assert first is not None
    assert first.prunes({1: 5.0})
    sent = [number for number, _ in history.promotions()]
    assert sent == ([late[0], early[0]] if pause else [])


def test_hyperband_of_few_brackets_keeps_the_harshest() -> None:
    two, whole = Hyperband(max_step=81, brackets=2), Hyperband(max_step=81)
    given = [two.bracket(n) for n in range(115)]
    assert [given.count(b) for b in range(5)] == [81, 34, 0, 0, 0]
    assert {whole.bracket(n) for n in range(143)} == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("pruner", [Asha(max_step=9), Hyperband(max_step=9)])
def test_nobody_is_ended_at_the_last_step(pruner: Pruner) -> None:
    history = pruner.history("minimize")
    for number in range(40):
        history.learn(ended(number, dict.fromkeys(range(1, 10), 0.0)))
    good_until_the_end = dict.fromkeys(range(1, 9), -1.0) | {9: 1.0}
    rules = [history.rule(number) for number in range(40, 60)]
    assert not any(rule.prunes(good_until_the_end) for rule in rules if rule is not None)


@pytest.mark.parametrize(
    ("pruner", "said"),
    [
        (Median(startup_trials=-1), "startup trials cannot be negative"),
        (Patient(patience=-1), "patience cannot be negative"),
        (Patient(wrapped=Asha(min_step=0)), "min_step must be at least 1 but is 0"),
        (Threshold(), "Either lower or upper must be specified"),
        (Asha(reduction_factor=1), "reduction_factor must be at least 2 but is 1"),
        (Hyperband(), r"set hydra\.sweeper\.pruner\.max_step"),
        (Hyperband(min_step=5, max_step=3), "max_step must be at least 5 but is 3"),
        (Hyperband(max_step=9, brackets=0), "brackets must be at least 1 but is 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(pruner: Pruner, said: str) -> None:
    with pytest.raises(SweepError, match=said):
        pruner.check()


class AtThree:
    """Ends a trial at step 3, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[int, float]] = []

    def prunes(self, reports: Mapping[int, float]) -> bool:
        self.asked.append(dict(reports))
        return max(reports) >= 3


def told(*steps: tuple[int, float]) -> tuple[Notes, list[dict[int, float]]]:
    rule = AtThree()
    with taking_notes(rule) as notes:
        for step, value in steps:
            report(step, value)
    return notes, rule.asked


def test_the_first_report_of_a_step_counts() -> None:
    notes, asked = told((1, 0.5), (1, 0.1), (2, 0.4))
    assert notes.reports == {1: 0.5, 2: 0.4}
    assert asked == [{1: 0.5}, {1: 0.5, 2: 0.4}]


def test_a_report_below_the_latest_is_kept_and_decides_nothing() -> None:
    notes, asked = told((0, 0.1), (2, 0.5), (1, 0.6), (-1, 0.7))
    assert notes.reports == {0: 0.1, 2: 0.5, 1: 0.6, -1: 0.7}
    assert len(asked) == 2


def test_every_report_after_the_end_says_so_again() -> None:
    rule = AtThree()
    with taking_notes(rule) as notes:
        for step in (3, 4, 1):
            with pytest.raises(Pruned, match="pruned at step 3"):
                report(step, 0.5)
    assert notes.pruned == "pruned at step 3"


def test_nobody_is_told_outside_of_a_sweep() -> None:
    report(1, 0.5)


def test_of_paused_trials_the_best_third_goes_on_the_highest_rung_first() -> None:
    history = Asha(pause=True).history("minimize")
    for number, loss in enumerate([0.5, 0.1, NAN, 0.3, 0.2, 0.4]):
        history.learn(ended(number, {1: loss}, TrialState.PRUNED))
    assert list(history.promotions()) == [(1, 1), (4, 1)]
    for number, loss in [(1, 0.9), (4, 0.8), (3, 0.7)]:  # each has got to the next rung
        history.learn(ended(number, {1: [0.1, 0.3, 0.2][number % 3], 3: loss}, TrialState.PRUNED))
    assert next(iter(history.promotions())) == (3, 3)
    history.learn(ended(6, {1: 0.0}))
    assert 6 not in dict(history.promotions())  # has ended by itself


def test_in_the_end_the_best_of_the_highest_rung_goes_on_unless_somebody_has_finished() -> None:
    history = Asha(pause=True).history("maximize")
    assert list(history.promotions(last=True)) == []
    baseline = ended(0, {1: 0.9, 3: 0.9})
    baseline.user_attrs["baseline"] = True
    history.learn(baseline)
    for number, reports in enumerate([{1: 0.8}, {1: 0.1, 3: 0.1}, {1: 0.2, 3: 0.2}], start=1):
        history.learn(ended(number, reports, TrialState.PRUNED))
    assert list(history.promotions(last=True)) == [(3, 3)]
    history.learn(ended(3, {1: 0.2, 3: 0.2}, TrialState.FAIL))
    history.learn(ended(4, {1: 0.3}))
    assert list(history.promotions(last=True)) == []


def test_a_task_that_reports_every_tenth_step_passes_several_rungs_at_once() -> None:
    history = Asha(pause=True).history("minimize")
    rule = history.rule(0)
    assert rule is not None
    assert rule.prunes({10: 0.5})
    again = history.rule(0, paused_at=10)
    assert again is not None
    assert [again.prunes({step: 0.5}) for step in (20, 30)] == [False, True]
