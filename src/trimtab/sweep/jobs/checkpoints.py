"""What a trial keeps to go on from its last pause; each stretch starts from a copy, so that a rerun starts alike."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

FOLDER = "checkpoint"


@contextmanager
def checkpointed(stretch: int | None) -> Iterator[Path | None]:
    """The folder that the task may write in: as it was at pause number `stretch`, empty before the first.

    What was kept has been lost: empty as well, the trial starts from zero. None where trials do not pause.
    """
    if stretch is None:
        yield None
        return
    folder = _folder()
    shutil.rmtree(folder, ignore_errors=True)
    if _kept(stretch).is_dir():
        shutil.copytree(_kept(stretch), folder)
    folder.mkdir(exist_ok=True)
    for old in range(1, stretch):
        shutil.rmtree(_kept(old), ignore_errors=True)
    yield folder


def keep(stretch: int) -> None:
    """Keeps the folder as it is, after `stretch` earlier pauses."""
    shutil.rmtree(_kept(stretch + 1), ignore_errors=True)
    _folder().replace(_kept(stretch + 1))


def drop(folder: Path) -> None:
    """Removes all checkpoints below a trial's folder."""
    for path in folder.glob(f"{FOLDER}*"):
        shutil.rmtree(path, ignore_errors=True)


def _folder() -> Path:
    return Path(HydraConfig.get().runtime.output_dir) / FOLDER


def _kept(pause: int) -> Path:
    return _folder().with_name(f"{FOLDER}-{pause}")
