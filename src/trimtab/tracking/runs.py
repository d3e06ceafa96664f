"""One MLflow experiment per data set, one run per study, nested runs per trial."""

import logging
import os
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME
from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError

from trimtab.errors import Pruned, TrackingError, first_line

logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)

# MLflow's client would retry for minutes, silently; three times is a quarter of one.
RETRIES = "3"
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", RETRIES)

# MLflow takes at most 1000 items per batch, 100 of them params (https://mlflow.org/docs/latest/rest-api.html#log-batch).
METRICS_PER_BATCH = 800
PARAMS_PER_BATCH = 100
PARAM_CHARACTERS = 500

DATABASES = ("postgresql", "mysql", "mssql")
"""How tracking URIs of database servers begin (https://mlflow.org/docs/latest/self-hosting/architecture/backend-store/)."""


@dataclass(frozen=True)
class Settings:
    """conf/tracking, as plain values.

    Attributes:
        uri: MLflow tracking URI, or None for no tracking.
        artifacts: where a new experiment keeps artifacts; None leaves it to the server.
        trials: "all", or how many trial runs of a study are kept (the best).
        checkpoints: how many of the best trials keep their weights.
        flush_s: seconds between writes of a running trial's curves.
    """

    uri: str | None
    artifacts: str | None = None
    trials: str | int = "all"
    checkpoints: int = 5
    system_metrics: bool = False
    flush_s: float = 5.0


@dataclass(frozen=True)
class Parent:
    """What a worker must know to put a trial's run below its study's."""

    run_id: str
    tags: Mapping[str, str]


class RunWriter:
    """One MLflow run that is being written; curves go out in batches.

    A run that is continued after a kill keeps what it has: epochs that are already there are not written twice
    (a rerun trial repeats them exactly).
    """

    def __init__(
        self,
        client: MlflowClient,
        run_id: str,
        flush_s: float,
        params: Mapping[str, Any] | None = None,
        written: int = 0,
        artifact_uri: str | None = None,
    ) -> None:
        self.run_id = run_id
        self._repository: Any = get_artifact_repository(artifact_uri, client.tracking_uri) if artifact_uri else None
        self._client = client
        self._flush_s = flush_s
        self._params = [Param(k, str(v)[:PARAM_CHARACTERS]) for k, v in (params or {}).items()]
        self._written = written
        self._rows: list[Metric] = []
        self._flushed = time.monotonic()

    @property
    def pending(self) -> bool:
        """Whether something is kept that is not written yet."""
        return bool(self._rows or self._params)

    def epoch(self, epoch: int, row: Mapping[str, float]) -> None:
        """Keeps one row of the curves; every few seconds the rows are written."""
        if epoch > self._written:
            now = int(time.time() * 1000)
            self._rows += [Metric(k, float(v), now, epoch) for k, v in row.items() if k != "epoch"]
        if time.monotonic() - self._flushed > self._flush_s:
            self.write()

    def write(self, metrics: Mapping[str, float] | None = None, tags: Mapping[str, str] | None = None) -> None:
        """Writes what is kept (params with the first of it, to pay for one call), and with it metrics and tags."""
        now = int(time.time() * 1000)
        rows = self._rows + [Metric(k, float(v), now, 0) for k, v in (metrics or {}).items()]
        marks = [RunTag(k, v) for k, v in (tags or {}).items()]
        params, self._params = self._params, []
        batches = max(ceil(len(rows) / METRICS_PER_BATCH), ceil(len(params) / PARAMS_PER_BATCH), 1)
        for n in range(batches):
            metrics_now = rows[n * METRICS_PER_BATCH : (n + 1) * METRICS_PER_BATCH]
            params_now = params[n * PARAMS_PER_BATCH : (n + 1) * PARAMS_PER_BATCH]
            self._client.log_batch(self.run_id, metrics_now, params_now, marks)
        self._rows = []
        self._flushed = time.monotonic()

    def file(self, path: Path, folder: str | None = None) -> None:
        """Keeps a file as an artifact."""
        if self._repository is None:  # asking the client each time costs a query
            self._client.log_artifact(self.run_id, str(path), folder)
        else:
            self._repository.log_artifact(str(path), folder)


class Silent(RunWriter):
    """Stands in where tracking is off."""

    def __init__(self) -> None:
        self.run_id = ""

    def epoch(self, epoch: int, row: Mapping[str, float]) -> None:
        """Nothing."""

    def write(self, metrics: Mapping[str, float] | None = None, tags: Mapping[str, str] | None = None) -> None:
        """Nothing."""

    def file(self, path: Path, folder: str | None = None) -> None:
        """Nothing."""


class Experiment:
    """The runs of one data set.

    Raises:
        TrackingError: the server cannot be reached or the database cannot be used.
    """

    def __init__(self, settings: Settings, name: str) -> None:
        self.settings = settings
        self.name = name
        with reaching(settings.uri):
            self.client = MlflowClient(settings.uri)
            self.id = self._find_or_create()

    def _find_or_create(self) -> str:
        found = self.client.get_experiment_by_name(self.name)
        if found is not None:
            if found.lifecycle_stage == "deleted":
                raise TrackingError(
                    f"MLflow experiment '{self.name}' is deleted; restore it in MLflow or set data.name to another name"
                )
            return str(found.experiment_id)
        place = self.settings.artifacts if str(self.settings.uri).startswith("sqlite") else None
        location = f"{Path(place).resolve().as_uri()}/{self.name}" if place else None
        return str(self.client.create_experiment(self.name, artifact_location=location))

    def find(self, tags: Mapping[str, str]) -> list[Run]:
        """Runs that carry all these tags, oldest first."""
        query = " and ".join(f"tags.`{k}` = '{v}'" for k, v in tags.items())
        found: list[Run] = []
        token: str | None = None
        while True:
            page = self.client.search_runs(
                [self.id], query, order_by=["attributes.start_time ASC"], max_results=1000, page_token=token
            )
            found += page
            token = page.token
            if not token:
                return found

    def _known(self, run_id: str) -> Run | None:
        try:
            return self.client.get_run(run_id)
        except MlflowException as e:
            if e.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise

    def artifacts(self, run_id: str, folder: str) -> set[str]:
        """Paths of what a run keeps in a folder."""
        return {str(f.path) for f in self.client.list_artifacts(run_id, folder)}

    def find_or_create(self, name: str, key: Mapping[str, str], tags: Mapping[str, str]) -> str:
        """The run that `key` (some tags) names; created with all `tags` if there is none."""
        found = self.find(key)
        if found:
            return str(found[0].info.run_id)
        return str(self.client.create_run(self.id, tags={MLFLOW_RUN_NAME: name, **tags, **key}).info.run_id)

    @contextmanager
    def run(
        self,
        name: str,
        key: Mapping[str, str],
        *,
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        parent: Parent | None = None,
        started_before: bool = True,
    ) -> Iterator[RunWriter]:
        """One run for the time of a block: FINISHED after it or if it is pruned, FAILED if it raises anything else.

        Args:
            name: what MLflow's table shows.
            key: the tags that identify the run below its parent; a run that has them is continued, never doubled.
            tags: more tags.
            params: knobs; long values are cut.
            parent: the study's run.
            started_before: False saves the look for an earlier run, where there can be none.
        """
        below = {MLFLOW_PARENT_RUN_ID: parent.run_id, **parent.tags} if parent else {}
        marks = {**below, **(tags or {}), **key}
        if started_before:
            above = {MLFLOW_PARENT_RUN_ID: parent.run_id} if parent else {}
            run_id, artifact_uri = self.find_or_create(name, {**key, **above}, marks), None
        else:
            made = self.client.create_run(self.id, tags={MLFLOW_RUN_NAME: name, **marks}).info
            run_id, artifact_uri = str(made.run_id), str(made.artifact_uri)
        written = self._written_epochs(run_id) if started_before else 0
        if started_before:
            self.client.update_run(run_id, status="RUNNING")
        writer = RunWriter(self.client, run_id, self.settings.flush_s, params, written, artifact_uri)
        try:
            with _system_metrics(run_id, self.settings):
                yield writer
        except Pruned as e:
            writer.write(tags={"state": "pruned", "reason": str(e)[:PARAM_CHARACTERS]})
            self.client.set_terminated(run_id, "FINISHED")
            raise
        except BaseException as e:
            writer.write(tags={"state": "failed", "reason": str(e)[:PARAM_CHARACTERS]})
            self.client.set_terminated(run_id, "FAILED")
            raise
        if writer.pending:
            writer.write()
        self.client.set_terminated(run_id, "FINISHED")

    def _written_epochs(self, run_id: str) -> int:
        steps = [m.step for m in self.client.get_metric_history(run_id, "val/loss")]
        return max(steps, default=0)

    def study(self, known: str | None, name: str, tags: Mapping[str, str]) -> str:
        """The run of a study: the `known` one if it is still there, else a new one; never somebody else's."""
        if known is not None:
            run = self._known(known)
            if run is not None and run.info.lifecycle_stage == "active" and run.info.experiment_id == self.id:
                self.client.update_run(known, status="RUNNING")
                return known
        return str(self.client.create_run(self.id, tags={MLFLOW_RUN_NAME: name, **tags}).info.run_id)

    def below(self, parent: Parent, tags: Mapping[str, str]) -> list[Run]:
        """A study's runs that carry these tags."""
        return self.find({MLFLOW_PARENT_RUN_ID: parent.run_id, **tags})

    def log(self, run_id: str, values: Mapping[str, float], step: int) -> None:
        """Writes one point of some curves."""
        now = int(time.time() * 1000)
        self.client.log_batch(run_id, [Metric(k, float(v), now, step) for k, v in values.items()])

    def keep(self, run_id: str, path: Path, folder: str | None) -> None:
        """Keeps a file as an artifact of a run."""
        self.client.log_artifact(run_id, str(path), folder)

    def fail(self, parent: Parent, trial: int, reason: str) -> None:
        """Closes the run of a trial that could not do so itself."""
        for run in self.below(parent, {"trial": str(trial)}):
            self.client.log_batch(run.info.run_id, tags=[RunTag("state", "failed"), RunTag("reason", reason[:500])])
            self.client.set_terminated(run.info.run_id, "FAILED")

    def thin(self, parent: Parent, kept: Collection[int]) -> None:
        """Deletes a study's ended runs of trials that are not among those kept."""
        for run in self.below(parent, {"role": "trial"}):
            if run.info.status != "RUNNING" and int(run.data.tags["trial"]) not in kept:
                self.client.delete_run(run.info.run_id)


@lru_cache(maxsize=4)
def experiment(settings: Settings, name: str) -> Experiment | None:
    """The data set's experiment, opened once per process; None where tracking is off."""
    return None if settings.uri is None else Experiment(settings, name)


@contextmanager
def opened_run(settings: Settings, experiment_name: str, *args: Any, **kwargs: Any) -> Iterator[RunWriter]:
    """`Experiment.run` of the named experiment, or a run that writes nothing where tracking is off.

    Raises:
        TrackingError: MLflow cannot be reached any more. That is not the trial's fault: it stays open.
    """
    if (store := experiment(settings, experiment_name)) is None:
        yield Silent()
        return
    try:
        with store.run(*args, **kwargs) as run:
            yield run
    except (MlflowException, SQLAlchemyError) as e:
        raise _unreachable(settings.uri, e) from e


@contextmanager
def reaching(uri: str | None) -> Iterator[None]:
    """Fails within seconds where MLflow's client would retry for minutes, and says what to do."""
    patience = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
    before = {k: os.environ.get(k) for k in patience}
    os.environ.update({k: v for k, v in patience.items() if before[k] in (None, RETRIES)})
    try:
        if uri and uri.startswith("sqlite:///"):
            Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        elif uri and uri.startswith(DATABASES):
            create_engine(uri).connect().close()  # MLflow itself tries ten times, for minutes
        yield
    except (MlflowException, SQLAlchemyError, ImportError, OSError) as e:
        raise _unreachable(uri, e) from e
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)


def _unreachable(uri: str | None, error: Exception) -> TrackingError:
    remedy = "free space or make its folder writable" if str(uri).startswith("sqlite") else "start that server"
    return TrackingError(
        f"tracking.uri={uri} cannot be used: {first_line(error)}; {remedy}, name another one, "
        "or turn tracking off with tracking=none"
    )


@contextmanager
def _system_metrics(run_id: str, settings: Settings) -> Iterator[None]:
    if not settings.system_metrics:
        yield
        return
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    mlflow.set_tracking_uri(str(settings.uri))
    monitor: Any = SystemMetricsMonitor(run_id, sampling_interval=2)  # type: ignore[no-untyped-call]
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()
