"""`hydra.sweeper.custom_search_space`: a function of the user suggests further knobs, as in the official sweeper."""

import inspect
from collections.abc import Callable, Iterable
from hashlib import sha256

from hydra.errors import HydraException
from hydra.utils import get_method
from omegaconf import DictConfig
from optuna.trial import Trial

from trimtab.errors import SweepError
from trimtab.sweep.outcome import one_line

Extend = Callable[[Trial], None]


def extension(path: str, cfg: DictConfig, fixed: Iterable[str]) -> Extend:
    """What suggests the further knobs of a trial.

    Args:
        path: dotted name of a function `(cfg, trial) → None`.
        cfg: the configuration without swept overrides.
        fixed: keys that are set for all trials.

    Raises:
        SweepError: there is no such function; later, when asked: it fails, or sets what is fixed.
    """
    function = _function(path)
    taken = frozenset(fixed)

    def extend(trial: Trial) -> None:
        try:
            function(cfg, trial)
        except Exception as e:
            raise SweepError(f"hydra.sweeper.custom_search_space={path} failed: {one_line(e)}") from e
        if twice := sorted(taken & {name.lstrip("+") for name in trial.params}):
            raise SweepError(
                f"hydra.sweeper.custom_search_space={path} suggests {twice[0]!r}, which "
                "hydra.sweeper.params or the command line fixes; remove one"
            )

    return extend


def source(path: str | None) -> str | None:
    """A hash of the function's source, so that another function is another study; its name where there is none."""
    if path is None:
        return None
    try:
        return f"{path} {sha256(inspect.getsource(_function(path)).encode()).hexdigest()[:12]}"
    except OSError:
        return path


def _function(path: str) -> Callable[[DictConfig, Trial], None]:
    try:
        return get_method(path.lstrip("."))  # the official example begins with a dot
    except (HydraException, ImportError, ValueError, TypeError) as e:
        raise SweepError(
            f"hydra.sweeper.custom_search_space names {path!r}, which is no function that can be imported; give its "
            "dotted name, e.g. my_package.search.configure"
        ) from e
