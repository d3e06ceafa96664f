"""Throwaway projects to measure in: the checkout's configuration and pipeline, with runs and results of their own."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]


@contextmanager
def throwaway_project() -> Iterator[Path]:
    """A copy in a temporary folder, under git so that DVC works; removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as folder:
        root = Path(folder) / "project"
        ignore = shutil.ignore_patterns(".venv", "runs", "results", "__pycache__", "tmp", "cache", ".git", ".*_cache")
        shutil.copytree(ROOT, root, ignore=ignore)
        git = ["git", "-c", "user.name=bench", "-c", "user.email=bench@example.org"]
        for argv in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "bench"]):
            subprocess.run([*git, *argv], cwd=root, check=True, capture_output=True)
        yield root


def python(root: Path, *argv: str) -> str:
    """`python -m …` there; its output is shown only if it fails."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-m", *argv]
    done = subprocess.run(
        command, cwd=root, capture_output=True, text=True, check=False, env={**os.environ, "PATH": path}
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout
