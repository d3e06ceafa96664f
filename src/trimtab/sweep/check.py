"""Holds the search space against the composed configuration, before anything runs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from trimtab.errors import SweepError
from trimtab.sweep.compose import Composer, held, names
from trimtab.sweep.grammar import Wishes
from trimtab.sweep.space import Knob, Space, Value, nearest


@dataclass(frozen=True)
class Plan:
    """A search space that fits its configuration.

    Attributes:
        space: the knobs.
        fixed: overrides of every trial.
        baseline: the configuration without swept overrides.
        composer: makes configurations.
    """

    space: Space
    fixed: tuple[str, ...]
    baseline: DictConfig
    composer: Composer

    def default(self) -> tuple[dict[str, Value], bool]:
        """The baseline's point, and whether it lies in the space."""
        inside = True
        point: dict[str, Value] = {}
        known: dict[str, Any] = {}
        for knob in self.space.knobs:
            if not knob.active(known):
                continue
            try:
                known[knob.name] = held(self.baseline, knob.name)
                point[knob.name] = knob.find(known[knob.name])
            except LookupError:
                inside = False
                if knob.name in known:
                    point[knob.name] = _recorded(known[knob.name])
        return point, inside


def plan(wishes: Wishes, composer: Composer) -> Plan:
    """Checks conditions, group options and keys.

    Raises:
        SweepError: names the knob, where it is set and the nearest name that there is.
    """
    baseline = _compose(composer, wishes.fixed, "the configuration without swept overrides")
    for knob in wishes.knobs:
        _check_options(knob, composer)
        _check_conditions(knob, composer)
    space = Space.of(wishes.knobs).settle(lambda name: _condition(baseline, wishes, name))
    for overrides, chosen in _corners(space, composer):
        cfg = _compose(composer, (*wishes.fixed, *overrides), " ".join(overrides))
        for knob in space.knobs:
            if not composer.options(knob.name) and _exists(knob, chosen, composer):
                _check_key(knob, cfg, overrides)
    return Plan(space, wishes.fixed, baseline, composer)


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
            f"{knob.origin}: {knob.name!r} depends on {name!r}, which is neither a knob nor in the "
            f"configuration{nearest(name, names(baseline) | {k.name for k in wishes.knobs})}"
        ) from e


def _check_options(knob: Knob, composer: Composer) -> None:
    options = composer.options(knob.name)
    for value in knob.values if options else ():
        if isinstance(value, str) and value not in options:
            raise SweepError(
                f"{knob.origin}: {knob.name!r} can be {value!r}, but that config group has "
                f"{', '.join(options)}{nearest(value, options)}"
            )


def _check_conditions(knob: Knob, composer: Composer) -> None:
    """A condition on an option that does not exist would never hold, and the knob never be."""
    for condition in knob.when:
        options = composer.options(condition.name)
        for value in condition.allowed if options else ():
            if str(value) not in options:
                raise SweepError(
                    f"{knob.origin}: {knob.name!r} is searched when {condition.name!r} is {value!r}, but that config "
                    f"group has {', '.join(options)}{nearest(str(value), options)}"
                )


def _corners(space: Space, composer: Composer) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """The choices of groups to look at: none, each option alone, and what each condition needs."""
    yield [], {}
    for knob in space.knobs:
        parents = _parents(knob, space, composer)
        corners = [parents] if knob.when else []
        if composer.options(knob.name):
            choices = getattr(knob.distribution, "choices", ())
            pairs = zip(choices, knob.values, strict=True)
            corners = [{**parents, knob.name: pair} for pair in pairs]
        for corner in corners:
            overrides = [space[n].override(choice) for n, (choice, _) in corner.items()]
            yield overrides, {n: value for n, (_, value) in corner.items()}


def _parents(knob: Knob, space: Space, composer: Composer) -> dict[str, tuple[Value, Any]]:
    """Options under which a knob exists: the first allowed of each group that it depends on."""
    chosen: dict[str, tuple[Value, Any]] = {}
    for condition in knob.when:
        parent = space[condition.name]
        chosen |= _parents(parent, space, composer)
        if composer.options(parent.name):
            chosen[parent.name] = (parent.find(condition.allowed[0]), condition.allowed[0])
    return chosen


def _exists(knob: Knob, chosen: dict[str, Any], composer: Composer) -> bool:
    """Whether the configuration with these options must have the knob."""
    return all(c.holds(chosen) for c in knob.when if composer.options(c.name))


def _check_key(knob: Knob, cfg: DictConfig, overrides: Sequence[str]) -> None:
    if knob.prefix:
        return
    where = f"under {' '.join(overrides)} " if overrides else ""
    present = names(cfg)
    if knob.name not in present:
        raise SweepError(
            f"{knob.origin} sweeps {knob.name!r}, which the configuration {where}does not have"
            f"{nearest(knob.name, present)}{_remedy(knob, overrides)}"
        )


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
