"""Frames as files: Parquet whose bytes, and fingerprints that, follow from the rows alone."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pandas.api import types

from trimtab.errors import DataError


def write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Writes plain columns without index and without the versions of the libraries that made them."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    pq.write_table(table.replace_schema_metadata(None), path)


def read_parquet(path: Path) -> pd.DataFrame:
    """Reads what `write_parquet` wrote.

    Raises:
        DataError: the file is absent or damaged.
    """
    try:
        frame: pd.DataFrame = pq.ParquetFile(path).read().to_pandas()
    except (OSError, pa.ArrowException) as e:
        raise DataError(f"{path} is not there or damaged; run `python -m trimtab.stages.prepare`") from e
    return frame


def fingerprint(*frames: pd.DataFrame) -> str:
    """sha256 over names, types and values; the same on every platform and version of the libraries."""
    digest = hashlib.sha256()
    for frame in frames:
        digest.update(f"{len(frame)} rows".encode())
        for name, column in frame.items():
            digest.update(json.dumps(str(name)).encode())
            digest.update(_content(column))
    return digest.hexdigest()


def _content(column: pd.Series) -> bytes:
    if types.is_bool_dtype(column.dtype):
        return b"bool" + column.to_numpy(bool).tobytes()
    if types.is_integer_dtype(column.dtype):
        return b"int" + column.to_numpy(np.dtype("<i8")).tobytes()
    if types.is_float_dtype(column.dtype):
        values = column.to_numpy(np.dtype("<f8"))
        return b"float" + np.where(np.isnan(values), np.nan, values).tobytes()  # NaN has many bit patterns
    return b"text" + json.dumps([v if isinstance(v, str) else None for v in column.tolist()]).encode()
