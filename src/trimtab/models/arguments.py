"""Checks of arguments that a person typed. `name` is the knob's dotted name, as in `model.width`."""

import difflib
from collections.abc import Iterable

from trimtab.errors import ConfigError


def whole(name: str, value: object, least: int = 1) -> None:
    """Holds `value` to be an integer of at least `least`.

    Raises:
        ConfigError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{name} must be a whole number but is {value!r}")
    if value < least:
        raise ConfigError(f"{name} must be at least {least} but is {value}")


def probability(name: str, value: object) -> None:
    """Holds `value` to be a number from 0 up to, but without, 1.

    Raises:
        ConfigError: it is not (NaN included).
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ConfigError(f"{name} must be at least 0 and below 1 but is {value!r}")


def share(name: str, value: object) -> None:
    """Holds `value` to be a number above 0 and at most 1.

    Raises:
        ConfigError: it is not (NaN included).
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise ConfigError(f"{name} must be above 0 and at most 1 but is {value!r}")


def amount(name: str, value: object) -> None:
    """Holds `value` to be a finite number of at least 0.

    Raises:
        ConfigError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise ConfigError(f"{name} must be a finite number of at least 0 but is {value!r}")


def switch(name: str, value: object) -> None:
    """Holds `value` to be true or false.

    Raises:
        ConfigError: it is not.
    """
    if not isinstance(value, bool):
        raise ConfigError(f"{name} must be true or false but is {value!r}")


def ends(shape: tuple[int, ...], outputs: object) -> None:
    """Holds the sizes of a network's two ends to be whole and positive.

    Raises:
        ConfigError: one is not.
    """
    for extent in shape:
        whole("model.shape", extent)
    whole("model.outputs", outputs)


def choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Holds `value` to be one of `choices`.

    Raises:
        ConfigError: it is not; names the nearest.
    """
    known = list(choices)
    if value not in known:
        nearest = difflib.get_close_matches(str(value), known, n=1, cutoff=0.0)[0]
        raise ConfigError(f"{name} must be one of {', '.join(known)} but is {value!r}; did you mean {nearest!r}?")
