"""Which trial comes next: those that a killed sweep left behind, then paused ones that may go on, then new ones."""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count, islice

from optuna.trial import FrozenTrial, TrialState, create_trial

from trimtab.sweep.budget import Budget
from trimtab.sweep.context import Orders
from trimtab.sweep.outcome import Failed, Outcome
from trimtab.sweep.pruners.pruner import History, Never
from trimtab.sweep.repeats import Repeats
from trimtab.sweep.samplers.sampler import Proposal, Sampler
from trimtab.sweep.samplers.view import View
from trimtab.sweep.seeds import derive
from trimtab.sweep.settings import Settings
from trimtab.sweep.space.check import Plan, Point
from trimtab.sweep.space.knobs import Value
from trimtab.sweep.store.journal import Journal
from trimtab.sweep.store.study import by_seed
from trimtab.sweep.turns import Turn, Turns, at_last_pause, pauses

ALONE_AFTER = 3
"""Starts without an end after which a trial runs without company, which it may have taken with it."""


class Supply:
    """Proposes trials in order of number and starts them, whoever ran them before."""

    def __init__(
        self, journal: Journal, plan: Plan, settings: Settings, total: int, warm: Sequence[FrozenTrial] = ()
    ) -> None:
        self._journal, self._plan, self._settings = journal, plan, settings
        self.budget = Budget(journal, settings, total)
        self._view = View(settings.directions)
        exploring = settings.before + getattr(settings.sampler, "n_startup_trials", 0)
        self._units = settings.population.units(settings.sampler.can.learns, exploring)
        self._view.warm(warm)
        self._history: History = (settings.pruner or Never()).history(settings.directions[0])
        self._turns = Turns(journal.trials)
        self._looked: list[FrozenTrial] = []
        self._rival: FrozenTrial | None = None
        self._seeds = tuple(derive(settings.seed, i, "common") for i in range(settings.seeds))
        self._parts = self._each()
        self._orders: dict[int, Orders] = {}
        self._ready: deque[list[FrozenTrial]] = deque()
        self._asked: deque[list[FrozenTrial]] = deque()
        self._starts: Counter[int] = Counter()
        self._retries: Counter[int] = Counter()
        self._paused: Counter[int] = Counter()
        self._shown = self._ended = 0
        self._show_new()
        left: dict[int, list[FrozenTrial]] = {}
        for index, turn, trial in self._turns.running(journal.trials):
            if not journal.theirs(trial):
                left.setdefault(turn.stack, []).append(trial)
                self._look(turn.seen if "turns" in trial.user_attrs else self._horizon(index, trial.number))
                self._give_orders(trial)
        self._ready.extend(left.values())
        self._see(self._turns.known)

    def next(self) -> list[FrozenTrial] | None:
        """Starts trials that are run together; None if the budget is spent, or the next must wait for others to end."""
        if self._ready:
            return self._begun_again(self._ready.popleft())
        if self._asked:
            return self._asked.popleft()
        with self._journal.asking():
            self._show_new()
            if not self._look(self._horizon(len(self._turns), len(self._journal.trials))):
                return None
            return self._sent_on() or self._new() or self._last_sent_on()

    def _begun_again(self, stack: list[FrozenTrial]) -> list[FrozenTrial]:
        """Trials that were started before; those that have been more than twice are no company for others."""
        if len(stack) > 1 and any(t.user_attrs["starts"] >= ALONE_AFTER for t in stack):
            self._ready.extendleft([t] for t in reversed(stack))
            stack = self._ready.popleft()
        self._starts.update(t.number for t in stack)
        return [self._journal.start(t) for t in stack]

    def leave(self) -> list[FrozenTrial]:
        """Paused trials, once nobody is left who could send them on."""
        trials = self._journal.trials
        if any(self._journal.theirs(t) for t in trials if t.state == TrialState.RUNNING):
            return []
        paused = [t for t in trials if t.state == TrialState.WAITING]
        return self._journal.leave([(t, f"paused at step {pauses(t)[-1]} and was not sent on") for t in paused])

    def orders(self, trial: FrozenTrial) -> Orders:
        """What a started trial takes along: the same whenever and wherever it is run again."""
        return self._orders[trial.number]

    def poison(self, trial: FrozenTrial) -> Failed | None:
        """The outcome of a trial that has been started too often to be tried again."""
        before = trial.user_attrs["starts"] - 1
        if before < self._settings.max_starts:
            return None
        return Failed(f"poison: started {before} times without an end (hydra.sweeper.max_starts)")

    def killed(self, stack: Sequence[FrozenTrial]) -> None:
        """Lines trials up once more, together, after a kill from outside."""
        self._ready.append([self._journal.trials[t.number] for t in stack])

    def again(self, trial: FrozenTrial, outcome: Outcome) -> bool:
        """Lines a trial up once more, alone, if it crashed and has tries left."""
        if not isinstance(outcome, Failed) or not outcome.again:
            return False
        if self._retries[trial.number] >= self._settings.retries:
            return False
        self._retries[trial.number] += 1
        self._ready.append([self._journal.trials[trial.number]])
        return True

    def release(self) -> None:
        """Takes back the starts of this sweep's unended trials: an end from outside is no fault."""
        if self._journal.broken:
            return
        for trial in self._journal.trials:
            if trial.state == TrialState.RUNNING and self._starts[trial.number]:
                self._journal.start(trial, by=-1)

    def overrides(self, trial: FrozenTrial) -> list[str]:
        """What the trial's configuration is composed with."""
        given = trial.number < self._settings.before
        swept = self._point(trial.number).overrides if given else self._plan.space.overrides(trial.params)
        key = self._settings.seed_key
        seed = [f"{key}={trial.user_attrs['seed']}"] if key else []
        fold = [f"{self._parts.key}=0"] if self._parts is not None and self._parts.what == "fold" else []
        return [*self._plan.fixed, *swept, *seed, *fold]

    def _look(self, horizon: int) -> bool:
        """Whether the turns below have ended; takes in what has happened there, and no more."""
        if self._settings.schedule == "async":
            self._see_all()
            return True
        if not self._turns.have_ended(self._journal.trials, horizon):
            return False
        self._see(horizon)
        return True

    def _horizon(self, turn: int, number: int) -> int:
        """Turns below this must have ended before trial `number` is asked at `turn`: so many that `lag` may be running.

        What is seen is the same for all of a unit, and of a stack, which ends as one, all is seen or nothing.
        """
        start = turn - (number - self._units.of(number).start)
        horizon = start + 1 - self._settings.lag
        if horizon <= 0:
            return 0
        stacks = [t.stack for t in self._turns.between(horizon - 1, start)]
        while len(stacks) > 1 and stacks[0] == stacks[1]:
            horizon, stacks = horizon + 1, stacks[1:]
        return horizon

    def _see(self, horizon: int) -> None:
        """Takes in the outcomes of all turns below."""
        for trial in self._turns.look(self._journal.trials, horizon):
            self._take_in(trial)

    def _see_all(self) -> None:
        """Takes in whatever has ended or paused."""
        for trial in self._journal.index.ended[self._ended :]:
            self._take_in(trial)
        self._ended = len(self._journal.index.ended)
        for trial in self._journal.trials if self._history.pauses else ():
            if trial.state == TrialState.WAITING and self._paused[trial.number] < len(pauses(trial)):
                self._paused[trial.number] = len(pauses(trial))
                self._take_in(at_last_pause(trial))

    def _take_in(self, trial: FrozenTrial) -> None:
        self._view.tell(trial)
        self._history.learn(trial)
        if trial.state == TrialState.COMPLETE and self._parts is not None:
            self._rival = min(trial, self._rival or trial, key=self._journal.index.rank)
        self._looked.append(trial)
        self.budget.look(self._looked)

    def _show_new(self) -> None:
        """Shows the sampler trials that it has not proposed here: of earlier calls, and of other sweeps."""
        trials = self._journal.trials
        for trial in trials[self._shown :]:
            self._view.show(trial)
        self._shown = len(trials)

    def _new(self) -> list[FrozenTrial] | None:
        """Asks a unit of trials; the first of its stacks."""
        first = len(self._journal.trials)
        unit = self._units.of(first)
        numbers = [n for n in range(first, unit.stop) if self.budget.allows(n)]
        if not numbers:
            return None
        templates = [self._given(n) if n < self._settings.before else self._proposed(n) for n in numbers]
        stacks = self._settings.population.stacks([self._shape(t) for t in templates], self._units.stack(len(numbers)))
        turns = self._places(stacks)
        if self._history.pauses or self._settings.population.size > 1:
            for place, turn in turns.items():
                templates[place].set_user_attr("turns", [turn])
        self._shown = first + len(numbers)
        return self._started(self._journal.ask(templates), stacks, turns)

    def _places(self, stacks: Sequence[Sequence[int]]) -> dict[int, tuple[int, int, int]]:
        """Of each place in the stacks: its turn, how far has been looked, and the first turn of its stack."""
        turns = count(len(self._turns))
        placed = {}
        for stack in stacks:
            numbered = [(place, next(turns)) for place in stack]
            placed.update({place: (turn, self._turns.seen, numbered[0][1]) for place, turn in numbered})
        return placed

    def _started(
        self, trials: Sequence[FrozenTrial], stacks: Sequence[Sequence[int]], turns: Mapping[int, tuple[int, int, int]]
    ) -> list[FrozenTrial]:
        """Notes that these have been decided on; the first of their stacks."""
        for place, (_, seen, stack) in turns.items():
            trial = trials[place]
            self._turns.add(Turn(trial.number, len(pauses(trial)), seen, stack))
            self._starts[trial.number] += 1
            self._give_orders(trial)
        self._asked.extend([trials[place] for place in stack] for stack in stacks)
        return self._asked.popleft()

    def _shape(self, trial: FrozenTrial) -> dict[str, Value]:
        """What it must share with the others of its stack."""
        values = trial.user_attrs.get("outside", trial.params)
        return {k: values[k] for k in self._settings.population.shape_knobs if k in values}

    def _sent_on(self, *, last: bool = False) -> list[FrozenTrial] | None:
        """Paused trials that are good enough, on their way again; the first of their stacks."""
        trials = self._journal.trials
        ready = (
            trials[number]
            for number, step in (self._history.promotions(last=last) if self.budget.allows(0) else ())
            if trials[number].state == TrialState.WAITING and pauses(trials[number])[-1] == step
        )
        chosen = list(islice(ready, self._units.length))
        if not chosen:
            return None
        most = self._units.stack(self._units.length)
        stacks = self._settings.population.stacks([self._shape(t) for t in chosen], most)
        turns = self._places(stacks)
        sent = [(trial, [*trial.user_attrs["turns"], turns[place]]) for place, trial in enumerate(chosen)]
        return self._started(self._journal.send_on(sent), stacks, turns)

    def _last_sent_on(self) -> list[FrozenTrial] | None:
        """With nothing new to start, what still runs is waited for, and all of it decides."""
        if not self._history.pauses or any(t.state == TrialState.RUNNING for t in self._journal.trials):
            return None
        self._look(len(self._turns))
        return self._sent_on() or self._sent_on(last=True)

    def _give_orders(self, trial: FrozenTrial) -> None:
        """A trial is judged by what has been seen when it starts, and by nothing after that."""
        trials, number = self._journal.trials, trial.number
        steps = pauses(trial)
        spared = self._is_baseline(number) and not self._settings.prune_baseline
        rule = None if spared else self._history.rule(number, steps[-1] if steps else None)
        self._orders = {n: o for n, o in self._orders.items() if not trials[n].state.is_finished()}
        stretch = len(steps) if rule is not None and self._history.pauses else None
        self._orders[number] = Orders(rule, stretch, self._repeats(spared), trial.user_attrs["seed"])

    def _each(self) -> Repeats | None:
        """The seeds or folds that every configuration runs on; None if it is one."""
        match self._settings.repeated:
            case "seed":
                return Repeats(str(self._settings.seed_key), self._seeds)
            case "fold":
                return Repeats(str(self._settings.fold_key), tuple(range(self._settings.folds)), what="fold")
        return None

    def _repeats(self, spared: bool) -> Repeats | None:
        """The seeds or folds of a configuration, with what it must not be hopelessly worse than."""
        if self._parts is None or spared or self._rival is None:
            return self._parts
        sign = -1 if self._settings.directions[0] == "maximize" else 1
        return replace(self._parts, rival=self._rival.number, values=by_seed(self._rival), sign=sign)

    def _is_baseline(self, number: int) -> bool:
        return number == 0 and self._settings.baseline

    def _point(self, number: int) -> Point:
        """The baseline or a point to try first."""
        if self._is_baseline(number):
            return self._plan.default()
        return self._plan.first[number - int(self._settings.baseline)]

    def _given(self, number: int) -> FrozenTrial:
        point = self._point(number)
        proposal = Proposal.of(self._plan.space, point.params if point.inside else {}, {})
        attributes: dict[str, object] = {"baseline": True} if self._is_baseline(number) else {}
        if not point.inside:
            attributes["outside"] = point.params
        template = self._template(number, proposal, attributes)
        self._view.show(template)
        return template

    def _proposed(self, number: int) -> FrozenTrial:
        sampler: Sampler = self._settings.sampler
        index = number - self._settings.before
        space, seed = self._plan.space, self._settings.sampler_seed
        return self._template(number, self._view.propose(sampler, space, seed, number, index), {})

    def _template(self, number: int, proposal: Proposal, attributes: dict[str, object]) -> FrozenTrial:
        """What the journal is asked to add."""
        seed = self._seeds[0] if self._settings.seeds > 1 else derive(self._settings.seed, number)
        template = create_trial(
            state=TrialState.RUNNING,
            params=proposal.params,
            distributions=proposal.distributions,
            user_attrs={"seed": seed, "starts": 1, **self._journal.mine(), **attributes},
            system_attrs=proposal.memory,
        )
        template.number = number
        return template
