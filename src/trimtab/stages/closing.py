"""What every stage has in common: is the data ready, a progress bar, and the three lines at the end."""

import json
import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from trimtab.errors import DataError
from trimtab.overrides import given_overrides
from trimtab.paths import Paths, read_json


class Advance(Protocol):
    """Moves a progress bar on by one and says what is next."""

    def __call__(self, text: str = "") -> None:
        """One step is done."""


def closing(found: str | Iterable[str], where: str | Path, then: str) -> None:
    """Ends a stage: what was found, where it lies, what to type next."""
    lines = [found] if isinstance(found, str) else list(found)
    place = Path(where)
    shown = place.relative_to(Path.cwd()) if place.is_relative_to(Path.cwd()) else place
    print(*lines, f"where: {shown}", f"next:  {then}", sep="\n", flush=True)


def require_prepared(cfg: DictConfig) -> None:
    """Refuses to go on with no prepared data, or with data prepared under other settings.

    Raises:
        DataError: says to run `prepare`.
    """
    from trimtab.stages.prepare import settings

    manifest = Paths.here().manifest
    want = json.loads(json.dumps(asdict(settings(cfg))))
    if not manifest.exists():
        raise DataError(f"no data are prepared yet; run `python -m trimtab.stages.prepare {_typed(cfg)}` first")
    have = read_json(manifest)["settings"]
    changed = [k for k, v in want.items() if have.get(k) != v]
    if changed:
        key = changed[0]
        raise DataError(
            f"the prepared data have data.{key}={have.get(key)} but the configuration says {want[key]}; "
            f"run `python -m trimtab.stages.prepare {_typed(cfg)}` first"
        )


def _typed(cfg: DictConfig) -> str:
    """What was typed of the data, for another stage; its option where nothing was."""
    hydra: Any = cfg.hydra if "hydra" in cfg else HydraConfig.get()
    given = (o for o in given_overrides(hydra) if o.key.partition(".")[0] == "data" and o.key != "data.hash")
    return shlex.join([o.text for o in given] or [f"data={hydra.runtime.choices.data}"])


@contextmanager
def progress(what: str, total: int) -> Iterator[Advance]:
    """A progress bar on a terminal, nothing off it."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.description}"), console=console, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("", total=total)

        def advance(text: str = "") -> None:
            bar.update(task, advance=1, description=text)

        yield advance
