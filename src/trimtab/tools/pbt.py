"""Population based training of the configured network: `python -m trimtab.tools.pbt --members 16 model=cnn`."""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import FloatDistribution

from trimtab import config
from trimtab.errors import ConfigError
from trimtab.overrides import given_overrides, leaves
from trimtab.paths import Paths, atomic

if TYPE_CHECKING:
    import pandas as pd

    from trimtab.population.pbt import Evolved, Moving, Settings

USAGE = "python -m trimtab.tools.pbt [options] [Hydra overrides]"
ABOUT = """Tunes while it trains: every few epochs the worst members go on as copies of the best (exploit), with knobs
changed a little (explore). Knobs are those of the search space (conf/search) that can move during training; shapes and
all else are the configuration's, and a knob that you set stays as it is set. What is found is a schedule."""


def main(argv: list[str] | None = None) -> None:
    """Evolves a population, and writes the schedule of the best member's lineage."""
    parser = argparse.ArgumentParser(usage=USAGE, description=ABOUT, allow_abbrev=False)
    parser.add_argument("--members", type=int, default=16, help="trained side by side (default: %(default)s)")
    parser.add_argument("--epochs", type=int, help="of each (default: training.epochs)")
    parser.add_argument("--every", type=int, default=2, help="epochs from copy to copy (default: %(default)s)")
    parser.add_argument(
        "--share", type=float, default=0.25, help="of members replaced each time (default: %(default)s)"
    )
    parser.add_argument("--perturb", type=float, default=1.2, help="factor on a copy's knobs (default: %(default)s)")
    parser.add_argument(
        "--resample", type=float, default=0.25, help="how often a knob is drawn anew instead (default: %(default)s)"
    )
    given, typed = parser.parse_known_args(sys.argv[1:] if argv is None else argv)

    def pbt(cfg: DictConfig) -> None:
        _pbt(cfg, vars(given))

    config.door(pbt, typed)


def _pbt(cfg: DictConfig, given: Mapping[str, Any]) -> None:
    # Heavy imports wait until there is something to do: `--help` and errors of the configuration are quick.
    from trimtab.data.prepared import load_prepared
    from trimtab.population.choice import require_member
    from trimtab.population.pbt import Settings, evolve
    from trimtab.stages import unpack
    from trimtab.stages.closing import closing, require_prepared

    epochs = cfg.training.epochs if given["epochs"] is None else given["epochs"]
    settings = Settings(**{**given, "epochs": epochs})
    knobs = moving(cfg)
    require_prepared(cfg)
    data = load_prepared(Paths.here().prepared)
    recipe, device = unpack.recipe(cfg), unpack.device(cfg)
    require_member(recipe, data.problem, device)
    folder = _folder(cfg, settings)
    kept = folder / "round.pt"
    if kept.exists():
        print(f"going on from {kept}")
    found = evolve(recipe, knobs, data.train, data.val, data.problem, cfg.seed, settings, device, kept)
    path = _write(found, knobs, recipe.metric, folder)
    _log(cfg, found, path, knobs, settings, folder)
    closing(
        _said(found, path, knobs, recipe.metric, settings),
        folder / "schedule.csv",
        "open lineage.html beside it; `make ui` has its run, `make sweep` searches knobs that stand still",
    )


def moving(cfg: DictConfig) -> list["Moving"]:
    """The knobs of the search space that can move, and that nobody has set.

    Raises:
        ConfigError: there is none.
    """
    from trimtab.population.pbt import MOVABLE, Moving
    from trimtab.sweep.space.grammar import parse

    hydra = GlobalHydra.instance().hydra
    assert hydra is not None  # a door is a Hydra application
    choices: Mapping[str, Any] = HydraConfig.get().runtime.choices
    values = {**{key: OmegaConf.select(cfg, key) for key, _ in leaves(cfg)}, **choices}
    space: Any = OmegaConf.to_container(cfg.search.knobs, resolve=True)
    wishes = parse(space, [o.text for o in given_overrides()], hydra.config_loader)
    found = []
    for knob in wishes.knobs:
        d = knob.distribution
        if knob.key in MOVABLE and isinstance(d, FloatDistribution) and knob.active(values):
            found.append(Moving(knob.key, d.low, d.high, d.log))
    if not found:
        raise ConfigError(
            f"search={choices['search']} has no interval of a knob that can move during training and is not set "
            f"(of {', '.join(MOVABLE)}); choose another search space, or set fewer knobs"
        )
    return found


def _folder(cfg: DictConfig, settings: "Settings") -> Path:
    from trimtab.stages import unpack

    space = OmegaConf.to_container(cfg.search.knobs, resolve=True)
    run = unpack.identity([unpack.recipe_config(cfg), space, cfg.data.hash, cfg.seed, asdict(settings)])
    return Paths.here().tool("pbt", f"{cfg.data.name}-{HydraConfig.get().runtime.choices['model']}-{run}")


def _write(found: "Evolved", knobs: list["Moving"], metric: str, folder: Path) -> "pd.DataFrame":
    """All files; returns the winner's lineage."""
    from trimtab.figures import style
    from trimtab.figures.lineage import lineage as drawn
    from trimtab.population.pbt import lineage
    from trimtab.trial.objective import direction
    from trimtab.trial.train import save_result

    path, names = lineage(found.table, found.winner), [k.name for k in knobs]
    for name, rows in (("members", found.table), ("schedule", path)):
        with atomic(folder / f"{name}.csv") as temporary:
            rows.to_csv(temporary, index=False)
    figure = drawn(found.table, path, metric, direction(metric), names, found.result.best_epoch)
    style.write(figure, folder / "lineage.html")
    save_result(folder, found.result)
    return path


def _log(
    cfg: DictConfig,
    found: "Evolved",
    path: "pd.DataFrame",
    knobs: list["Moving"],
    settings: "Settings",
    folder: Path,
) -> None:
    """One MLflow run: the lineage's curves and knobs, and the members' median."""
    from trimtab.stages import unpack
    from trimtab.stages.train import complete
    from trimtab.tracking.runs import opened_run

    metric = cfg.objective.metric
    medians = found.table.groupby("epoch")[metric].median()
    tags = {"role": "pbt", "git_commit": unpack.git_commit(), "data_hash": cfg.data.hash, "seed": str(cfg.seed)}
    params = {
        **unpack.knobs(cfg, HydraConfig.get().runtime.choices),
        **{f"pbt.{k}": v for k, v in asdict(settings).items()},
    }
    store = unpack.tracking(cfg.tracking)
    with opened_run(store, cfg.data.name, folder.name, {"run": folder.name}, tags=tags, params=params) as run:
        shown = ["train/loss", "val/loss", metric, *(k.name for k in knobs)]
        for row in path.to_dict("records"):
            epoch = int(row["epoch"])
            run.epoch(epoch, {**{str(name): row[name] for name in shown}, "members/median": medians[epoch]})
        for name in ("members.csv", "schedule.csv", "lineage.html"):
            run.file(folder / name)
        complete(run, found.result)


def _said(
    found: "Evolved", path: "pd.DataFrame", knobs: list["Moving"], metric: str, settings: "Settings"
) -> list[str]:
    copies = int((found.table["parent"] != found.table["member"]).sum())
    result = found.result
    ends = path.iloc[[0, result.best_epoch - 1]]
    moved = ", ".join(f"{k.name} {' → '.join(f'{v:.2g}' for v in ends[k.name])}" for k in knobs)
    return [
        f"{metric} = {result.value:.4g} at the best epoch, {result.best_epoch} of {result.epochs}, of member "
        f"{found.winner}'s lineage ({settings.members} members, {copies} copies; validation, which also decided)",
        f"its knobs from the first epoch to there: {moved}",
    ]


if __name__ == "__main__":
    main()
