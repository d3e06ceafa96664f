"""What every later stage reads: training and validation part. It does not know the sealed folder."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pandas as pd

from trimtab.data.arrays import Arrays, Problem
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


def load_prepared(folder: Path) -> Prepared:
    """Reads the folder of `prepare`, once per process as long as the data stay the same.

    Raises:
        TrimtabError: `prepare` has not run, or a file is damaged.
    """
    return _load(folder.resolve(), str(read_json(folder / "manifest.json")["data_hash"]))


def load_frames(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Raw training and validation rows, for a refit that learns its preprocessing from both."""
    return read_parquet(folder / "train.parquet"), read_parquet(folder / "val.parquet")


@lru_cache(maxsize=2)
def _load(folder: Path, data_hash: str) -> Prepared:
    preprocessing = Preprocessing.load(folder / "preprocessing.joblib")
    train, val = (preprocessing.arrays(rows) for rows in load_frames(folder))
    return Prepared(train, val, preprocessing.problem, data_hash)
