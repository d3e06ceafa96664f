"""From `hydra.sweeper.params` and the command line to knobs, by Hydra's own override parser."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import combinations
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    RangeSweep,
    Transformer,
)
from hydra.errors import HydraException
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from trimtab.errors import SweepError
from trimtab.sweep.space.knobs import IF, Condition, Knob, nearest, same

PARAMS = "hydra.sweeper.params"
COMMAND_LINE = "the command line"
ROLES = ("scientific", "nuisance")


@dataclass(frozen=True)
class Wishes:
    """What params and the command line ask for.

    Attributes:
        knobs: what is swept.
        fixed: overrides that hold for every trial, in the order in which they apply.
    """

    knobs: tuple[Knob, ...]
    fixed: tuple[str, ...]


def parse(params: Mapping[str, Any] | None, arguments: Sequence[str], loader: ConfigLoader) -> Wishes:
    """Reads both; the command line wins, and its last value of a key counts, swept or not.

    Raises:
        SweepError: a line is not in Hydra's grammar, or its range holds no value.
    """
    parser = OverridesParser.create(config_loader=loader)
    knobs: dict[str, list[Knob]] = {}
    fixed: dict[str, str] = {}
    for key, entry in (params or {}).items():
        found = _from_params(parser, key, entry)
        name = found[0].key if isinstance(found, list) else _name(found)
        if name in knobs or name in fixed:
            raise SweepError(f"{PARAMS} sets {name!r} twice, with and without a +; remove one")
        if isinstance(found, list):
            knobs[name] = found
        else:
            fixed[name] = _line(found)
    typed: list[tuple[str, str]] = []
    for argument in arguments:
        override = _parse(parser, argument, COMMAND_LINE)
        name = _name(override)
        if override.is_sweep_override():
            knobs[name] = _retyped(_knob(override, COMMAND_LINE), knobs.get(name, []))
        else:
            knobs.pop(name, None)
            fixed.pop(name, None)
            typed.append((name, argument))
    kept = [line for name, line in [*fixed.items(), *typed] if name not in knobs]
    return Wishes(tuple(k for several in knobs.values() for k in several), tuple(kept))


def _from_params(parser: OverridesParser, key: str, entry: Any) -> list[Knob] | Override:
    """A swept value becomes a knob, a list of `{values, when}` one for each; a fixed one stays an override."""
    if isinstance(entry, list) and entry and all(isinstance(e, Mapping) and "values" in e for e in entry):
        return _cases(key, [_entry(parser, key, e) for e in entry])
    found = _entry(parser, key, entry)
    return [found] if isinstance(found, Knob) else found


def _cases(key: str, knobs: Sequence[Knob | Override]) -> list[Knob]:
    """One knob for each range of a key, named by its condition: samplers learn about each apart."""
    named = []
    for knob in knobs:
        if not isinstance(knob, Knob) or not knob.when:
            raise SweepError(
                f"{PARAMS} gives {key!r} several ranges, so each needs a `when` and more than one value; write e.g. "
                "- {values: 'interval(0, 1)', when: {optimizer: sgd}}"
            )
        conditions = ", ".join(f"{c.name}={'|'.join(map(str, c.allowed))}" for c in knob.when)
        named.append(replace(knob, name=f"{knob.name}{IF}{conditions}"))
    for one, other in combinations(named, 2):
        if not any(_disjoint(a, b) for a in one.when for b in other.when if a.name == b.name):
            raise SweepError(
                f"{PARAMS} gives {key!r} two ranges that can hold at once ({one.name!r} and {other.name!r}); make "
                "their `when` exclude each other"
            )
    return named


def _disjoint(one: Condition, other: Condition) -> bool:
    return not any(same(a, b) for a in one.allowed for b in other.allowed)


def _entry(parser: OverridesParser, key: str, entry: Any) -> Knob | Override:
    """One value or range, as in the official sweeper, or with options."""
    options: Mapping[str, Any] = entry if isinstance(entry, Mapping) else {"values": entry}
    for option in options:
        if option not in ("values", "role", "when"):
            raise SweepError(
                f"{PARAMS} gives {key!r} the option {option!r}; it takes values, role and when"
                + nearest(str(option), ("values", "role", "when"))
            )
    if "values" not in options:
        raise SweepError(f"{PARAMS} gives {key!r} no `values`; write e.g. values: choice(1, 2)")
    values = options["values"]
    text = values if isinstance(values, str) else Transformer.str(values)
    override = _parse(parser, f"{key}={text}", PARAMS)
    if not override.is_sweep_override():
        return override
    role = options.get("role")
    if role is not None and role not in ROLES:
        raise SweepError(
            f"{PARAMS} gives {key!r} the role {role!r}; it can be {' or '.join(ROLES)}" + nearest(str(role), ROLES)
        )
    return replace(_knob(override, PARAMS), role=role, when=_conditions(key, options.get("when")))


def _conditions(key: str, when: Any) -> tuple[Condition, ...]:
    if when is None:
        return ()
    if not isinstance(when, Mapping):
        raise SweepError(f"{PARAMS} gives {key!r} the condition {when!r}; write e.g. when: {{optimizer: sgd}}")
    return tuple(
        Condition(name, tuple(allowed) if isinstance(allowed, list) else (allowed,)) for name, allowed in when.items()
    )


def _retyped(new: Knob, old: Sequence[Knob]) -> list[Knob]:
    """The command line changes a knob's values; role and conditions stay those of params."""
    return [replace(new, name=o.name, role=o.role, when=o.when) for o in old] or [new]


def _parse(parser: OverridesParser, line: str, origin: str) -> Override:
    try:
        return parser.parse_overrides([line])[0]  # unlike parse_override, lets a glob know the options
    except HydraException as e:
        raise SweepError(f"{origin} has {line!r}, which Hydra cannot read: {e}") from e


def _name(override: Override) -> str:
    package = f"@{override.package}" if override.package else ""
    return f"{override.key_or_group}{package}"


def _line(override: Override) -> str:
    return override.input_line or ""


def _knob(override: Override, origin: str) -> Knob:
    name = _name(override)
    prefix = "++" if override.is_force_add() else "+" if override.is_add() else ""
    wrong = _Complaint(origin, name, override.get_value_string())
    sweep = override.value()
    if override.is_choice_sweep():
        distribution, texts, values = _choices(override, wrong)
        return Knob(name, distribution, texts, values, prefix, origin=origin)
    log = "log" in sweep.tags  # type: ignore[union-attr]
    if isinstance(sweep, RangeSweep):
        return Knob(name, _range(sweep, log, wrong), prefix=prefix, origin=origin)
    if isinstance(sweep, IntervalSweep):
        return Knob(name, _interval(sweep, log, wrong), prefix=prefix, origin=origin)
    raise wrong("is no sweep", "write choice(...), range(...) or interval(...)")


@dataclass(frozen=True)
class _Complaint:
    origin: str
    name: str
    text: str

    def __call__(self, rule: str, remedy: str) -> SweepError:
        return SweepError(f"{self.origin}: {self.name!r} = {self.text} {rule}; {remedy}")


def _choices(override: Override, wrong: _Complaint) -> tuple[CategoricalDistribution, tuple[str, ...], tuple[Any, ...]]:
    """Optuna keeps plain values as they are; lists, mappings and look-alikes (1, True) as text."""
    # Not in shuffled order, which would be another at each call.
    sweep = override.value()
    elements = list(sweep.list if isinstance(sweep, ChoiceSweep) else override.sweep_iterator())
    if not elements:
        raise wrong("has no values", "name at least one")
    if "log" in getattr(override.value(), "tags", ()):
        raise wrong("is a list of choices on a log scale", "leave out tag(log, ...)")
    texts = tuple(Transformer.str(e) for e in elements)
    if len(set(texts)) < len(texts):
        raise wrong("has a choice twice", "name each once")
    values = tuple(Override._convert_value(e) for e in elements)
    plain = [v for v in values if v is None or isinstance(v, bool | int | float | str)]
    distinct = len(plain) == len(values) == len(set(plain))
    return CategoricalDistribution(plain if distinct else texts), texts, values


def _range(sweep: RangeSweep, log: bool, wrong: _Complaint) -> BaseDistribution:
    """Hydra's range: the end is exclusive."""
    start, stop, step = (Decimal(repr(x)) for x in (sweep.start, sweep.stop, sweep.step))
    count = math.ceil((stop - start) / step) if step else 0
    if count <= 0:
        raise wrong("holds no value (the end is exclusive)", "give an end beyond the start")
    low, high = sorted((start, start + (count - 1) * step))
    if log and (low <= 0 or abs(step) != 1):
        raise wrong("is on a log scale", "that takes positive whole numbers and step 1")
    if all(isinstance(x, int) for x in (sweep.start, sweep.stop, sweep.step)):
        return IntDistribution(int(low), int(high), log=log, step=int(abs(step)))
    if log:
        raise wrong("is on a log scale", "that takes positive whole numbers and step 1")
    return FloatDistribution(float(low), float(high), step=float(abs(step)))


def _interval(sweep: IntervalSweep, log: bool, wrong: _Complaint) -> BaseDistribution:
    """`int(interval(a, b))` includes both ends."""
    low, high = sweep.start, sweep.end
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        raise wrong("is not finite", "give two numbers")
    if low >= high:
        raise wrong("is empty", "give the lower end first")
    if log and low <= 0:
        raise wrong("is on a log scale and reaches down to 0 or below", "start above 0")
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(float(low), float(high), log=log)
