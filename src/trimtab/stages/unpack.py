"""Where the configuration ends: `DictConfig` in, plain typed values out."""

import hashlib
import json
import subprocess
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from trimtab.errors import ConfigError, TrimtabError
from trimtab.paths import Paths
from trimtab.tracking.runs import Settings

if TYPE_CHECKING:
    from trimtab.data.folds import Fold
    from trimtab.trial.train import Device, Recipe

# What makes a result, and what each setting is called in MLflow.
RECIPE = ("model", "optimizer", "schedule", "training", "regularisation", "augmentation")
_CHOICES = ("model", "optimizer", "schedule", "augmentation")


def recipe(cfg: DictConfig) -> "Recipe":
    """The recipe that a configuration describes."""
    # Here and not above: the sweeper reads settings, too, and does without torch.
    from trimtab.trial.recipe import Recipe
    from trimtab.trial.regularisation import Regularisation

    training = plain(cfg.training)
    return Recipe(
        model=built("model", plain(cfg.model)),
        optimizer=built("optimizer", plain(cfg.optimizer)),
        schedule=built("schedule", plain(cfg.schedule)),
        metric=cfg.objective.metric,
        horizon_epochs=training["epochs"],
        regularisation=Regularisation(**plain(cfg.regularisation)),
        augmentation=built("augmentation", plain(cfg.augmentation)),
        **training,
    )


LATER = ("model", "optimizer")
"""What a trial gives more than its settings: shapes, parameters. Their options are `_partial_`."""


def built(group: str, node: dict[str, Any]) -> Any:
    """The object that a node with `_target_` describes, as Hydra's `instantiate` builds it.

    What is trimtab's own and plain is built without Hydra, which takes up to 1 ms for each.

    Raises:
        ConfigError: there is no such target, or it does not take its settings.
    """
    if "_target_" not in node:
        raise ConfigError(
            f"{group} says nowhere what builds it; write `_target_: module.name` into its file of conf/{group}"
        )
    target = str(node["_target_"])
    try:
        if not target.startswith("trimtab."):
            return instantiate(node)
        settings = {k: v for k, v in node.items() if k not in ("_target_", "_partial_")}
        make = get_object(target)
        return partial(make, **settings) if node.get("_partial_") else make(**settings)
    except (InstantiationException, ImportError, TypeError, ValueError) as e:
        if isinstance(e.__cause__, TrimtabError):
            raise e.__cause__ from e
        said = " ".join(str(e).split())
        forgotten = group in LATER and not node.get("_partial_") and "required positional argument" in said
        remedy = (
            f"write `_partial_: true` into its file of conf/{group}" if forgotten else f"mend conf/{group} or {group}.*"
        )
        raise ConfigError(f"{group}._target_={target} cannot be built: {said}; {remedy}") from e


def device(cfg: DictConfig) -> "Device":
    """Where trials are computed."""
    from trimtab.trial.recipe import Device

    return Device(**_device(cfg))


def _device(cfg: DictConfig) -> dict[str, Any]:
    """conf/engine without what only says how many trials share it."""
    return {k: v for k, v in plain(cfg.engine).items() if k != "size"}


def fold(cfg: DictConfig) -> "Fold | None":
    """What validates; None is the split's own validation part.

    Raises:
        ConfigError: there is no such fold.
    """
    from trimtab.data.folds import Fold

    given = cfg.validation
    if given.fold is None and given.folds == 1:
        return None
    if given.fold is None or given.folds == 1:
        raise ConfigError(
            f"validation.folds={given.folds} and validation.fold={'null' if given.fold is None else given.fold} do not "
            "go together: one part to validate on has no folds, and one training validates on one fold; set "
            "validation.fold=null, or validation.folds to at least 2"
        )
    return Fold(given.fold, given.folds)


def each_fold(cfg: DictConfig) -> "list[Fold | None]":
    """What a configuration is validated on, one after the other: all folds unless one is named."""
    from trimtab.data.folds import Fold

    if cfg.validation.fold is None and cfg.validation.folds > 1:
        return [Fold(number, cfg.validation.folds) for number in range(cfg.validation.folds)]
    return [fold(cfg)]


def tracking(node: Mapping[str, Any]) -> Settings:
    """conf/tracking as plain values."""
    return Settings(**{k: node[k] for k in Settings.__dataclass_fields__})


def plain(node: DictConfig) -> dict[str, Any]:
    """A node as resolved plain dictionaries and lists."""
    return OmegaConf.to_container(node, resolve=True)  # type: ignore[return-value]


def recipe_config(cfg: DictConfig) -> dict[str, Any]:
    """The part of the configuration that makes a recipe: what a result depends on besides data and seed."""
    return {k: plain(cfg[k]) for k in (*RECIPE, "objective")} | {"engine": _device(cfg), "code": cfg.code}


def fixed(cfg: DictConfig) -> str:
    """Names what all trials of a study share; `select` holds a study to it."""
    return identity([recipe_config(cfg), cfg.data.hash, plain(cfg.validation)])


def identity(content: Any) -> str:
    """Twelve hex digits that name a JSON value."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def knobs(cfg: DictConfig, choices: Mapping[str, str]) -> dict[str, Any]:
    """Every setting of the recipe by its dotted name, and the chosen options (`model`: mlp), for MLflow.

    Args:
        cfg: the configuration.
        choices: config group → option, as Hydra composed it.
    """
    found: dict[str, Any] = {g: choices[g] for g in _CHOICES if g in choices}
    for group in RECIPE:
        for key, value in plain(cfg[group]).items():
            if not key.startswith("_"):
                found[f"{group}.{key}"] = value
    return found


def git_commit() -> str:
    """The checkout's commit, with `-dirty` where files differ from it; "none" outside git."""
    command = [
        "git",
        "-C",
        str(Paths.here().workspace),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
        "--exclude=*",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:  # no git here
        return "none"
    return done.stdout.strip() or "none"
