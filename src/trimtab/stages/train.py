"""One trial: `python -m trimtab.stages.train optimizer.lr=0.01`; a study typed by hand with `--multirun`."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

import trimtab
from trimtab import config
from trimtab.errors import Outage
from trimtab.paths import Paths, read_json

if TYPE_CHECKING:
    from trimtab.data.prepared import Prepared
    from trimtab.sweep.jobs.trial import Trial
    from trimtab.tracking.runs import Parent, RunWriter
    from trimtab.trial.train import TrialResult

OWN_TRAINING = (
    "note: the model is a LightningModule and trains by its own loss and optimizer: settings of optimizer, schedule, "
    "regularisation and training.lr_scaling do not apply"
)


def task(cfg: DictConfig) -> float:
    """Trains the configured recipe once and returns its objective; below a study or alone."""
    return trained(cfg, Path(HydraConfig.get().runtime.output_dir))


def trained(cfg: DictConfig, folder: Path) -> float:
    """`task`, with its files in this folder."""
    # Heavy imports wait until a trial really runs: `--help` and errors of the configuration are quick.
    from trimtab.stages import unpack
    from trimtab.trial.checkpoint import Kept
    from trimtab.trial.train import save_result, train

    recipe, device = unpack.recipe(cfg), unpack.device(cfg)
    data = of_the_study(cfg)
    with mlflow_run(cfg, folder) as run:

        def on_epoch(epoch: int, row: Mapping[str, float]) -> None:
            run.epoch(epoch, row)
            trimtab.record(epochs=epoch)
            trimtab.report(epoch, row[recipe.metric])  # last: it may end the trial

        kept = Kept.of(trimtab.checkpoint_dir(), folder if below_a_study() else None)
        result = train(recipe, data.train, data.val, data.problem, cfg.seed, device, on_epoch, kept)
        save_result(folder, result)
        complete(run, result, Path(HydraConfig.get().runtime.output_dir))
    return result.value


def population(trials: Sequence["Trial"]) -> Iterator[tuple[int, float | Exception]]:
    """Trains several configurations together, see stages/population.py."""
    from trimtab.stages.population import population

    return population(trials)


task.population = population  # type: ignore[attr-defined]  # what the sweeper looks for


def of_the_study(cfg: DictConfig) -> "Prepared":
    """The prepared data, or the configuration's fold of them, which must be the study's.

    Raises:
        Outage: they are others by now.
    """
    from trimtab.data.prepared import load_prepared
    from trimtab.stages import unpack

    data = load_prepared(Paths.here().prepared, unpack.fold(cfg))
    if data.data_hash != cfg.data.hash:
        raise Outage(
            f"the study is on data {cfg.data.hash[:12]}, but results/prepare now holds {data.data_hash[:12]}: somebody "
            "prepared other data meanwhile; prepare the study's data again and repeat the command, nothing is lost"
        )
    return data


def mlflow_run(cfg: DictConfig, folder: Path) -> AbstractContextManager["RunWriter"]:
    """This trial's MLflow run: below its study's, or alone.

    A trial that was started before a kill continues its run; the marker file saves everybody else the search for it.
    """
    from trimtab.stages import unpack
    from trimtab.tracking.runs import Parent, opened_run

    hydra = HydraConfig.get()
    started = folder / "started"
    again = started.exists()
    started.touch()
    if below_a_study() and (study := Path(hydra.sweep.dir) / "mlflow.json").exists():
        parent = Parent(**read_json(study))
        return trial_run(cfg, hydra.job.num, hydra.runtime.choices, parent, again)
    name = folder.relative_to(Path(HydraConfig.get().runtime.output_dir).parent).as_posix()
    return opened_run(
        unpack.tracking(cfg.tracking),
        cfg.data.name,
        name,
        {"run": name},
        tags={"role": "single", "git_commit": unpack.git_commit(), "data_hash": cfg.data.hash, "seed": str(cfg.seed)},
        params=unpack.knobs(cfg, hydra.runtime.choices),
    )


def below_a_study() -> bool:
    """Whether the trial will be run again if it is cut off."""
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def trial_run(
    cfg: DictConfig, number: int, choices: Mapping[str, str], parent: "Parent", started_before: bool
) -> AbstractContextManager["RunWriter"]:
    """The MLflow run of trial `number`, or of one of its folds, below its study's."""
    from trimtab.stages import unpack
    from trimtab.tracking.runs import opened_run

    fold = unpack.fold(cfg)
    return opened_run(
        unpack.tracking(cfg.tracking),
        cfg.data.name,
        f"trial {number}" + (f", fold {fold.number}" if fold else ""),
        # A configuration may run on several seeds or folds.
        {"trial": str(number), "seed": str(cfg.seed), **({"fold": str(fold.number)} if fold else {})},
        tags={"role": "baseline" if number == 0 else "trial", "state": "running"},
        params=unpack.knobs(cfg, choices),
        parent=parent,
        started_before=started_before,
    )


def complete(run: "RunWriter", result: "TrialResult", job: Path | None = None) -> None:
    """Writes what a trial came to into its run.

    Args:
        run: the trial's.
        result: what it came to.
        job: folder of its Hydra job, whose configuration the run keeps; None where there was none.
    """
    if job is not None:
        run.file(job / ".hydra" / "config.yaml")  # as Hydra wrote it: dumping it again costs 15 ms
    run.write(_summary(result), tags={"state": "complete"})


def _summary(result: "TrialResult") -> dict[str, float]:
    """What MLflow's table shows of a finished trial."""
    best = {f"best/{name.removeprefix('val/')}": value for name, value in result.best.items()}
    return {
        "objective": result.value,
        "best_epoch": result.best_epoch,
        "epochs": result.epochs,
        "parameters": result.parameters,
        "batch_size": result.batch_size,
        "steps": result.steps,
        "seconds": result.seconds,
        "peak_memory_mb": result.peak_memory_mb,
        **best,
    }


def single(cfg: DictConfig) -> None:
    """One trial typed by hand, with its three closing lines."""
    from trimtab.data.prepared import check_folds, load_prepared
    from trimtab.stages import unpack
    from trimtab.stages.closing import closing, require_prepared
    from trimtab.trial.train import check

    require_prepared(cfg)
    if not check(unpack.recipe(cfg), load_prepared(Paths.here().prepared).problem, unpack.device(cfg)):
        print(OWN_TRAINING)
    folder, folds = Path(HydraConfig.get().runtime.output_dir), unpack.each_fold(cfg)
    check_folds(Paths.here().prepared, folds)
    said = _alone(cfg, folder) if len(folds) == 1 else _on_each(cfg, folder, len(folds))
    closing(said, folder, "`make ui` to see its curves, or `make sweep` to tune it")


def _alone(cfg: DictConfig, folder: Path) -> str:
    """Trains once; what there is to say of it."""
    from trimtab.trial.result import RESULT

    value = trained(cfg, folder)
    found = read_json(folder / RESULT)
    return (
        f"{cfg.objective.metric} = {value:.4g} at the best epoch, {found['best_epoch']} of {found['epochs']} "
        f"({found['steps']:,} steps of {found['batch_size']:,} rows; validation; data {cfg.data.name})"
    )


def _on_each(cfg: DictConfig, folder: Path, folds: int) -> str:
    """Trains on every fold, each in a folder of its own; the mean and the values."""
    from statistics import fmean

    values = []
    for number in range(folds):
        cfg.validation.fold = number
        own = folder / f"fold-{number}"
        own.mkdir()
        values.append(trained(cfg, own))
    each = ", ".join(f"{value:.4g}" for value in values)
    return f"{cfg.objective.metric} = {fmean(values):.4g}, the mean of {folds} folds: {each} (data {cfg.data.name})"


def _say(directory: Path) -> None:
    """The closing lines of a study typed by hand."""
    from trimtab.stages.closing import closing
    from trimtab.sweep.store.study import open_study

    if (directory / "study.journal").exists() and (best := open_study(directory).best) is not None:
        found = f"best {best.value:.4g} in trial {best.number}"
        closing(found, directory / "trials.csv", "`make ui` to compare the trials; again: goes on where it stopped")


def main(argv: list[str] | None = None) -> None:
    """Trains one configuration, or sweeps what was typed."""
    argv = sys.argv[1:] if argv is None else argv
    with config.user_errors():
        if "--multirun" in argv or "-m" in argv:
            from trimtab.stages.sweep import study

            if (done := study(argv, hydra=["search=none"])) is not None:
                _say(done[0])
        else:
            config.run(single, argv)


if __name__ == "__main__":
    main()
