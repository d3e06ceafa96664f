"""A project of one's own, and the doors as a person calls them."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
PROJECT = ("conf", "params.yaml", "dvc.yaml", "Makefile", ".gitignore", ".dvc", ".dvcignore", "src")


@dataclass(frozen=True)
class Project:
    """A checkout to run stages in; code comes from the repository under test."""

    root: Path

    def python(self, *argv: str, timeout_s: float = 300, **env: str) -> subprocess.CompletedProcess[str]:
        """`python -m …` in the project, output captured."""
        return subprocess.run(
            [sys.executable, "-m", *argv],
            cwd=self.root,
            env=self.environment(**env),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def stage(self, name: str, *overrides: str, **env: str) -> subprocess.CompletedProcess[str]:
        """One door; fails the test unless it succeeds."""
        done = self.python(f"trimtab.stages.{name}", *overrides, **env)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def start(self, *argv: str) -> "subprocess.Popen[str]":
        """Starts `python -m …`, to be killed."""
        return subprocess.Popen(
            [sys.executable, "-m", *argv],
            cwd=self.root,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def environment(self, **env: str) -> dict[str, str]:
        """This process's environment with the environment's programs first; Python may write what it compiles."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_", "PYTEST_", "PYTHONDONT"))}
        return {**clean, "PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true", **env}

    def git(self, *argv: str) -> None:
        """git in the project, as somebody."""
        who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", *who, *argv], cwd=self.root, check=True, capture_output=True)

    def dvc(self, *argv: str) -> str:
        """dvc in the project; fails the test unless it succeeds."""
        done = self.python("dvc", *argv)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def set_params(self, **settings: object) -> None:
        """Writes params.yaml anew from the shipped one."""
        params = yaml.safe_load((ROOT / "params.yaml").read_text())
        (self.root / "params.yaml").write_text(yaml.safe_dump({**params, **settings}, sort_keys=False))

    def files(self, *folders: str) -> dict[str, bytes]:
        """Contents by relative path."""
        paths = (p for f in folders for p in sorted((self.root / f).rglob("*")) if p.is_file())
        return {str(p.relative_to(self.root)): p.read_bytes() for p in paths}


TINY = {"budget": {"trials": 4}, "set": {"training": {"epochs": 3}, "evaluate": {"resamples": 100}}}
