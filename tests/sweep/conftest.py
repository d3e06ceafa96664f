"""Fixtures of the sweep's tests."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig
from sweep_app import App, write_app

Task = Callable[[DictConfig], Any]


@pytest.fixture
def app(tmp_path: Path) -> App:
    return write_app(tmp_path / 'it\'s "an" app')


@pytest.fixture
def sweep(app: App, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Sweeps a task in this process; errors come through."""

    def run(task: Task, *overrides: str) -> None:
        GlobalHydra.instance().clear()
        monkeypatch.setattr(sys, "argv", ["app.py", "--multirun", *overrides])
        hydra.main(config_path=str(app.folder / "conf"), config_name="config", version_base="1.3")(task)()

    monkeypatch.chdir(app.folder)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    yield run
    GlobalHydra.instance().clear()
