"""What all rooms' tests share."""

import shutil
import socket
from pathlib import Path

import pytest

from projects import PROJECT, ROOT, TINY, Project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy of configuration and pipeline with a tiny budget; the current directory is there."""
    root = tmp_path / "it's 100 % a project"  # a double quote as well is more than MLflow's own SQL can bear
    root.mkdir()
    for name in PROJECT:
        source = ROOT / name
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__", "tmp", "cache", "*.egg-info", "config.local")
            shutil.copytree(source, root / name, ignore=ignore)
        else:
            shutil.copy(source, root / name)
    monkeypatch.chdir(root)
    made = Project(root)
    made.set_params(**TINY)
    return made


@pytest.fixture
def free_port() -> int:
    """A port on loopback that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
