"""The options of `hydra/sweeper=trimtab` and of its groups `sampler` and `executor`."""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


@dataclass
class TrimtabSweeperConf:
    """Settings of a sweep, as they stand in `hydra.sweeper`; trimtab.sweep.settings explains them."""

    defaults: list[Any] = field(default_factory=lambda: [{"sampler": "tpe"}, {"executor": "inline"}, "_self_"])
    _target_: str = "hydra_plugins.trimtab_sweeper.trimtab_sweeper.TrimtabSweeper"
    sampler: Any = MISSING
    executor: Any = MISSING
    direction: Any = "minimize"
    n_trials: int = 20
    n_jobs: int = 1
    lag: int = 8
    seed: int = 0
    seed_key: str | None = None
    baseline: bool = True
    params: dict[str, Any] = field(default_factory=dict)
    ignore: list[str] = field(default_factory=list)
    study_name: str | None = None
    callbacks: list[Any] = field(default_factory=list)
    max_starts: int = 10
    progress: str = "auto"
    dry_run: bool = False


@dataclass
class TpeConf:
    """Tree-structured Parzen estimator: the default; learns from what has been tried."""

    _target_: str = "trimtab.sweep.samplers.Tpe"
    startup_trials: int = 10
    candidates: int = 24


@dataclass
class RandomConf:
    """Independent draws: the honest comparison, and good for many workers at once."""

    _target_: str = "trimtab.sweep.samplers.Random"


@dataclass
class GridConf:
    """Every point of a discrete space once, in an order shuffled by the study's seed."""

    _target_: str = "trimtab.sweep.samplers.Grid"


@dataclass
class InlineConf:
    """Trials run one after another in the sweeper's own process."""

    _target_: str = "trimtab.sweep.executors.Inline"
    _partial_: bool = True


@dataclass
class ProcessesConf:
    """Trials run in `n_jobs` warm worker processes; one that dies costs its own trial only."""

    _target_: str = "trimtab.sweep.executors.Processes"
    _partial_: bool = True


def _register() -> None:
    store = ConfigStore.instance()
    options: dict[str, dict[str, Any]] = {
        "hydra/sweeper": {"trimtab": TrimtabSweeperConf},
        "hydra/sweeper/sampler": {"tpe": TpeConf, "random": RandomConf, "grid": GridConf},
        "hydra/sweeper/executor": {"inline": InlineConf, "processes": ProcessesConf},
    }
    for group, names in options.items():
        for name, node in names.items():
            store.store(group=group, name=name, node=node, provider="trimtab_sweeper")


_register()
