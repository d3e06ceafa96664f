"""MLflow runs against a real database and a real server: never doubled, nothing lost, clear when unreachable."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from time import sleep

import pytest
from mlflow import MlflowClient

from trimtab.errors import TrackingError
from trimtab.tracking.runs import Experiment, Parent, Settings, experiment, opened_run, reaching

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp('it\'s a "folder"')
    return Settings(uri=f"sqlite:///{folder}/mlflow.db", artifacts=str(folder / "artifacts"), flush_s=0.0)


@pytest.fixture(scope="module")
def store(settings: Settings) -> Experiment:
    found = experiment(settings, "digits")
    assert found is not None
    return found


def rows(epochs: int) -> list[dict[str, float]]:
    return [{"epoch": e, "val/loss": 1 / e, "lr": 0.1} for e in range(1, epochs + 1)]


def test_a_run_has_params_tags_and_curves(store: Experiment) -> None:
    parent = Parent(store.find_or_create("study x", {"study": "x", "role": "study"}, {}), {"study": "x"})
    with store.run("trial 3", {"study": "x", "trial": "3"}, params={"lr": 0.1}, parent=parent) as run:
        for row in rows(4):
            run.epoch(int(row["epoch"]), row)
        run.write({"objective": 0.25}, {"state": "complete"})
    found = store.client.get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert found.data.params == {"lr": "0.1"}
    assert found.data.tags["mlflow.parentRunId"] == parent.run_id
    assert found.data.tags["state"] == "complete"
    assert [m.value for m in store.client.get_metric_history(run.run_id, "val/loss")] == [1, 1 / 2, 1 / 3, 1 / 4]


def test_a_rerun_continues_its_run_and_doubles_no_point(store: Experiment) -> None:
    key = {"study": "y", "trial": "1"}

    def interrupted() -> str:
        with store.run("trial 1", key, params={"lr": 0.1}) as killed:
            for row in rows(2):
                killed.epoch(int(row["epoch"]), row)
            raise KeyboardInterrupt(killed.run_id)

    with pytest.raises(KeyboardInterrupt) as killed:
        interrupted()
    with store.run("trial 1", key, params={"lr": 0.1}) as again:
        for row in rows(5):
            again.epoch(int(row["epoch"]), row)
        again.write()
    assert again.run_id == str(killed.value)
    assert len(store.find(key)) == 1
    history = store.client.get_metric_history(again.run_id, "val/loss")
    assert [m.step for m in history] == [1, 2, 3, 4, 5]
    assert store.client.get_run(again.run_id).info.status == "FINISHED"


def test_a_block_that_raises_leaves_a_failed_run(store: Experiment) -> None:
    with pytest.raises(ValueError, match="x"), store.run("t", {"study": "z", "trial": "0"}) as run:
        raise ValueError("x")
    assert store.client.get_run(run.run_id).info.status == "FAILED"


def test_many_metrics_and_long_values_fit_mlflows_limits(settings: Settings) -> None:
    store = Experiment(replace(settings, flush_s=60.0), "digits")
    with store.run("big", {"study": "big"}, params={f"p{i}": "x" * 9000 for i in range(150)}) as run:
        for row in rows(1200):
            run.epoch(int(row["epoch"]), row)
        run.write()
    assert len(store.client.get_metric_history(run.run_id, "lr")) == 1200


def test_thinning_keeps_whom_it_is_told(store: Experiment) -> None:
    parent = Parent(store.study(None, "study", {"role": "study"}), {"fingerprint": "thin"})
    for number in range(4):
        with store.run(f"trial {number}", {"trial": str(number)}, tags={"role": "trial"}, parent=parent):
            pass
    store.thin(parent, {0, 2})
    assert {r.data.tags["trial"] for r in store.below(parent, {"role": "trial"})} == {"0", "2"}


def test_a_study_finds_its_own_run_and_nobody_elses(store: Experiment) -> None:
    mine = store.study(None, "study a", {"fingerprint": "a"})
    assert store.study(mine, "study a", {"fingerprint": "a"}) == mine
    assert store.study(None, "study a", {"fingerprint": "a"}) != mine
    store.client.delete_run(mine)
    assert store.study(mine, "study a", {"fingerprint": "a"}) != mine
    assert store.study("0" * 32, "study a", {"fingerprint": "a"}) not in ("0" * 32, mine)


def test_system_metrics_on_request(settings: Settings) -> None:
    with opened_run(replace(settings, system_metrics=True), "digits", "s", {"study": "s"}) as run:
        sleep(4.5)
    metrics = MlflowClient(settings.uri).get_run(run.run_id).data.metrics
    assert any(name.startswith("system/") for name in metrics)


def test_tracking_off_writes_nothing(tmp_path: Path) -> None:
    with opened_run(Settings(uri=None), "digits", "t", {"a": "b"}) as run:
        run.epoch(1, {"val/loss": 1.0})
        run.write({"x": 1.0})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:9", "sqlite:////proc/nowhere/mlflow.db", "postgresql://127.0.0.1:9/none", "gopher://x"]
)
def test_unreachable_is_said_at_once(uri: str) -> None:
    with pytest.raises(TrackingError, match=r"tracking\.uri=.*tracking=none"):
        Experiment(Settings(uri=uri), "digits")


@pytest.mark.parametrize(("set_by_user", "tries"), [(None, "1"), ("7", "7")])
def test_a_first_look_is_not_repeated_for_a_quarter_of_a_minute(
    set_by_user: str | None, tries: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if set_by_user is not None:
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", set_by_user)
    before = os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]
    with reaching("http://127.0.0.1:9"):
        assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == tries
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == before


@pytest.mark.slow
def test_against_a_real_server(tmp_path: Path, free_port: int) -> None:
    command = ["mlflow", "server", "--backend-store-uri", f"sqlite:///{tmp_path}/s.db", "--port", str(free_port)]
    more = ["--host", "127.0.0.1", "--artifacts-destination", str(tmp_path / "artifacts")]
    config = tmp_path / "config.yaml"
    config.write_text("a: 1")
    with subprocess.Popen([sys.executable, "-m", *command, *more], stderr=subprocess.DEVNULL) as server:
        try:
            store = _when_up(f"http://127.0.0.1:{free_port}")
            with store.run("trial", {"study": "http", "trial": "0"}, params={"lr": 1}) as run:
                run.epoch(1, {"val/loss": 0.5})
                run.file(config)
                run.write({"objective": 0.5})
            assert store.client.get_run(run.run_id).data.metrics["val/loss"] == 0.5
            assert [f.path for f in store.client.list_artifacts(run.run_id)] == ["config.yaml"]
        finally:
            server.terminate()


def _when_up(uri: str) -> Experiment:
    for _ in range(60):
        try:
            return Experiment(Settings(uri=uri, flush_s=0.0), "digits")
        except TrackingError:
            sleep(1)
    raise AssertionError(f"{uri} did not come up")
