"""The search space: knobs, the values they can take and the conditions under which they exist."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from hydra.core.override_parser.types import Transformer
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, Trial

from trimtab.errors import SweepError

Value = None | bool | int | float | str
IF = " if "
"""Parts a key from its condition in the name of a knob whose range depends on another's value."""


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
        name: its key; with the condition behind it (`lr if opt=sgd`) where the key has several ranges.
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

    @property
    def key(self) -> str:
        """Dotted key, or config group (`optimizer`, `db/engine@backup`)."""
        return key_of(self.name)

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
        return f"{self.prefix}{self.key}={self._text(value)}"

    def _text(self, value: Value) -> str:
        if isinstance(self.distribution, CategoricalDistribution):
            return self.texts[self.distribution.choices.index(value)]
        return repr(value)

    def configured(self, value: Value) -> Any:
        """What the configuration holds where the knob has `value`: a choice kept as text becomes its value."""
        if isinstance(self.distribution, CategoricalDistribution):
            return self.values[self.distribution.choices.index(value)]
        return value

    def at(self, u: float) -> Value:
        """The value at the quantile `u` in [0, 1) of the knob's own scale; whole numbers and choices evenly."""
        d = self.distribution
        if isinstance(d, CategoricalDistribution):
            return d.choices[min(int(u * len(d.choices)), len(d.choices) - 1)]
        assert isinstance(d, FloatDistribution | IntDistribution)
        low, high = _ends(d)
        value = math.exp(low + u * (high - low)) if d.log else low + u * (high - low)
        if isinstance(d, IntDistribution):
            return min(d.high, max(d.low, d.low + round((value - d.low) / d.step) * d.step))
        if d.step is not None:
            value = d.low + round((value - d.low) / d.step) * d.step
        return min(d.high, max(d.low, value))

    def where(self, value: Value) -> float:
        """The quantile of a value: the inverse of `at`."""
        d = self.distribution
        if isinstance(d, CategoricalDistribution):
            return (d.choices.index(value) + 0.5) / len(d.choices)
        assert isinstance(d, FloatDistribution | IntDistribution)
        assert isinstance(value, int | float)
        low, high = _ends(d)
        return ((math.log(value) if d.log else value) - low) / (high - low) if high > low else 0.5

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

    def holds(self, configured: Any) -> bool:
        """Whether `configured` is among the knob's values."""
        try:
            self.find(configured)
        except LookupError:
            return False
        return True


@dataclass(frozen=True)
class Space:
    """The knobs, sorted by name, each after those that it depends on; the order is part of the study.

    Attributes:
        extend: suggests further knobs for a point, as Optuna's users write it.
    """

    knobs: tuple[Knob, ...]
    extend: Callable[[Trial], None] | None = None

    @classmethod
    def of(cls, knobs: Iterable[Knob]) -> "Space":
        """Orders the knobs.

        Raises:
            SweepError: conditions run in a circle.
        """
        waiting = {k.name: k for k in sorted(knobs, key=lambda k: k.name)}
        done: dict[str, Knob] = {}
        while waiting:
            keys = {k.key for k in waiting.values()}
            ready = [k for k in waiting.values() if not any(c.name in keys for c in k.when)]
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
        """Keys of all knobs, active or not."""
        return frozenset(k.key for k in self.knobs)

    def of_key(self, key: str) -> list[Knob]:
        """The knobs that set a key: several where its range depends on another's value."""
        return [k for k in self.knobs if k.key == key]

    def choose(self, pick: Callable[[Knob], Value]) -> dict[str, Value]:
        """One point: `pick` is asked for each knob that exists, parents first."""
        point: dict[str, Value] = {}
        held: dict[str, Any] = {}
        for knob in self.knobs:
            if knob.active(held):
                point[knob.name] = value = pick(knob)
                held[knob.key] = knob.configured(value)
        return point

    def overrides(self, point: Mapping[str, Value]) -> list[str]:
        """The overrides that set a point."""
        known = {k.name for k in self.knobs}
        added = [f"{name}={Transformer.str(value)}" for name, value in point.items() if name not in known]
        return [*(k.override(point[k.name]) for k in self.knobs if k.name in point), *added]

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
        """What the configuration holds for a point, by key."""
        knobs = (self[name] for name in point)
        return {k.key: k.configured(point[k.name]) for k in knobs}

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
            parents = self.of_key(condition.name)
            for allowed in condition.allowed if parents else ():
                if not any(p.holds(allowed) for p in parents):
                    known = [text for p in parents for text in p.texts]
                    raise SweepError(
                        f"{knob.origin}: {knob.key!r} exists when {condition.name!r} is "
                        f"{allowed!r}, which it never is{nearest(str(allowed), known)}"
                    )

    def describe(self) -> dict[str, dict[str, Any]]:
        """Kind, range, role and condition of each knob, as JSON keeps them."""
        return {k.name: _describe(k) for k in self.knobs}


def key_of(name: str) -> str:
    """The key that a knob of this name sets."""
    return name.split(IF)[0]


def params(trial: FrozenTrial) -> dict[str, Value]:
    """The values of the knobs by key, also those of a trial outside the space."""
    if (outside := trial.user_attrs.get("outside")) is not None:
        return {key_of(name): value for name, value in outside.items()}
    return {key_of(name): value for name, value in trial.params.items()}


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


def _ends(d: FloatDistribution | IntDistribution) -> tuple[float, float]:
    """The ends of a scale on which every value has an equal share; logarithms on a log scale."""
    half = 0.5 * d.step if d.step is not None else 0.0
    low, high = d.low - half, d.high + half
    return (math.log(low), math.log(high)) if d.log else (low, high)


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
