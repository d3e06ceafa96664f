"""What every later stage reads: training and validation part, or folds. It does not know the sealed folder.

Its arrays are mapped into memory: all workers read the same pages, and none needs scikit-learn for them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from trimtab.data.arrays import Arrays, Parts, Problem
from trimtab.data.folds import Fold, Known
from trimtab.data.frames import read_parquet
from trimtab.errors import DataError
from trimtab.paths import read_json

ARRAYS = "arrays"
"""The folder of both parts as networks see them: what `preprocessing` makes of the frames, made once."""


@dataclass(frozen=True, eq=False)
class Prepared(Parts[Arrays]):
    """Training and validation part as networks see them, and the hash of the data that they are of."""

    data_hash: str


def load_prepared(folder: Path, fold: Fold | None = None) -> Prepared:
    """Reads the folder of `prepare`, once per process as long as the data stay the same.

    Args:
        folder: of the stage.
        fold: validates in place of the split's own validation part; the preprocessing is then fitted anew, on the
            rows of the other folds alone.

    Raises:
        TrimtabError: `prepare` has not run, a file is damaged, or the rows do not make such a fold.
    """
    return _load(folder.resolve(), str(read_json(folder / "manifest.json")["data_hash"]), fold)


def check_folds(folder: Path, folds: Iterable[Fold | None]) -> None:
    """Holds the prepared rows to make these folds.

    Raises:
        DataError: they do not.
    """
    known = _known(folder.resolve(), str(read_json(folder / "manifest.json")["data_hash"]))
    for fold in folds:
        if fold is not None:
            known.parts(fold)


def load_frames(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Raw training and validation rows, for a refit that learns its preprocessing from both."""
    return read_parquet(folder / "train.parquet"), read_parquet(folder / "val.parquet")


def write_arrays(folder: Path, part: str, arrays: Arrays) -> None:
    """Keeps a part's arrays: (rows, *shape), one row after the other."""
    (folder / ARRAYS).mkdir(exist_ok=True)
    for name, values in (("x", arrays.x), ("y", arrays.y)):
        np.save(folder / ARRAYS / f"{part}-{name}.npy", np.ascontiguousarray(values))


def _arrays(folder: Path, part: str) -> Arrays:
    paths = [folder / ARRAYS / f"{part}-{name}.npy" for name in ("x", "y")]
    try:
        # "c": torch refuses memory that nobody may write to; what is written stays in the process that wrote.
        return Arrays(*(np.load(path, mmap_mode="c") for path in paths))
    except (OSError, ValueError) as e:
        raise DataError(f"cannot read {folder / ARRAYS}: {e}; run `python -m trimtab.stages.prepare` again") from e


@lru_cache(maxsize=12)
def _load(folder: Path, data_hash: str, fold: Fold | None) -> Prepared:
    if fold is None:
        problem = Problem.of(read_json(folder / "manifest.json")["problem"])
        return Prepared(_arrays(folder, "train"), _arrays(folder, "val"), problem, data_hash)
    from trimtab.data.preprocessing import Preprocessing  # half a second of scikit-learn

    train, val = _known(folder, data_hash).parts(fold)
    fitted = Preprocessing.load(folder / "preprocessing.joblib").refitted(train)
    return Prepared(fitted.arrays(train), fitted.arrays(val), fitted.problem, data_hash)


@lru_cache(maxsize=1)
def _known(folder: Path, data_hash: str) -> Known:
    manifest = read_json(folder / "manifest.json")
    settings = manifest["settings"]
    return Known(
        rows=pd.concat(load_frames(folder), ignore_index=True),
        features=tuple(manifest["features"]),
        target=manifest["target"],
        task=manifest["task"],
        group=settings["group"],
        time=settings["time"],
        duplicates=settings["duplicates"],
        seed=settings["split_seed"],
    )
