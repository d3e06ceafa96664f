"""Tables as people hand them over: a path in, a frame or a clear error out."""

import math
import os
from pathlib import Path

import pandas as pd

from trimtab.data.columns import suggestion
from trimtab.data.csv_file import read_csv_frame
from trimtab.data.images import read_folder
from trimtab.data.parquet_file import read_parquet_frame
from trimtab.errors import DataError


def readable(path: str | Path) -> Path:
    """Holds a path to be a file with something in it.

    Raises:
        DataError: it is a folder, is not there, is empty or may not be read.
    """
    file = Path(path)
    if file.is_dir():
        raise DataError(f"a table must be a file, but {str(file)!r} is a folder; name one of the files in it")
    if not file.is_file():
        beside = [p.name for p in file.parent.iterdir()] if file.parent.is_dir() else []
        raise DataError(
            f"a table must be a file, but {str(file)!r} does not exist{suggestion(file.name, beside)} "
            "give a path relative to the project, or an absolute one"
        )
    if not os.access(file, os.R_OK):
        raise DataError(f"a table must be readable, but {str(file)!r} is not; change its permissions")
    if file.stat().st_size == 0:
        raise DataError(f"a table must have rows, but {str(file)!r} is empty; name another file")
    return file


def read_rows(path: str | Path, shape: tuple[int, ...] = ()) -> pd.DataFrame:
    """Raw rows of a CSV or Parquet file, told apart by its first bytes, or of a folder of images; for predictions.

    Args:
        path: what a person gave.
        shape: of the examples that the model was trained on; images are brought to it.

    Raises:
        DataError: the file cannot be read as either, or it is a folder and the model knows no images.
    """
    if Path(path).is_dir() and shape:
        if len(shape) != 3:
            raise DataError(
                f"a folder is read as images, but {str(path)!r} is one and the model was trained on rows of "
                f"{math.prod(shape)} values; give a CSV or Parquet file"
            )
        return read_folder(Path(path), shape[1:], shape[0])
    file = readable(path)
    with file.open("rb") as opened:
        is_parquet = opened.read(4) == b"PAR1"
    frame, _ = read_parquet_frame(file) if is_parquet else read_csv_frame(file)
    return frame
