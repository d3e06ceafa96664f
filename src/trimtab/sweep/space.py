"""The search space: knobs, the values they can take and the conditions under which they exist."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial

from trimtab.errors import SweepError

Value = None | bool | int | float | str


@dataclass(frozen=True)
class Condition:
    """`name` (a knob, a config group or a dotted key) has one of the values `allowed`."""

    name: str
    allowed: tuple[Any, ...]

    def holds(self, values: Mapping[str, Any]) -> bool:
        """False too where `name` itself does not exist."""
        return self.name in values and any(same(values[self.name], a) for a in self.allowed)


@dataclass(frozen=True)
class Knob:
    """One hyperparameter.

    Attributes:
        name: dotted key, or config group (`optimizer`, `db/engine@backup`).
        distribution: its range or choices; choices that Optuna cannot hold stand there as text.
        texts: for choices, what is written behind `name=` in an override, in the same order.
        values: for choices, what the configuration then holds.
        prefix: `+` or `++` for a key that the configuration does not have.
        role: scientific or nuisance.
        when: conditions, all of which must hold.
        origin: where it is set, for error messages.
    """

    name: str
    distribution: BaseDistribution
    texts: tuple[str, ...] = ()
    values: tuple[Any, ...] = ()
    prefix: str = ""
    role: str | None = None
    when: tuple[Condition, ...] = ()
    origin: str = "hydra.sweeper.params"

    def active(self, values: Mapping[str, Any]) -> bool:
        """Whether the knob exists, given the values of the knobs it depends on."""
        return all(c.holds(values) for c in self.when)

    def suggest(self, trial: Trial) -> Value:
        """Asks Optuna's trial for a value."""
        match self.distribution:
            case FloatDistribution(low=low, high=high, log=log, step=step):
                return trial.suggest_float(self.name, low, high, log=log, step=step)
            case IntDistribution(low=low, high=high, log=log, step=step):
                return trial.suggest_int(self.name, low, high, log=log, step=step)
            case CategoricalDistribution(choices=choices):
                return trial.suggest_categorical(self.name, choices)
        raise AssertionError(self.distribution)

    def override(self, value: Value) -> str:
        """The override that sets the knob to `value`."""
        return f"{self.prefix}{self.name}={self._text(value)}"

    def _text(self, value: Value) -> str:
        if isinstance(self.distribution, CategoricalDistribution):
            return self.texts[self.distribution.choices.index(value)]
        return repr(value)

    def points(self) -> tuple[Value, ...]:
        """All values of a discrete knob, in order.

        Raises:
            SweepError: the knob is continuous.
        """
        match self.distribution:
            case CategoricalDistribution(choices=choices):
                return tuple(choices)
            case IntDistribution(low=low, high=high, step=step):
                return tuple(range(low, high + 1, step))
            case FloatDistribution(low=low, high=high, step=float(step)):
                count = round((high - low) / step)
                return tuple(min(high, low + i * step) for i in range(count + 1))
        raise SweepError(
            f"a grid needs discrete knobs, but {self.name!r} is an interval ({self.origin}); write "
            f"range({self.distribution.low}, {self.distribution.high}, step) or choice(...), "  # type: ignore[attr-defined]
            "or take hydra/sweeper/sampler=tpe"
        )

    def find(self, configured: Any) -> Value:
        """The value of this knob that a configuration holding `configured` has.

        Raises:
            LookupError: `configured` is not among the knob's values.
        """
        if isinstance(self.distribution, CategoricalDistribution):
            for choice, value in zip(self.distribution.choices, self.values, strict=True):
                if same(value, configured):
                    return choice
            raise LookupError(configured)
        whole = isinstance(self.distribution, IntDistribution)
        if isinstance(configured, bool) or not isinstance(configured, int if whole else int | float):
            raise LookupError(configured)
        if not self.distribution._contains(configured):
            raise LookupError(configured)
        return configured if whole else float(configured)


@dataclass(frozen=True)
class Space:
    """The knobs, sorted by name, each after those that it depends on; the order is part of the study."""

    knobs: tuple[Knob, ...]

    @classmethod
    def of(cls, knobs: Iterable[Knob]) -> "Space":
        """Orders the knobs.

        Raises:
            SweepError: conditions run in a circle.
        """
        waiting = {k.name: k for k in sorted(knobs, key=lambda k: k.name)}
        done: dict[str, Knob] = {}
        while waiting:
            ready = [k for k in waiting.values() if not any(c.name in waiting for c in k.when)]
            if not ready:
                raise SweepError(
                    f"the conditions of {', '.join(map(repr, waiting))} run in a circle; remove one `when`"
                )
            done[ready[0].name] = waiting.pop(ready[0].name)
        return cls(tuple(done.values()))

    def __getitem__(self, name: str) -> Knob:
        return next(k for k in self.knobs if k.name == name)

    @property
    def names(self) -> frozenset[str]:
        """Names of all knobs, active or not."""
        return frozenset(k.name for k in self.knobs)

    def choose(self, pick: Callable[[Knob], Value]) -> dict[str, Value]:
        """One point: `pick` is asked for each knob that exists, parents first."""
        point: dict[str, Value] = {}
        for knob in self.knobs:
            if knob.active(self._configured(point)):
                point[knob.name] = pick(knob)
        return point

    def overrides(self, point: Mapping[str, Value]) -> list[str]:
        """The overrides that set a point."""
        return [k.override(point[k.name]) for k in self.knobs if k.name in point]

    def points(self) -> Iterator[dict[str, Value]]:
        """All points of a discrete space; those that conditions make equal come once."""
        yield from self._points({}, self.knobs)

    def _points(self, point: dict[str, Value], knobs: Sequence[Knob]) -> Iterator[dict[str, Value]]:
        if not knobs:
            yield point
        elif not knobs[0].active(self._configured(point)):
            yield from self._points(point, knobs[1:])
        else:
            for value in knobs[0].points():
                yield from self._points({**point, knobs[0].name: value}, knobs[1:])

    def _configured(self, point: Mapping[str, Value]) -> dict[str, Any]:
        """What the configuration holds for a point: a choice kept as text becomes its value."""
        held = {}
        for name, value in point.items():
            knob = self[name]
            choices = getattr(knob.distribution, "choices", ())
            held[name] = knob.values[choices.index(value)] if knob.values else value
        return held

    def settle(self, lookup: Callable[[str], Any]) -> "Space":
        """Decides the conditions on what is no knob, and drops the knobs that can never exist.

        Args:
            lookup: value of a fixed config group or key; raises LookupError for an unknown one.
        """
        knobs, names = [], self.names
        for knob in self.knobs:
            self._check_conditions(knob)
            fixed = [c for c in knob.when if c.name not in names]
            if all(c.holds({c.name: lookup(c.name)}) for c in fixed):
                knobs.append(replace(knob, when=tuple(c for c in knob.when if c.name in names)))
        kept = Space.of(knobs)
        return kept if kept.names == names else _without_orphans(kept, names)

    def _check_conditions(self, knob: Knob) -> None:
        for condition in knob.when:
            parent = next((k for k in self.knobs if k.name == condition.name), None)
            for allowed in condition.allowed if parent else ():
                try:
                    parent.find(allowed)  # type: ignore[union-attr]
                except LookupError as e:
                    raise SweepError(
                        f"{knob.origin}: {knob.name!r} exists when {condition.name!r} is "
                        f"{allowed!r}, which it never is{nearest(str(allowed), parent.texts)}"  # type: ignore[union-attr]
                    ) from e

    def describe(self) -> dict[str, dict[str, Any]]:
        """Kind, range, role and condition of each knob, as JSON keeps them."""
        return {k.name: _describe(k) for k in self.knobs}


def same(a: Any, b: Any) -> bool:
    """Equality that keeps True apart from 1."""
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or nothing if no known name is near."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def _without_orphans(space: Space, before: frozenset[str]) -> Space:
    """Drops knobs that depend on a dropped one, until none does."""
    dropped = before - space.names
    knobs = [k for k in space.knobs if not any(c.name in dropped for c in k.when)]
    smaller = Space.of(knobs)
    return smaller if smaller.names == space.names else _without_orphans(smaller, before)


def _describe(knob: Knob) -> dict[str, Any]:
    d = knob.distribution
    kinds = {FloatDistribution: "float", IntDistribution: "int", CategoricalDistribution: "choice"}
    when = {c.name: c.allowed[0] if len(c.allowed) == 1 else list(c.allowed) for c in knob.when}
    return {
        "kind": kinds[type(d)],
        "log": bool(getattr(d, "log", False)),
        "low": getattr(d, "low", None),
        "high": getattr(d, "high", None),
        "step": getattr(d, "step", None),
        "choices": list(d.choices) if isinstance(d, CategoricalDistribution) else None,
        "role": knob.role,
        "when": when or None,
    }
