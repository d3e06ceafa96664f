"""What every later stage reads: training and validation part, or folds. It does not know the sealed folder."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pandas as pd

from trimtab.data.arrays import Arrays, Problem
from trimtab.data.folds import Fold, Known
from trimtab.data.frames import read_parquet
from trimtab.data.preprocessing import Preprocessing
from trimtab.paths import read_json


@dataclass(frozen=True)
class Prepared:
    """Training and validation part, ready for a network. The arrays are shared: never write into them."""

    train: Arrays
    val: Arrays
    problem: Problem
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


@lru_cache(maxsize=12)
def _load(folder: Path, data_hash: str, fold: Fold | None) -> Prepared:
    preprocessing = Preprocessing.load(folder / "preprocessing.joblib")
    if fold is None:
        train, val = load_frames(folder)
    else:
        train, val = _known(folder, data_hash).parts(fold)
        preprocessing = preprocessing.refitted(train)
    return Prepared(preprocessing.arrays(train), preprocessing.arrays(val), preprocessing.problem, data_hash)


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
