"""What is found out before a study's first trial. All of it needs torch and the data, which workers have anyway."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from omegaconf import DictConfig

from trimtab.errors import ConfigError, TrimtabError
from trimtab.garbage import uncollected
from trimtab.paths import Paths
from trimtab.stages.train import OWN_TRAINING
from trimtab.sweep.executors.local import Processes, preloading
from trimtab.sweep.executors.worker import share

PRELOAD = (
    "trimtab.trial.quickly",
    "trimtab.stages.population",
    "trimtab.stages.preflight",
    "trimtab.sweep.jobs.job",
    "trimtab.population.compiled.beforehand",
)
"""What trials import, and what brings them into a worker: else each would import that after the fork."""
AUTO, LIKELY = "auto", "population"
"""Of conf/engine: what leaves the engine open, and what that comes to nearly always."""


@dataclass(frozen=True)
class Findings:
    """What a study's baseline is.

    Attributes:
        trains_itself: the model is a LightningModule.
        engine: what `engine=auto` comes to; None where the engine is named.
        why: the reason for it.
    """

    trains_itself: bool
    engine: str | None = None
    why: str = ""


def preload(cfg: DictConfig) -> list[str]:
    """Has what trials need imported for all workers, in a process of its own.

    Returns:
        Modules, for the executor's setting; none where trials run in the sweeper's process or not at all.
    """
    if cfg.hydra.runtime.choices["hydra/sweeper/executor"] != "processes" or cfg.sweep.dry_run:
        return []
    ready = preloading(PRELOAD, share(0, cfg.sweep.workers, cfg.hydra.sweeper.executor.threads))
    return [*PRELOAD] if ready else []


def preflight(
    cfg: DictConfig,
    searched: Mapping[str, str],
    preloaded: Sequence[str] = (),
    meanwhile: Callable[[], None] = lambda: None,
) -> Findings:
    """Everything that can be known to be wrong before the first trial: data, recipe, knobs without effect, MLflow.

    Args:
        cfg: the baseline's configuration.
        searched: the knobs, and their values as they are written.
        preloaded: what `preload` found.
        meanwhile: done while that is imported; not at all where nothing is.

    Raises:
        TrimtabError: what is wrong.
    """
    _check_batch_size(searched)
    _check_validation(cfg, searched)
    unusable = _track(cfg)
    if preloaded:
        meanwhile()
    found = _examined(cfg, preloaded)
    if found.trains_itself:
        _check_alive(searched)
        print(OWN_TRAINING)
    if unusable is not None:
        raise unusable
    return found


def _track(cfg: DictConfig) -> TrimtabError | None:
    """Opens MLflow's experiment, which is made if it isn't there; what is wrong with it, which the study comes before.

    First, since what it needs is imported here while workers' imports run in their own process.
    """
    with uncollected():
        import trimtab.sweep.sweep  # noqa: F401  else Hydra would do it later

        if cfg.sweep.dry_run:
            return None
        from trimtab.stages import unpack
        from trimtab.tracking.runs import experiment

        try:
            experiment(unpack.tracking(cfg.tracking), cfg.data.name)
        except TrimtabError as e:
            return e
    return None


def _examined(cfg: DictConfig, preloaded: Sequence[str]) -> Findings:
    """`examine`, in a worker if there is to be one."""
    if not preloaded:
        return examine(cfg)
    with Processes(1, preload=preloaded) as executor:
        found: Findings = executor.submit(examine, cfg).result()
    return found


def examine(cfg: DictConfig) -> Findings:
    """Holds the baseline to the prepared data.

    Raises:
        TrimtabError: what is wrong.
    """
    from trimtab.data.prepared import check_folds, load_prepared
    from trimtab.population.choice import choice
    from trimtab.stages import unpack
    from trimtab.stages.closing import require_prepared
    from trimtab.trial.train import check

    require_prepared(cfg)
    problem = load_prepared(Paths.here().prepared).problem
    check_folds(Paths.here().prepared, unpack.each_fold(cfg))
    recipe, device = unpack.recipe(cfg), unpack.device(cfg)
    trains_itself = not check(recipe, problem, device)
    if cfg.hydra.runtime.choices.engine != AUTO:
        return Findings(trains_itself)
    if cfg.hydra.sweeper.timeout_s is not None:
        return Findings(trains_itself, "solo", "hydra.sweeper.timeout_s is kept for trials that run alone")
    chosen = choice(recipe, problem, device)
    return Findings(trains_itself, chosen.engine, chosen.why)


def _check_batch_size(searched: Mapping[str, str]) -> None:
    if re.search(r"\bauto\b", searched.get("training.batch_size", "")):
        raise ConfigError(
            "the study searches training.batch_size=auto among other values, but what it comes to depends on machine "
            "and memory, and trials could not be compared; search numbers (and all), or fix training.batch_size=auto"
        )


def _check_validation(cfg: DictConfig, searched: Mapping[str, str]) -> None:
    if named := [key for key in searched if key.startswith("validation")]:
        raise ConfigError(
            f"the study searches '{named[0]}', but values from different validation rows can't be compared; fix "
            "validation.folds"
        )
    if cfg.validation.fold is not None:
        raise ConfigError(
            f"a sweep goes through all folds, but validation.fold is {cfg.validation.fold}; leave it at null, or train "
            "one fold by `python -m trimtab.stages.train`"
        )


def _check_alive(searched: Mapping[str, str]) -> None:
    dead = [k for k in searched if k.startswith(("optimizer", "schedule", "regularisation", "training.lr_scaling"))]
    if dead:
        raise ConfigError(
            f"the study searches '{dead[0]}', but the model is a LightningModule, which brings its own optimizer: the "
            "knob would have no effect; search settings of the module itself (model.*) instead"
        )
