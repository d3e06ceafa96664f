"""From the nodes of `hydra.sweeper` to Settings: builds what they name, and says what cannot be built."""

import re
from collections.abc import Mapping
from typing import Any

import optuna
from hydra.errors import HydraException
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from trimtab.errors import SweepError
from trimtab.sweep.samplers.designs import Grid, Sobol
from trimtab.sweep.samplers.optunas import Foreign, Random
from trimtab.sweep.samplers.sampler import Sampler
from trimtab.sweep.settings import Settings
from trimtab.sweep.space.compose import plain

OURS: Mapping[str, Any] = {
    # Made afresh per trial they would repeat their points.
    "GridSampler": Grid,
    "BruteForceSampler": Grid,
    "QMCSampler": Sobol,
    "RandomSampler": Random,
}
"""Samplers of Optuna's that one of ours stands for."""

GROUPS = ("sampler", "pruner", "executor")
"""What has options of its own in conf/hydra/sweeper or beside the plugin."""


def settings(nodes: Mapping[str, Any]) -> Settings:
    """The settings of a sweep.

    Raises:
        SweepError: a node names what does not exist, or gives it arguments that it does not take.
    """
    return Settings(**{name: _built(name, node) for name, node in nodes.items()})


def _built(name: str, node: Any) -> Any:
    if not OmegaConf.is_config(node):
        if name in GROUPS and isinstance(node, str):
            raise SweepError(
                f"hydra.sweeper.{name} holds the settings of an option, but is {node!r}; with slashes "
                f"hydra/sweeper/{name}={node} chooses one"
            )
        return node
    try:
        return _sampler(plain(node)) if name == "sampler" else instantiate(node)
    except (HydraException, OmegaConfBaseException, ImportError, TypeError, ValueError) as e:
        if isinstance(e.__cause__, SweepError):
            raise e.__cause__ from e
        said = re.sub(r"\s*\nfull_key: .*", "", str(e))
        raise SweepError(f"hydra.sweeper.{name} cannot be made: {' '.join(said.split())}") from e


def _sampler(node: dict[str, Any]) -> Sampler:
    """Ours as they are; Optuna's so that one is made per trial, with that trial's seed."""
    target = str(node.get("_target_", ""))
    if not target.startswith("optuna."):
        made: Sampler = instantiate(node)
        return made
    cls = get_class(target)
    if cls.__name__ in OURS:
        ours: Sampler = OURS[cls.__name__](seed=node.get("seed"))
        return ours
    if not issubclass(cls, optuna.samplers.BaseSampler):
        raise SweepError(f"hydra.sweeper.sampler names {target}, which is no sampler")
    arguments = {k: v for k, v in node.items() if k not in ("_target_", "_partial_", "seed")}
    return Foreign(cls.__name__, cls, arguments, node.get("seed"))
