"""The sealed folder: test rows and whatever is computed from their labels. No other module opens it.

Light to import: the stages that only ask for a fingerprint should not load pandas for it.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.errors import DataError, TrimtabError
from trimtab.paths import read_json, write_json

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

SEALED = "sealed"
_TEST = f"{SEALED}/test.parquet"
_SEAL = f"{SEALED}/seal.json"
_GROUPS = f"{SEALED}/groups.npy"


@dataclass(frozen=True)
class Origin:
    """What the prepared files were made from; comes from test labels too, as the source contains them.

    Attributes:
        key: hash of settings, source file or folder and code.
        source: hash of the source file or folder; None for data that come with a library.
    """

    key: str
    source: str | None


def seal(folder: Path, test: "pd.DataFrame", groups: "NDArray[np.int64] | None", origin: Origin) -> None:
    """Writes the test rows and closes a folder whose other files are all written."""
    import numpy as np

    from trimtab.data.frames import fingerprint, write_parquet

    (folder / SEALED).mkdir()
    write_parquet(test, folder / _TEST)
    if groups is not None:
        np.save(folder / _GROUPS, groups)
    write_json(
        folder / _SEAL,
        {
            "files": {name: file_hash(folder / name) for name in _names(folder)},
            "key": origin.key,
            "source_hash": origin.source,
            "test_fingerprint": fingerprint(test),
        },
    )


def is_sealed(folder: Path, key: str) -> bool:
    """Whether the folder was made for `key` and no file in it was changed, added or removed."""
    try:
        seal = _read(folder)
    except TrimtabError:
        return False
    files = {name: file_hash(folder / name) for name in _names(folder)}
    return bool(seal.get("key") == key and seal.get("files") == files)


def test_fingerprint(folder: Path) -> str:
    """Hash of the test rows, labels included; reads one small file."""
    return str(_read(folder)["test_fingerprint"])


def test_source(folder: Path) -> str:
    """What the test rows came from: hash of the source file, or the name of a reader that brings its data."""
    return str(read_json(folder / _SEAL)["source_hash"] or read_json(folder / "manifest.json")["settings"]["source"])


def open_test(folder: Path) -> "pd.DataFrame":
    """Breaks the seal: raw test rows with their labels.

    Raises:
        DataError: the rows are not those that were sealed.
    """
    from trimtab.data.frames import fingerprint, read_parquet

    test = read_parquet(folder / _TEST)
    if fingerprint(test) != test_fingerprint(folder):
        raise DataError(
            f"test rows must be those that were sealed, but {folder / _TEST} was changed; "
            "run `python -m trimtab.stages.prepare` again"
        )
    return test


def open_test_groups(folder: Path) -> "NDArray[np.int64] | None":
    """The number of each test row's group; None where rows stand for themselves."""
    import numpy as np

    path = folder / _GROUPS
    return np.load(path) if path.is_file() else None


def file_hash(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_hash(path: Path) -> str:
    """sha256 of a file, or of the relative paths and contents of all files in a folder that are not hidden."""
    if not path.is_dir():
        return file_hash(path)
    found = {p.relative_to(path).as_posix(): p for p in path.rglob("*") if p.is_file()}
    listing = {name: file_hash(p) for name, p in found.items() if "/." not in f"/{name}"}
    return hashlib.sha256(json.dumps(listing, sort_keys=True).encode()).hexdigest()


def _read(folder: Path) -> dict[str, Any]:
    if not (folder / _SEAL).is_file():
        raise DataError(f"{folder / _SEAL} is not there; run `python -m trimtab.stages.prepare` (or `dvc repro`) first")
    seal: dict[str, Any] = read_json(folder / _SEAL)
    return seal


def _names(folder: Path) -> list[str]:
    """All files but the seal itself, and but those that tools such as DVC hide there."""
    files = (path.relative_to(folder).as_posix() for path in folder.rglob("[!.]*") if path.is_file())
    return sorted(name for name in files if name != _SEAL)
