"""Every file that trimtab writes, as a property of one class, and the one way to write it: whole or not at all."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimtab.errors import DiskError, TrimtabError, outage

WRITTEN_BY = {"manifest.json": "prepare", "study.json": "sweep", "champion.json": "select", "metrics.json": "evaluate"}


@dataclass(frozen=True)
class Paths:
    """The two roots and what lies below them.

    Attributes:
        workspace: the checkout that runs; `results/` lies here, a folder per stage, kept by DVC.
        project: the real checkout. DVC runs experiments in temporary copies; what must outlive those
            (studies, the ledger of looks, the MLflow database) lies in `runs/` here.
    """

    workspace: Path
    project: Path

    @classmethod
    def here(cls) -> "Paths":
        """The checkout that contains the current directory, and where DVC copied it from, if it did."""
        cwd = Path.cwd()
        workspace = next((p for p in (cwd, *cwd.parents) if (p / "params.yaml").is_file()), cwd)
        return cls(workspace, _real_project(workspace))

    @property
    def conf(self) -> Path:
        """Hydra's configuration folder."""
        return self.workspace / "conf"

    @property
    def params(self) -> Path:
        """The standing overrides."""
        return self.workspace / "params.yaml"

    @property
    def results(self) -> Path:
        """What the stages hand to each other."""
        return self.workspace / "results"

    def stage(self, name: str) -> Path:
        """The folder of one stage's results."""
        return self.results / name

    @property
    def prepared(self) -> Path:
        """Training and validation part, preprocessing, manifest."""
        return self.stage("prepare")

    @property
    def manifest(self) -> Path:
        """Sizes, hashes, class counts of train and val, dropped rows."""
        return self.prepared / "manifest.json"

    @property
    def runs(self) -> Path:
        """Studies, single runs, ledger and MLflow's database."""
        return self.project / "runs"

    def tool(self, name: str, run: str) -> Path:
        """The folder of one run of a one-off door."""
        return self.runs / name / run

    @property
    def ledger(self) -> Path:
        """One line per look at a sealed test set."""
        return self.runs / "ledger.jsonl"

    def source(self, path: str) -> Path:
        """A file of the user's: relative to the workspace, or else to the real project."""
        given = Path(path).expanduser()
        if given.is_absolute() or (self.workspace / given).exists():
            return self.workspace / given
        return self.project / given


def _real_project(workspace: Path) -> Path:
    """The project a DVC copy was made from: DVC's copies lie in `.dvc/tmp/exps/` of the real one."""
    for parent in workspace.parents:
        if parent.name == "tmp" and parent.parent.name == ".dvc":
            return parent.parent.parent
    return workspace


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path` and moves it there if the block succeeds.

    Raises:
        DiskError: the folder cannot be written or the disk is full; nothing half-written is left.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except Exception as e:
        failure = e if isinstance(e, OSError) else outage(e)
        if not isinstance(failure, OSError):
            raise
        raise DiskError.of(path, failure) from e
    finally:
        with suppress(OSError):  # it may not be there, nor its folder
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Writes a text file, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes JSON with sorted keys, so that equal values give equal bytes; NaN is refused."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Reads what `write_json` wrote.

    Raises:
        TrimtabError: the file is not there yet, or was cut; names the stage that writes it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as e:
        stage = WRITTEN_BY.get(path.name)
        what = (
            f"run `python -m trimtab.stages.{stage}` (or `dvc repro`) first"
            if stage
            else "it was removed or never made"
        )
        raise TrimtabError(f"{path} is not there; {what}") from e
    except json.JSONDecodeError as e:
        raise TrimtabError(f"{path} is damaged ({e}); delete it and run its stage again") from e
