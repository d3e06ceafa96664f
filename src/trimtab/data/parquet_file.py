"""Parquet files of plain columns."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from trimtab.data.columns import listed
from trimtab.data.table import Dropped
from trimtab.errors import DataError

_PANDAS_INDEX = "__index_level_"


def read_parquet_frame(path: Path) -> tuple[pd.DataFrame, tuple[Dropped, ...]]:
    """Reads a file without the index that pandas may have stored in it; the index counts rows from 0.

    Raises:
        DataError: the file is no Parquet, names a column twice or holds nested columns or bytes.
    """
    try:
        arrow = pq.ParquetFile(path).read()
    except (OSError, pa.ArrowException) as e:
        hint = "use data=csv" if path.suffix in (".csv", ".tsv", ".txt") else "name another file"
        raise DataError(f"{str(path)!r} is no Parquet file that can be read ({e}); {hint}") from e
    names = arrow.column_names
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(
            f"column names must differ, but {str(path)!r} has {listed(twice)} more than once; rename one of them"
        )
    for field in arrow.schema:
        if pa.types.is_nested(field.type) or pa.types.is_binary(field.type):
            raise DataError(
                f"a column must hold numbers, booleans, text or dates, but {field.name!r} of {str(path)!r} "
                f"holds {field.type}; turn it into plain columns or remove it from the file"
            )
    frame: pd.DataFrame = arrow.to_pandas(ignore_metadata=True)
    frame.index.name = "row"
    index = tuple(name for name in names if name.startswith(_PANDAS_INDEX))
    dropped = (Dropped(0, "the index of the frame it was made from", index),) if index else ()
    return frame.drop(columns=list(index)), dropped
