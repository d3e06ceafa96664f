"""Which trial comes next: first those that a killed sweep left behind, then new ones."""

from collections import Counter, deque

from optuna.trial import FrozenTrial, TrialState, create_trial

from trimtab.sweep.check import Plan
from trimtab.sweep.context import Orders
from trimtab.sweep.journal import Journal
from trimtab.sweep.outcome import Failed
from trimtab.sweep.pruners import History, Never
from trimtab.sweep.samplers import Proposal, Sampler
from trimtab.sweep.seeds import derive
from trimtab.sweep.settings import Settings
from trimtab.sweep.view import View

DEATHS = 3
"""Starts in one sweep after which a trial whose worker dies counts as failed."""


class Supply:
    """Proposes trials in order of number and starts them, whoever ran them before."""

    def __init__(self, journal: Journal, plan: Plan, settings: Settings, total: int) -> None:
        self._journal, self._plan, self._settings = journal, plan, settings
        self._total = total
        self._view = View(settings.directions, settings.lag)
        self._history: History = (settings.pruner or Never()).history(settings.directions[0])
        self._learnt = self._ended = 0
        self._orders: dict[int, Orders] = {}
        self._ready: deque[FrozenTrial] = deque()
        self._starts: Counter[int] = Counter()
        for trial in journal.trials:
            self._view.show(trial)
            if trial.state == TrialState.RUNNING:
                self._ready.append(trial)
                self._give_orders(trial.number)

    def next(self) -> FrozenTrial | None:
        """Starts a trial; None if the budget is spent, or the next must wait for others to end."""
        if self._ready:
            trial = self._ready.popleft()
            self._starts[trial.number] += 1
            return self._journal.start(trial)
        trials = self._journal.trials
        number = len(trials)
        if number >= self._total or not self._have_ended(trials, self._view.horizon(number)):
            return None
        self._view.advance(trials, number)
        self._give_orders(number)
        self._starts[number] += 1
        return self._baseline() if self._is_baseline(number) else self._proposed(number)

    def orders(self, trial: FrozenTrial) -> Orders:
        """What a started trial takes along: the same whenever and wherever it is run again."""
        return self._orders[trial.number]

    def poison(self, trial: FrozenTrial) -> Failed | None:
        """The outcome of a trial that has been started too often to be tried again."""
        before = trial.user_attrs["starts"] - 1
        if before < self._settings.max_starts:
            return None
        return Failed(f"poison: started {before} times without an end (hydra.sweeper.max_starts)")

    def again(self, trial: FrozenTrial) -> bool:
        """Lines a trial up once more after its worker died; False if that has happened too often."""
        if self._starts[trial.number] >= DEATHS:
            return False
        self._ready.append(trial)
        return True

    def release(self) -> None:
        """Takes back the starts of this sweep's unended trials: an end from outside is no fault."""
        for trial in self._journal.trials:
            if trial.state == TrialState.RUNNING and self._starts[trial.number]:
                self._journal.start(trial, by=-1)

    def overrides(self, trial: FrozenTrial) -> list[str]:
        """What the trial's configuration is composed with."""
        swept = [] if self._is_baseline(trial.number) else self._plan.space.overrides(trial.params)
        key = self._settings.seed_key
        seed = [f"{key}={trial.user_attrs['seed']}"] if key else []
        return [*self._plan.fixed, *swept, *seed]

    def _have_ended(self, trials: list[FrozenTrial], horizon: int) -> bool:
        """Whether all trials below have; looks at each only until it has."""
        while self._ended < horizon and trials[self._ended].state.is_finished():
            self._ended += 1
        return self._ended >= horizon

    def _give_orders(self, number: int) -> None:
        """Must be called in order of number: a trial is judged by what it may see, and by nothing after that."""
        trials = self._journal.trials
        horizon = self._view.horizon(number)
        for trial in trials[self._learnt : horizon]:
            self._history.learn(trial)
        self._learnt = max(self._learnt, horizon)
        spared = self._is_baseline(number) and not self._settings.prune_baseline
        self._orders = {n: o for n, o in self._orders.items() if not trials[n].state.is_finished()}
        self._orders[number] = Orders(None if spared else self._history.rule(number))

    def _is_baseline(self, number: int) -> bool:
        return number == 0 and self._settings.baseline

    def _baseline(self) -> FrozenTrial:
        point, inside = self._plan.default()
        proposal = Proposal.of(self._plan.space, point if inside else {}, {})
        attributes: dict[str, object] = {"baseline": True}
        if not inside:
            attributes["outside"] = point
        trial = self._ask(0, proposal, attributes)
        self._view.show(trial)
        return trial

    def _proposed(self, number: int) -> FrozenTrial:
        sampler: Sampler = self._settings.sampler
        index = number - int(self._settings.baseline)
        space, seed = self._plan.space, self._settings.seed
        return self._ask(number, self._view.propose(sampler, space, seed, number, index), {})

    def _ask(self, number: int, proposal: Proposal, attributes: dict[str, object]) -> FrozenTrial:
        seed = derive(self._settings.seed, number)
        template = create_trial(
            state=TrialState.RUNNING,
            params=proposal.params,
            distributions=proposal.distributions,
            user_attrs={"seed": seed, "starts": 1, **attributes},
            system_attrs=proposal.memory,
        )
        return self._journal.ask(template)
