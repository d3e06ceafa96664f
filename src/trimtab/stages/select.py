"""The best candidates and the baselines on fresh common seeds: `python -m trimtab.stages.select`.

With `validation.folds` each seed trains on every fold; its value is their mean, as in the sweep.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import pandas as pd
from omegaconf import DictConfig

from trimtab import config
from trimtab.data.folds import Fold
from trimtab.errors import SweepError, TrimtabError
from trimtab.overrides import Override, given_overrides, merged
from trimtab.paths import Paths, read_json, write_json
from trimtab.selection.choose import Candidate, best_trials, champion, median_epoch, seeds_in_words
from trimtab.stages import unpack
from trimtab.stages.closing import closing, progress, require_prepared
from trimtab.sweep.executors.local import Processes, WorkerDied, completed
from trimtab.tracking.runs import Parent

# Training's rooms are imported where they are needed: what was mistyped is said before.
if TYPE_CHECKING:
    from trimtab.stages.confirm import Confirmed, Training

DEFAULT, CLASSIC = "default", "classic"
OWN = (
    "optimizer",
    "schedule",
    "regularisation",
    "augmentation",
    "model.",
    "training.batch_size",
    "training.lr_scaling",
)
"""Where an overlay stands for itself: what a person sets there is for the champion and the default."""


@dataclass(frozen=True)
class Entrant:
    """A recipe that goes into confirmation.

    Attributes:
        trial: its number in the study; None for a recipe that was no trial.
        eligible: whether it may become champion.
        overrides: what it changes of the standing configuration.
    """

    name: str
    trial: int | None
    eligible: bool
    overrides: tuple[str, ...]
    cfg: DictConfig

    @property
    def key(self) -> str:
        """Names the recipe by what its result depends on; equal recipes share their trainings."""
        return unpack.identity([unpack.recipe_config(self.cfg), self.cfg.data.hash])


def select(cfg: DictConfig) -> None:
    """Trains, compares, names the champion."""
    require_prepared(cfg)
    given = given_overrides()
    paths = Paths.here()
    study = read_json(paths.stage("sweep") / "study.json")
    if study["fixed"] != unpack.fixed(config.compose(given)):
        raise SweepError(
            f"results/sweep holds study {study['name']} of another configuration (data, validation, model, epochs, "
            "objective or code); run `python -m trimtab.stages.sweep` with the same overrides first"
        )
    trials = read_trials(paths.stage("sweep") / "trials.csv")
    entrants = list(_entrants(given, trials, study, cfg.select.candidates, cfg.select.baselines))
    seeds, folds = fresh_seeds(cfg.seed, cfg.select.seeds), unpack.each_fold(cfg)
    found = _confirm(entrants, seeds, folds, paths.project / study["folder"], cfg.sweep.workers, study["together"])
    result = _result(entrants, seeds, found, study, cfg)
    write_json(paths.stage("select") / "champion.json", result)
    write_json(paths.stage("select") / "metrics.json", _metrics(result))
    _say(result, paths.stage("select") / "champion.json")


def fresh_seeds(study_seed: int, count: int) -> list[int]:
    """Seeds that no trial of the study had, the same for every entrant."""
    digests = (hashlib.sha256(f"{study_seed}/select/{i}".encode()).digest() for i in range(count))
    return [int.from_bytes(d[:4], "big") for d in digests]


def _entrants(
    given: Sequence[Override],
    trials: pd.DataFrame,
    study: dict[str, Any],
    count: int,
    baselines: Sequence[str] = (CLASSIC,),
) -> list[Entrant]:
    """The best trials, the default configuration, and overlays to compare with: the classic untuned start."""
    default = None if study["baseline"] is None else int(study["baseline"]["number"])
    numbers = [n for n in best_trials(trials, count, study["direction"]) if n != default]
    rows = trials.set_index("number").to_dict("index")
    entrants = []
    for number in numbers:
        changed = _overrides(rows[number])
        entrants.append(Entrant(f"trial {number}", number, True, changed, _composed(given, changed)))
    standing = _composed(given, ())
    entrants.append(Entrant(DEFAULT, default, True, (), standing))
    return [*entrants, *(Entrant(name, None, False, *_overlaid(name, given, standing)) for name in baselines)]


def _overlaid(name: str, given: Sequence[Override], default: DictConfig) -> tuple[tuple[str, ...], DictConfig]:
    """An overlay of conf/experiment, for as long and by the same objective as the others."""
    patience = default.training.patience_epochs
    changed = (
        f"experiment={name}",
        f"training.epochs={default.training.epochs}",
        f"training.patience_epochs={'null' if patience is None else patience}",
        f"objective.metric={default.objective.metric}",
    )
    return changed, _composed(_of_the_task(given), changed)


def read_trials(path: Path) -> pd.DataFrame:
    """trials.csv with the knobs as the texts that they are; Hydra reads them better than pandas."""
    names = pd.read_csv(path, nrows=0).columns
    return pd.read_csv(
        path, dtype={c: str for c in names if c.startswith("params.")}, keep_default_na=False, na_values=[""]
    )


def _overrides(row: dict[Any, Any]) -> tuple[str, ...]:
    """A row of trials.csv as overrides; knobs that did not exist in this trial are empty there."""
    knobs = {c.removeprefix("params."): v for c, v in row.items() if c.startswith("params.")}
    return tuple(f"{name}={value}" for name, value in knobs.items() if not pd.isna(value))


def _composed(given: Sequence[Override], changed: Sequence[str]) -> DictConfig:
    return config.compose(merged([*given, *(Override(c, "the study") for c in changed)]))


def _of_the_task(given: Sequence[Override]) -> list[Override]:
    """What a person says of data, model family and epochs, without the knobs that an overlay sets itself."""
    return [o for o in given if not o.key.startswith(OWN)]


def _confirm(
    entrants: Sequence[Entrant],
    seeds: Sequence[int],
    folds: Sequence[Fold | None],
    study: Path,
    workers: int,
    together: bool,
) -> "dict[tuple[str, int], list[Confirmed]]":
    """Trains every entrant on every seed and fold; what an earlier, killed call finished is taken from its folder."""
    from trimtab.stages.confirm import confirm

    groups = [[_training(e, seed, fold, study, together) for seed in seeds for fold in folds] for e in entrants]
    if not together:
        groups = [[training] for group in groups for training in group]
    found: dict[tuple[str, int], list[Confirmed]] = {}
    with Processes(workers) as pool, progress("select", len(groups)) as advance:
        try:
            for group, confirmed in completed(pool, confirm, groups):
                for training, one in zip(group, confirmed, strict=True):
                    found.setdefault((training.entrant, training.seed), []).append(one)
                advance(group[0].entrant)
        except WorkerDied as e:
            raise TrimtabError(
                f"a training of select was ended from outside ({e}), for want of memory perhaps; take fewer "
                "sweep.workers and repeat the command: what is done stays"
            ) from e
    return found


def _training(entrant: Entrant, seed: int, fold: Fold | None, study: Path, together: bool) -> "Training":
    from trimtab.population.members import obstacle
    from trimtab.stages.confirm import Training

    cfg = entrant.cfg
    which = {"seed": str(seed), **({"fold": str(fold.number)} if fold else {})}
    parent = study / "mlflow.json"
    recipe, device = unpack.recipe(cfg), unpack.device(cfg)
    return Training(
        entrant=entrant.name,
        recipe=recipe,
        device=device,
        together=together and obstacle(recipe, device) is None,
        prepared=Paths.here().prepared,
        folder=study / "confirm" / "-".join([entrant.key, *which.values()]),
        seed=seed,
        fold=fold,
        tracking=unpack.tracking(cfg.tracking),
        data=cfg.data.name,
        name=", ".join([entrant.name, *(f"{what} {value}" for what, value in which.items())]),
        key={"confirms": entrant.key, **which},
        tags={"role": "confirmation", "recipe": entrant.name},
        params=unpack.knobs(cfg, cfg.hydra.runtime.choices),
        parent=Parent(**read_json(parent)) if parent.exists() else None,
    )


def _result(
    entrants: Sequence[Entrant],
    seeds: Sequence[int],
    found: "dict[tuple[str, int], list[Confirmed]]",
    study: dict[str, Any],
    cfg: DictConfig,
) -> dict[str, Any]:
    """What champion.json holds."""
    candidates = [
        Candidate(e.name, e.trial, e.eligible, tuple(fmean(c.value for c in found[e.name, s]) for s in seeds))
        for e in entrants
    ]
    chosen = champion(candidates, study["direction"])
    rows = [
        _row(e, candidate, [c.best_epoch for s in seeds for c in found[e.name, s]])
        for e, candidate in zip(entrants, candidates, strict=True)
    ]
    winner = next(r for r in rows if r["name"] == chosen.name)
    return {
        "id": unpack.identity([winner["config"], winner["epochs"], cfg.data.hash]),
        "champion": chosen.name,
        "metric": cfg.objective.metric,
        "direction": study["direction"],
        "seeds": list(seeds),
        "folds": cfg.validation.folds,
        "candidates": rows,
        "data": {"name": cfg.data.name, "data_hash": cfg.data.hash},
    }


def _metrics(result: dict[str, Any]) -> dict[str, Any]:
    """What `dvc exp show` compares experiments by: they stop before the test set."""
    rows = {row["name"]: row for row in result["candidates"]}
    shown = {"champion": rows[result["champion"]], "default": rows[DEFAULT]}
    return {result["metric"]: {name: {"mean": row["mean"], "std": row["std"]} for name, row in shown.items()}}


def _row(entrant: Entrant, candidate: Candidate, best_epochs: list[int]) -> dict[str, Any]:
    failed = not math.isfinite(candidate.mean)
    return {
        "name": entrant.name,
        "trial": entrant.trial,
        "eligible": candidate.eligible,
        "overrides": list(entrant.overrides),
        "values": [v if math.isfinite(v) else None for v in candidate.values],
        "mean": None if failed else candidate.mean,
        "std": candidate.std if math.isfinite(candidate.std) else None,
        "best_epochs": best_epochs,
        "epochs": median_epoch(e for e in best_epochs if e) if any(best_epochs) else None,
        "config": unpack.recipe_config(entrant.cfg),
    }


def _say(result: dict[str, Any], path: Path) -> None:
    means = {row["name"]: row for row in result["candidates"]}
    chosen, default = means[result["champion"]], means[DEFAULT]
    closing(
        f"champion: {result['champion']}, {result['metric']} {_mean(chosen)} over "
        f"{seeds_in_words(len(result['seeds']), result['folds'])} (default: {_mean(default)})",
        path,
        "`dvc repro` (or `python -m trimtab.stages.evaluate`) opens the test set for it, once",
    )


def _mean(row: dict[str, Any]) -> str:
    """With the spread, of which a single seed shows none."""
    if row["mean"] is None:
        return "failed"
    return f"{row['mean']:.4g}" if row["std"] is None else f"{row['mean']:.4g} ± {row['std']:.2g}"


if __name__ == "__main__":
    config.door(select)
