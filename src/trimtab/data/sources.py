"""Where tables come from. Every reader takes the same settings, so that one door serves them all."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from trimtab.data.csv_file import read_csv_frame
from trimtab.data.files import readable
from trimtab.data.images import CLASS, read_class_folders
from trimtab.data.parquet_file import read_parquet_frame
from trimtab.data.table import Table, Task, make_table
from trimtab.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


class Columns(TypedDict, total=False):
    """Which column plays which part, and the shape of a row; what is not given or None is found."""

    target: str | None
    group: str | None
    time: str | None
    numeric: Sequence[str] | None
    categorical: Sequence[str] | None
    task: Task | None
    shape: Sequence[int] | None


def read_digits(**columns: Unpack[Columns]) -> Table:
    """1,797 handwritten digits, images of 8 × 8 pixels from 0 to 16; the target is `digit`.

    Source: scikit-learn's `load_digits`, the test set of UCI's Optical Recognition of Handwritten Digits.
    """
    from sklearn.datasets import load_digits

    frame = _loaded(load_digits(as_frame=True), "digit")
    return make_table(frame, **with_defaults(columns, target="digit", shape=(1, 8, 8)))


def read_breast_cancer(**columns: Unpack[Columns]) -> Table:
    """569 tumours, 30 measures of their cells; the target is `diagnosis`, malignant or benign.

    Source: scikit-learn's `load_breast_cancer`, UCI's Breast Cancer Wisconsin (Diagnostic).
    """
    from sklearn.datasets import load_breast_cancer

    frame = _loaded(load_breast_cancer(as_frame=True), "diagnosis")
    named = frame.assign(diagnosis=frame["diagnosis"].map({0: "malignant", 1: "benign"}))
    return make_table(named, **with_defaults(columns, target="diagnosis"))


def read_wine(**columns: Unpack[Columns]) -> Table:
    """178 wines, 13 chemical measures; the target is `cultivar`, one of three.

    Source: scikit-learn's `load_wine`, UCI's Wine.
    """
    from sklearn.datasets import load_wine

    return make_table(_loaded(load_wine(as_frame=True), "cultivar"), **with_defaults(columns, target="cultivar"))


def read_diabetes(**columns: Unpack[Columns]) -> Table:
    """442 patients, 10 measures; the target is `progression` of the disease after a year, a quantity.

    Source: scikit-learn's `load_diabetes`, from Efron et al. 2004, "Least Angle Regression".
    """
    from sklearn.datasets import load_diabetes

    # As measured: scikit-learn scales by all rows, and the test rows' mean would leak into training.
    frame = _loaded(load_diabetes(as_frame=True, scaled=False), "progression")
    return make_table(frame, **with_defaults(columns, target="progression"))


def read_csv(path: str | Path, **columns: Unpack[Columns]) -> Table:
    """A CSV file in UTF-8 with a header; the separator `,`, `;` or tab is found."""
    frame, dropped = read_csv_frame(readable(path))
    return make_table(frame, **with_defaults(columns), dropped=dropped)


def read_parquet(path: str | Path, **columns: Unpack[Columns]) -> Table:
    """A Parquet file of plain columns."""
    frame, dropped = read_parquet_frame(readable(path))
    return make_table(frame, **with_defaults(columns), dropped=dropped)


def read_image_folder(path: str | Path, *, size: Sequence[int], channels: int, **columns: Unpack[Columns]) -> Table:
    """A folder with a folder of images per class; the target is `class`.

    Args:
        path: the outer folder.
        size: height and width that every image is brought to.
        channels: 1 for grey, 3 for colour.
        columns: as for every reader.

    Raises:
        DataError: another target is named: the other columns are pixels.
    """
    if (target := columns.get("target") or CLASS) != CLASS:
        raise DataError(
            f"the target of a folder of images is {CLASS!r}, the folder that an image lies in, but data.target is "
            f"{target!r}; leave it out, or set data.target={CLASS}"
        )
    frame, dropped = read_class_folders(Path(path), size, channels)
    shape = (channels, *size)
    return make_table(frame, **with_defaults(columns, target=CLASS, shape=shape), dropped=dropped)


def with_defaults(columns: Columns, target: str | None = None, shape: Sequence[int] | None = None) -> Columns:
    """What a source knows of itself, where the settings say nothing else."""
    return {**columns, "target": columns.get("target") or target, "shape": columns.get("shape") or shape}


def _loaded(bunch: Any, target: str) -> "pd.DataFrame":
    frame: pd.DataFrame = bunch.frame.rename(columns={"target": target})
    return frame
