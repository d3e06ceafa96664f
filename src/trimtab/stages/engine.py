"""`engine=auto`: settled once for a study, and said."""

from omegaconf import DictConfig

from trimtab.data.prepared import load_prepared
from trimtab.paths import Paths
from trimtab.population.choice import Choice, choice
from trimtab.stages import unpack

AUTO = "auto"


def settled(cfg: DictConfig) -> Choice | None:
    """What `engine=auto` comes to for the study of this configuration; None where the engine is named."""
    if cfg.hydra.runtime.choices.engine != AUTO:
        return None
    if cfg.hydra.sweeper.timeout_s is not None:
        return Choice("solo", "hydra.sweeper.timeout_s is kept for trials that run alone")
    return choice(unpack.recipe(cfg), load_prepared(Paths.here().prepared).problem, unpack.device(cfg))
