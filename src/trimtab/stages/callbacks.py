"""What happens beside a study, in the sweeper's process: MLflow's parent run, and weights that are not kept."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from trimtab.paths import read_json, write_json
from trimtab.stages import unpack
from trimtab.stages.train import complete, trial_run
from trimtab.sweep.store.study import Study, by_seed, reason
from trimtab.tracking.runs import Experiment, Parent, experiment
from trimtab.trial.result import RESULT, WEIGHTS, load_result

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

MEAN = "objective/mean"


class BestWeights:
    """Of all trials only the best `keep` and the baseline keep their weights on disk."""

    def __init__(self, keep: int) -> None:
        self._keep = keep

    def started(self, study: Study) -> None:
        """Drops what a killed sweep left."""
        kept = {t.number for t in study.ranked[: self._keep]} | {0}
        for trial in study.finished:
            if trial.number not in kept:
                _drop(study.folder(trial))

    def finished(self, study: Study, trial: "FrozenTrial") -> None:
        """Drops its weights unless it is among the best, and those of the one that it pushed out."""
        first = [t.number for t in study.ranked[: self._keep + 1]]  # not all: this runs once per trial
        for number in {trial.number, *first[self._keep :]} - {0, *first[: self._keep]}:
            _drop(study.directory / str(number))

    def ended(self, study: Study) -> None:
        """Nothing is left to do."""


def _drop(folder: Path) -> None:
    """Weights of a trial, and of its further seeds or folds."""
    for path in (folder / WEIGHTS, *folder.glob(f"*/{WEIGHTS}")):
        path.unlink(missing_ok=True)


def _results(folder: Path) -> Iterator[Path]:
    """Of a trial, and of its further seeds or folds."""
    if (folder / RESULT).exists():
        yield folder / RESULT
    yield from sorted(folder.glob(f"*/{RESULT}"))


class StudyRun:
    """MLflow's run of the study: parent of its trials' runs, with the best objective so far as a curve.

    Args:
        data: the data set's name, which is the experiment's.
        data_hash: of the prepared data.
        metric: the objective's name.
        tracking: conf/tracking.
    """

    def __init__(self, data: str, data_hash: str, metric: str, tracking: Mapping[str, Any]) -> None:
        self._settings = unpack.tracking(tracking)
        self._node = dict(tracking)
        self._data = data
        self._metric = metric
        self._tags = {"data_hash": data_hash, "git_commit": unpack.git_commit()}
        self._store: Experiment | None = None
        self._parent: Parent | None = None

    def started(self, study: Study) -> None:
        """Finds or creates the run, says in the study's folder where it is, and mends what MLflow lacks."""
        self._store = experiment(self._settings, self._data)
        place = study.directory / "mlflow.json"
        if self._store is None:
            place.unlink(missing_ok=True)
            return
        tags = {"fingerprint": study.name, **self._tags}
        known = read_json(place)["run_id"] if place.exists() else None
        mine = {"role": "study", "metric": self._metric, **tags}
        run_id = self._store.study(known, f"study {study.name}", mine)
        self._parent = Parent(run_id, tags)
        write_json(place, {"run_id": run_id, "tags": tags})
        if study.finished:
            self._replay(study)
            self._log_means(study)

    def finished(self, study: Study, trial: "FrozenTrial") -> None:
        """Moves the best so far on; a trial whose worker died could not end its own run."""
        if self._store is None or self._parent is None:
            return
        if (best := study.best) is not None and best.number == trial.number:
            self._log_best(study)  # a point per improvement: one per trial would cost 4 ms each
        if trial.state.name == "FAIL":
            self._store.fail(self._parent, trial.number, reason(trial))
        if self._settings.trials != "all" and len(study.finished) % 20 == 0:
            self._thin(study)

    def ended(self, study: Study) -> None:
        """Closes the run, with the checkpoints of the best."""
        if self._store is None or self._parent is None:
            return
        self._log_means(study)
        there = self._store.artifacts(self._parent.run_id, "checkpoints")
        for trial in study.ranked[: self._settings.checkpoints]:
            folder = f"checkpoints/trial-{trial.number}"
            if folder not in there and (weights := study.folder(trial) / WEIGHTS).exists():
                self._store.keep(self._parent.run_id, weights, folder)
        if (table := study.directory / "trials.csv").exists():
            self._store.keep(self._parent.run_id, table, None)
        self._thin(study)
        # Called while an interrupt or error is on its way, too.
        status = "FINISHED" if sys.exception() is None else "KILLED"
        self._store.client.set_terminated(self._parent.run_id, status)

    def _log_best(self, study: Study) -> None:
        assert self._store is not None
        assert self._parent is not None
        if (best := study.best) is not None and best.value is not None:
            values = {"best/objective": best.value, "best/trial": best.number}
            self._store.log(self._parent.run_id, values, step=len(study.finished))

    def _log_means(self, study: Study) -> None:
        """The values of trials on several folds, into the runs of their first ones: one run of each trial has it."""
        assert self._store is not None
        assert self._parent is not None
        means = {str(t.number): t.value for t in study.finished if by_seed(t)} if study.repeated == "fold" else {}
        for run in self._store.below(self._parent, {"fold": "0"}) if means else ():
            mean = means.get(run.data.tags.get("trial", ""))
            if mean is not None and MEAN not in run.data.metrics:
                self._store.log(run.info.run_id, {MEAN: mean}, step=0)

    def _kept(self, study: Study) -> list["FrozenTrial"]:
        """Trials whose runs are kept: all, or the best `tracking.trials` and the baseline."""
        if isinstance(self._settings.trials, int):
            return [*study.ranked[: self._settings.trials], *([study.baseline] if study.baseline else [])]
        return study.finished

    def _thin(self, study: Study) -> None:
        """Deletes the other trials' runs (`mlflow gc` frees their space)."""
        if self._settings.trials != "all" and self._store is not None and self._parent is not None:
            self._store.thin(self._parent, {t.number for t in self._kept(study)})

    def _replay(self, study: Study) -> None:
        """Trials that the journal knows and MLflow lacks: its database was lost, or tracking was off."""
        assert self._store is not None
        assert self._parent is not None
        there = {r.data.tags.get("trial") for r in self._store.below(self._parent, {"state": "complete"})}
        lost = [t for t in self._kept(study) if t.state.name == "COMPLETE" and str(t.number) not in there]
        for trial, folder in ((t, path.parent) for t in lost for path in _results(study.folder(t))):
            hydra = OmegaConf.load(folder / ".hydra" / "hydra.yaml").hydra
            cfg, result = OmegaConf.load(folder / ".hydra" / "config.yaml"), load_result(folder)
            cfg.tracking = self._node  # today's, not the trial's
            assert isinstance(cfg, DictConfig)
            with trial_run(cfg, trial.number, hydra.runtime.choices, self._parent, started_before=True) as run:
                for row in result.curves:
                    run.epoch(int(row["epoch"]), row)
                complete(run, result, folder)
        self._log_best(study)  # a kill may have come between the journal and this curve
