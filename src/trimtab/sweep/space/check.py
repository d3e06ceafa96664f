"""Holds the search space against the composed configuration, before anything runs."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString, Transformer
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from optuna.distributions import FloatDistribution

from trimtab.errors import SweepError
from trimtab.sweep.space.compose import Composer, held, names
from trimtab.sweep.space.custom import extension
from trimtab.sweep.space.grammar import Wishes
from trimtab.sweep.space.knobs import Knob, Space, Value, key_of, nearest


@dataclass(frozen=True)
class Plan:
    """A search space that fits its configuration.

    Attributes:
        space: the knobs.
        fixed: overrides of every trial.
        baseline: the configuration without swept overrides (with first options where it cannot do without).
        composer: makes configurations.
        first: points to try before the sampler is asked.
        needed: options without which nothing can be composed: of swept groups that have no default.
    """

    space: Space
    fixed: tuple[str, ...]
    baseline: DictConfig
    composer: Composer
    first: tuple["Point", ...] = ()
    needed: tuple[str, ...] = ()

    def default(self) -> "Point":
        """Where the baseline lies."""
        return _located(self.space, self.baseline, ())


@dataclass(frozen=True)
class Point:
    """A setting of the knobs that no sampler proposed.

    Attributes:
        params: values by name of the knob.
        inside: whether it lies in the space; if not, samplers must not see it.
        overrides: what sets it, beyond the fixed ones.
    """

    params: dict[str, Value]
    inside: bool
    overrides: tuple[str, ...]


def _located(space: Space, cfg: DictConfig, overrides: tuple[str, ...]) -> Point:
    """The point that a configuration is."""
    inside = True
    point: dict[str, Value] = {}
    known: dict[str, Any] = {}
    for knob in space.knobs:
        if not knob.active(known):
            continue
        try:
            known[knob.key] = held(cfg, knob.key)
            point[knob.name] = knob.find(known[knob.key])
        except LookupError:
            inside = False
            if knob.key in known:
                point[knob.name] = _recorded(known[knob.key])
    return Point(point, inside, overrides)


def plan(
    wishes: Wishes,
    composer: Composer,
    try_first: Sequence[Mapping[str, Any]] = (),
    custom_search_space: str | None = None,
    *,
    baseline: bool = True,
) -> Plan:
    """Checks conditions, group options and keys.

    Args:
        wishes: what is asked for.
        composer: makes configurations.
        try_first: points to try before the sampler is asked; knobs left out are as configured.
        custom_search_space: dotted name of a function that suggests further knobs.
        baseline: whether the configuration must also be one without swept overrides.

    Raises:
        SweepError: names the knob, where it is set and the nearest name that there is.
    """
    reference, needed = _reference(wishes, composer, baseline)
    for knob in wishes.knobs:
        _check_options(knob, composer)
        _check_conditions(knob, composer)
    space = Space.of(wishes.knobs).settle(lambda name: _condition(reference, wishes, name))
    for overrides, chosen in _corners(space, composer):
        cfg = _compose(composer, (*wishes.fixed, *completed(needed, overrides)), " ".join(overrides))
        present = names(cfg)
        for knob in space.knobs:
            if not composer.options(knob.key) and _exists(knob, chosen, composer):
                _check_key(knob, present, overrides)
                _check_kind(knob, cfg, [*wishes.fixed, *completed(needed, overrides)], composer)
    first = tuple(_first(given, space, wishes.fixed, needed, composer) for given in try_first)
    if custom_search_space is not None:
        keys = [line.partition("=")[0].lstrip("+~") for line in wishes.fixed]
        space = replace(space, extend=extension(custom_search_space, reference, keys))
    return Plan(space, wishes.fixed, reference, composer, first, needed)


def completed(needed: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """The overrides, and before them what a configuration needs beyond them."""
    given = {line.partition("=")[0] for line in overrides}
    return [*(n for n in needed if n.partition("=")[0] not in given), *overrides]


def _reference(wishes: Wishes, composer: Composer, baseline: bool) -> tuple[DictConfig, tuple[str, ...]]:
    """The configuration without swept overrides; if it need not be one, the one with first options of groups, these."""
    what = "the configuration without swept overrides"
    try:
        return _compose(composer, wishes.fixed, what), ()
    except SweepError as e:
        groups = tuple(k.override(k.at(0)) for k in wishes.knobs if not k.when and composer.options(k.key))
        if not groups:
            raise
        if baseline:
            raise SweepError(f"{e}; go without it by hydra.sweeper.baseline=false") from e
        return _compose(composer, (*wishes.fixed, *groups), f"the configuration with {' '.join(groups)}"), groups


def _first(
    given: Mapping[str, Any], space: Space, fixed: Sequence[str], needed: Sequence[str], composer: Composer
) -> Point:
    """A point to try first: what is given, the rest as configured under that."""
    if not isinstance(given, Mapping):
        raise SweepError(f"hydra.sweeper.try_first holds {given!r}; write a mapping from knobs to values")
    for key in given:
        if key not in space.names:
            raise SweepError(
                f"hydra.sweeper.try_first names {key!r}, which is no knob of this study{nearest(str(key), space.names)}"
            )
    overrides = tuple(completed(needed, [_setting(space.of_key(key), value) for key, value in given.items()]))
    cfg = _compose(composer, (*fixed, *overrides), f"hydra.sweeper.try_first {dict(given)}")
    point = _located(space, cfg, overrides)
    idle = given.keys() - {key_of(name) for name in point.params}
    if idle:
        raise SweepError(
            f"hydra.sweeper.try_first gives {min(idle)!r} a value where its condition does not hold: {dict(given)}"
        )
    return point


def _setting(knobs: Sequence[Knob], value: Any) -> str:
    """The override for a value, also one that is outside the knob's range."""
    text = Transformer.str(_quoted(value))
    for knob in knobs:
        if knob.texts and knob.holds(value):
            return knob.override(knob.find(value))
    return f"{knobs[0].prefix}{knobs[0].key}={text}"


def _quoted(value: Any) -> Any:
    return QuotedString(value, Quote.single) if isinstance(value, str) else value


def check_key(key: str, cfg: DictConfig, setting: str) -> None:
    """Refuses a dotted key that the configuration does not have."""
    present = names(cfg)
    if key not in present:
        raise SweepError(f"{setting} names {key!r}, which the configuration does not have{nearest(key, present)}")


def _condition(baseline: DictConfig, wishes: Wishes, name: str) -> Any:
    try:
        return held(baseline, name)
    except (LookupError, OmegaConfBaseException) as e:
        knob = next(k for k in wishes.knobs if any(c.name == name for c in k.when))
        raise SweepError(
            f"{knob.origin}: {knob.key!r} depends on {name!r}, which is neither a knob nor in the "
            f"configuration{nearest(name, names(baseline) | {k.key for k in wishes.knobs})}"
        ) from e


def _check_options(knob: Knob, composer: Composer) -> None:
    options = composer.options(knob.key)
    for value in knob.values if options else ():
        if isinstance(value, str) and value not in options:
            raise SweepError(
                f"{knob.origin}: {knob.key!r} can be {value!r}, but that config group has "
                f"{', '.join(options)}{nearest(value, options)}"
            )


def _check_conditions(knob: Knob, composer: Composer) -> None:
    """A condition on an option that does not exist would never hold, and the knob never be."""
    for condition in knob.when:
        options = composer.options(condition.name)
        for value in condition.allowed if options else ():
            if str(value) not in options:
                raise SweepError(
                    f"{knob.origin}: {knob.key!r} is searched when {condition.name!r} is {value!r}, but that config "
                    f"group has {', '.join(options)}{nearest(str(value), options)}"
                )


def _corners(space: Space, composer: Composer) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """The choices of groups to look at: none, each option alone, and what each condition needs; each once."""
    yield [], {}
    seen = set[tuple[str, ...]]([()])
    for knob in space.knobs:
        parents = _parents(knob, space, composer)
        corners = [parents] if knob.when else []
        if composer.options(knob.key):
            choices = getattr(knob.distribution, "choices", ())
            pairs = zip(choices, knob.values, strict=True)
            corners = [{**parents, knob.name: pair} for pair in pairs]
        for corner in corners:
            overrides = [space[n].override(choice) for n, (choice, _) in corner.items()]
            if tuple(overrides) not in seen:
                seen.add(tuple(overrides))
                yield overrides, {n: value for n, (_, value) in corner.items()}


def _parents(knob: Knob, space: Space, composer: Composer) -> dict[str, tuple[Value, Any]]:
    """Options under which a knob exists: the first allowed of each group that it depends on."""
    chosen: dict[str, tuple[Value, Any]] = {}
    for condition in knob.when:
        parent = next(k for k in space.of_key(condition.name) if k.holds(condition.allowed[0]))
        chosen |= _parents(parent, space, composer)
        if composer.options(parent.key):
            chosen[parent.name] = (parent.find(condition.allowed[0]), condition.allowed[0])
    return chosen


def _exists(knob: Knob, chosen: dict[str, Any], composer: Composer) -> bool:
    """Whether the configuration with these options must have the knob."""
    chosen = {key_of(name): value for name, value in chosen.items()}
    return all(c.holds(chosen) for c in knob.when if composer.options(c.name))


def _check_key(knob: Knob, present: Collection[str], overrides: Sequence[str]) -> None:
    if knob.prefix:
        return
    where = f"under {' '.join(overrides)} " if overrides else ""
    if knob.key not in present:
        raise SweepError(
            f"{knob.origin} sweeps {knob.key!r}, which the configuration {where}does not have"
            f"{nearest(knob.key, [name for name in present if not name.endswith(f'.{knob.key}')])}"
            f"{_remedy(knob, overrides)}"
        )


def _check_kind(knob: Knob, cfg: DictConfig, overrides: Sequence[str], composer: Composer) -> None:
    """Refuses an interval of numbers where the configuration takes whole ones: nearly every trial would fail."""
    known = OmegaConf.select(cfg, knob.key)
    if not isinstance(knob.distribution, FloatDistribution) or not isinstance(known, int):
        return
    proposed = knob.override(knob.at(0.37))
    try:
        composer.compose([*overrides, proposed])
    except (HydraException, OmegaConfBaseException) as e:
        low, high = (f"{end:g}" for end in (knob.distribution.low, knob.distribution.high))
        raise SweepError(
            f"{knob.origin}: {knob.key!r} takes whole numbers, but the interval proposes such as {proposed}; write "
            f"int(interval({low}, {high})), in which both ends are included"
        ) from e


def _remedy(knob: Knob, overrides: Sequence[str]) -> str:
    if not overrides:
        return "" if knob.when else " (a key of some options of a group only needs a `when`)"
    return f"; give it a condition: when: {{{overrides[-1].split('=')[0]}: ...}}"


def _compose(composer: Composer, overrides: Sequence[str], what: str) -> DictConfig:
    try:
        return composer.compose(overrides)
    except (HydraException, OmegaConfBaseException) as e:
        detail = " ".join(f"{e} {e.__cause__ or ''}".split())
        raise SweepError(f"{what} cannot be composed: {detail}") from e


def _recorded(value: Any) -> Value:
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
