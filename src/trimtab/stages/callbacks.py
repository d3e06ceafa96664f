"""What happens beside a study, in the sweeper's process: MLflow's parent run, and weights that are not kept."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trimtab.paths import write_json
from trimtab.stages import unpack
from trimtab.sweep.study import Study, reason
from trimtab.tracking.runs import Experiment, Parent, experiment

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

WEIGHTS = "weights.pt"


def best_first(study: Study) -> list["FrozenTrial"]:
    """Completed trials, the best first, ties by number."""
    sign = 1.0 if study.direction == "minimize" else -1.0
    done = [t for t in study.finished if t.value is not None]
    return sorted(done, key=lambda t: (sign * (t.value or 0.0), t.number))


class BestWeights:
    """Of all trials only the best `keep` and the baseline keep their weights on disk."""

    def __init__(self, keep: int) -> None:
        self._keep = keep

    def started(self, study: Study) -> None:
        """Drops what a killed sweep left."""
        kept = {t.number for t in best_first(study)[: self._keep]} | {0}
        for trial in study.finished:
            if trial.number not in kept:
                self._drop(study, trial)

    def finished(self, study: Study, trial: "FrozenTrial") -> None:
        """Drops the weights of the one that fell out of the best."""
        for other in [*best_first(study)[self._keep : self._keep + 1], *([trial] if trial.value is None else [])]:
            if other.number != 0:
                self._drop(study, other)

    def ended(self, study: Study) -> None:
        """Nothing is left to do."""

    @staticmethod
    def _drop(study: Study, trial: "FrozenTrial") -> None:
        (study.folder(trial) / WEIGHTS).unlink(missing_ok=True)


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
        self._data = data
        self._metric = metric
        self._tags = {"data_hash": data_hash, "git_commit": unpack.git_commit()}
        self._store: Experiment | None = None
        self._parent: Parent | None = None

    def started(self, study: Study) -> None:
        """Finds or creates the run, and says in the study's folder where it is."""
        self._store = experiment(self._settings, self._data)
        if self._store is None:
            (study.directory / "mlflow.json").unlink(missing_ok=True)
            return
        key = {"study": study.name, "role": "study"}
        run_id = self._store.find_or_create(f"study {study.name}", key, {**self._tags, "metric": self._metric})
        self._store.client.update_run(run_id, status="RUNNING")
        self._parent = Parent(run_id, {"study": study.name, **self._tags})
        write_json(study.directory / "mlflow.json", {"run_id": run_id, "tags": dict(self._parent.tags)})

    def finished(self, study: Study, trial: "FrozenTrial") -> None:
        """Moves the best so far on; a trial whose worker died could not end its own run."""
        if self._store is None or self._parent is None:
            return
        best, step = study.best, len(study.finished)
        if best is not None and best.value is not None:
            values = {"best/objective": best.value, "best/trial": best.number}
            self._store.log(self._parent.run_id, values, step)
        if trial.value is None:
            self._store.fail({"study": study.name, "trial": str(trial.number)}, reason(trial))
        if self._settings.trials != "all" and step % 20 == 0:
            self._thin(study)

    def ended(self, study: Study) -> None:
        """Closes the run, with the checkpoints of the best."""
        if self._store is None or self._parent is None:
            return
        for place, trial in enumerate(best_first(study)[: self._settings.checkpoints], start=1):
            if (weights := study.folder(trial) / WEIGHTS).exists():
                self._store.keep(self._parent.run_id, weights, f"checkpoints/{place}-trial-{trial.number}")
        if (table := study.directory / "trials.csv").exists():
            self._store.keep(self._parent.run_id, table, None)
        self._thin(study)
        # Called while an interrupt or error is on its way, too.
        status = "FINISHED" if sys.exception() is None else "KILLED"
        self._store.client.set_terminated(self._parent.run_id, status)

    def _thin(self, study: Study) -> None:
        """Deletes the runs of trials beyond the best `tracking.trials` (`mlflow gc` frees their space)."""
        if isinstance(self._settings.trials, int) and self._store is not None:
            kept = {str(t.number) for t in best_first(study)[: self._settings.trials]} | {"0"}
            self._store.thin({"study": study.name, "role": "trial"}, "trial", kept)
