"""The order in which a study starts trials and sends paused ones on; what may be seen at each turn follows from it.

Without pauses turn and trial number are the same. A paused trial that is sent on has a turn of its own, so that
`lag` counts that too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite

from optuna.trial import FrozenTrial, TrialState, create_trial

LEFT = "left"
"""Attribute of a paused trial: why it was not sent on when the budget was spent."""


@dataclass(frozen=True)
class Turn:
    """One start of a trial.

    Attributes:
        number: the trial's.
        stretch: 0 for its first start, 1 after its first pause …
        seen: turns below this had been looked at when it was decided on.
        stack: the first turn of those that are run together.
    """

    number: int
    stretch: int
    seen: int
    stack: int


class Turns:
    """All turns of a study so far, and how many of them have been looked at."""

    def __init__(self, trials: Sequence[FrozenTrial]) -> None:
        placed = [
            ((turn, t.number), Turn(t.number, stretch, seen, stack))
            for t in trials
            for stretch, (turn, seen, stack) in enumerate(t.user_attrs.get("turns", [(t.number, 0, t.number)]))
        ]
        self._turns = [turn for _, turn in sorted(placed, key=lambda pair: pair[0])]
        self._ended = self.seen = 0

    def __len__(self) -> int:
        return len(self._turns)

    def add(self, turn: Turn) -> None:
        """The next turn."""
        self._turns.append(turn)

    def between(self, first: int, stop: int) -> list[Turn]:
        """The turns `first` … `stop` - 1, as far as there are any."""
        return self._turns[max(0, first) : stop]

    def running(self, trials: Sequence[FrozenTrial]) -> Iterator[tuple[int, Turn, FrozenTrial]]:
        """Turns whose trials were left running, with these."""
        for index, turn in enumerate(self._turns):
            trial = trials[turn.number]
            if trial.state == TrialState.RUNNING and not _has_ended(trial, turn):
                yield index, turn, trial

    def have_ended(self, trials: Sequence[FrozenTrial], horizon: int) -> bool:
        """Whether all turns below have; looks at each only until it has."""
        while self._ended < horizon and _has_ended(trials[self._turns[self._ended].number], self._turns[self._ended]):
            self._ended += 1
        return self._ended >= horizon

    def look(self, trials: Sequence[FrozenTrial], horizon: int) -> Iterator[FrozenTrial]:
        """The trials of the turns below that have not been looked at yet, as they were at the end of the turn."""
        for turn in self._turns[self.seen : horizon]:
            yield _at_end(trials[turn.number], turn)
        self.seen = max(self.seen, horizon)

    @property
    def known(self) -> int:
        """How far the last decision had looked."""
        return max((turn.seen for turn in self._turns), default=0)


def pauses(trial: FrozenTrial) -> list[int]:
    """The steps at which a trial paused."""
    return list(trial.user_attrs.get("pauses", ()))


def due(trial: FrozenTrial) -> TrialState:
    """The state that a trial should be in: paused as often as started, it waits; started once more, it runs."""
    if trial.state.is_finished() or "turns" not in trial.user_attrs:
        return trial.state
    return TrialState.WAITING if len(pauses(trial)) >= len(trial.user_attrs["turns"]) else TrialState.RUNNING


def _has_ended(trial: FrozenTrial, turn: Turn) -> bool:
    return trial.state.is_finished() or len(pauses(trial)) > turn.stretch


def at_last_pause(trial: FrozenTrial) -> FrozenTrial:
    """A paused trial as samplers and pruners shall see it until it has gone on and got further: pruned there."""
    return _at_pause(trial, pauses(trial)[-1])


def as_left(trial: FrozenTrial) -> FrozenTrial:
    """A paused trial that a spent budget has left behind counts as pruned, until a larger one sends it on."""
    if trial.state != TrialState.WAITING or not trial.user_attrs.get(LEFT):
        return trial
    left = at_last_pause(trial)
    left.user_attrs = {**trial.user_attrs, "reason": trial.user_attrs[LEFT]}
    value = trial.intermediate_values[pauses(trial)[-1]]
    left.values = [value] if isfinite(value) else None
    left._trial_id = trial._trial_id
    left.datetime_start, left.datetime_complete = trial.datetime_start, trial.datetime_start
    return left


def _at_end(trial: FrozenTrial, turn: Turn) -> FrozenTrial:
    steps = pauses(trial)
    return trial if len(steps) <= turn.stretch else _at_pause(trial, steps[turn.stretch])


def _at_pause(trial: FrozenTrial, step: int) -> FrozenTrial:
    paused = create_trial(
        state=TrialState.PRUNED,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs=trial.user_attrs,
        system_attrs=trial.system_attrs,
        intermediate_values={s: v for s, v in trial.intermediate_values.items() if s <= step},
    )
    paused.number = trial.number
    return paused
