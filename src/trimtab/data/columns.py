"""What one column holds, and how it becomes plain numbers, text or times.

An index named "line" tells on which line of its file a row begins; messages use it.
"""

import math
from collections.abc import Hashable, Iterable
from difflib import get_close_matches
from typing import Literal

import numpy as np
import pandas as pd
from pandas.api import types

from trimtab.errors import DataError

Kind = Literal["number", "text", "date"]

LARGEST = 1e30  # squares of larger numbers, and sums of them, leave the range of the networks' float32
FEW_VALUES = 20  # up to so many different values numbers may be mere names
MOSTLY = 0.9  # of the values: from here on a text column is taken for numbers gone wrong
NEARLY_ALL = 0.9  # of the values differ: from here on a text column seems to name its rows
_ISO_DATE = r"\d{4}-\d\d-\d\d([T ].*)?"
_DATES = (
    *("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d"),
    *("%d.%m.%y", "%d/%m/%y", "%m/%d/%y"),
    *("%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d-%b-%Y"),
)
_TIME_OF_DAY = r"[ ,T]+\d{1,2}:\d\d.*$"
_WORDS = {
    **dict.fromkeys(("", "na", "n/a", "nan", "null", "none"), math.nan),
    "true": 1.0,
    "false": 0.0,
}


def listed(names: Iterable[object], most: int = 20) -> str:
    """Quotes names for a message; of many, the first ones and how many more there are."""
    quoted = [repr(name) for name in names]
    more = f", … and {len(quoted) - most} more" if len(quoted) > most else ""
    return ", ".join(quoted[:most]) + more


def suggestion(name: str, options: Iterable[str]) -> str:
    """What joins "there is no such name" to "these are the names": a question, or a semicolon."""
    by_lower = {option.lower(): option for option in options}
    near = get_close_matches(name.lower(), by_lower, n=1)
    return f"; did you mean {by_lower[near[0]]!r}?" if near else ";"


def place(column: pd.Series, mask: "pd.Series[bool]") -> str:
    """Names the first row that `mask` marks, e.g. `line 17`."""
    label: Hashable = column.index[int(np.argmax(mask.to_numpy()))]
    return f"{column.index.name or 'row'} {label}"


def plain(column: pd.Series) -> pd.Series:
    """Reduces a column to numpy numbers or booleans, `str` or datetime64; empty text is missing.

    Raises:
        DataError: the column holds lists, structures, bytes, durations or a mixture.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if types.is_object_dtype(column.dtype):
        column = _unboxed(column)
    if types.is_complex_dtype(column.dtype) or types.is_timedelta64_dtype(column.dtype):
        raise _unusable(column, str(column.dtype))
    if types.is_numeric_dtype(column.dtype):
        return _numpy_numbers(column)
    if types.is_datetime64_any_dtype(column.dtype):
        return column
    text = column.astype("str")
    return text.mask(text == "")


def kind(column: pd.Series) -> Kind:
    """What a plain column holds; text that is dates throughout, of one format, counts as dates."""
    if types.is_numeric_dtype(column.dtype):
        return "number"
    if types.is_datetime64_any_dtype(column.dtype):
        return "date"
    known = column.dropna().drop_duplicates().str.strip()
    return "date" if len(known) and _is_dates(known) else "text"


def names_rows(column: pd.Series) -> bool:
    """Whether a plain column seems to tell rows apart and nothing else: an identifier, or a number for each row.

    Text does if nine values in ten differ, integers if all differ and leave few gaps; other numbers and columns of few
    values never do.
    """
    known = column.dropna()
    if len(known) <= FEW_VALUES or types.is_float_dtype(known.dtype) or types.is_bool_dtype(known.dtype):
        return False
    if types.is_integer_dtype(known.dtype):
        return known.is_unique and len(known) >= NEARLY_ALL * (int(known.max()) - int(known.min()) + 1)
    return known.nunique() >= NEARLY_ALL * len(known)


def refuse_almost_numbers(column: pd.Series) -> None:
    """Holds a text column that nobody named to be text: with many numbers in it, it is a column of numbers gone wrong.

    Raises:
        DataError: it has decimal commas, or a few values that are no numbers.
    """
    known = column.dropna().astype("str").str.strip()
    number = pd.to_numeric(known, errors="coerce").notna()
    comma = pd.to_numeric(known.str.replace(",", ".", n=1, regex=False), errors="coerce").notna()
    if known.nunique() <= FEW_VALUES or (number | comma).mean() < MOSTLY:
        return
    if comma.all():
        raise DataError(
            f"column {column.name!r} looks like numbers with a decimal comma, e.g. {known[~number].iloc[0]!r}; write "
            "them with a point, or name the column in data.categorical"
        )
    wrong = (~number).reindex(column.index, fill_value=False)
    raise DataError(
        f"column {column.name!r} holds numbers, but {place(column, wrong)} holds {column[wrong].iloc[0]!r}; mend that "
        "value, leave it empty, or name the column in data.categorical"
    )


def as_numbers(column: pd.Series, rule: str) -> pd.Series:
    """float64; numbers written as text, and true/false, are understood; empty text and NA are missing.

    Raises:
        DataError: text that is no number, or a number that is infinite or beyond 1e30; begins with `rule`.
    """
    if types.is_numeric_dtype(column.dtype):
        numbers = column.astype("float64")
    else:
        read = column.astype(object).map(_spoken)
        numbers = pd.to_numeric(read, errors="coerce").astype("float64")
        if (wrong := numbers.isna() & read.notna()).any():
            raise DataError(
                f"{rule} {column.name!r} must hold numbers, but {place(column, wrong)} holds "
                f"{column[wrong].iloc[0]!r}; mend that value, leave it empty, "
                "or name the column in data.categorical"
            )
    if (large := numbers.abs() > LARGEST).any():
        raise DataError(
            f"{rule} {column.name!r} must hold finite numbers below {LARGEST:g}, but "
            f"{place(column, large)} holds {numbers[large].iloc[0]}; mend that value or leave it empty"
        )
    return numbers


def as_text(column: pd.Series) -> pd.Series:
    """`str`, where 3, 3.0 and "3" are the same category; missing stays missing, empty text is missing."""
    text = column.astype(object).map(_written, na_action="ignore").astype("str")
    return text.mask(text == "")


def as_times(column: pd.Series) -> pd.Series:
    """Something that sorts by time: numbers as they are, dates and ISO 8601 text in UTC.

    Raises:
        DataError: text that is no ISO 8601 date, or missing values.
    """
    if (missing := column.isna()).any():
        raise DataError(
            f"time column {column.name!r} must be complete, but {place(column, missing)} is empty; "
            "fill it or remove the row"
        )
    if types.is_numeric_dtype(column.dtype):
        return column
    times = pd.to_datetime(column, format="ISO8601", utc=True, errors="coerce")
    if (wrong := times.isna()).any():
        raise DataError(
            f"time column {column.name!r} must hold numbers or ISO 8601 dates such as 2024-03-31, but "
            f"{place(column, wrong)} holds {column[wrong].iloc[0]!r}; rewrite the column"
        )
    return times


def _is_dates(known: pd.Series) -> bool:
    if known.str.fullmatch(_ISO_DATE).all():
        return True
    days = known.str.replace(_TIME_OF_DAY, "", regex=True)
    return any(_are_written(days.head(), form) and _are_written(days, form) for form in _DATES)


def _are_written(days: pd.Series, form: str) -> bool:
    if "%y" in form and (days.str.len() != len("31.10.20")).any():  # 1.2.10 is rather a version
        return False
    return bool(pd.to_datetime(days, format=form, errors="coerce").notna().all())


def _unboxed(column: pd.Series) -> pd.Series:
    """Gives an object column the dtype of what lies in it."""
    held = types.infer_dtype(column, skipna=True)
    if held in ("boolean", "integer", "floating", "mixed-integer-float", "decimal", "empty"):
        numbers = pd.to_numeric(column.map(float, na_action="ignore")).astype("float64")
        whole_booleans = held == "boolean" and not column.isna().any()
        return numbers.astype(bool) if whole_booleans else numbers
    if held in ("date", "datetime", "datetime64"):
        return pd.to_datetime(column)
    if held != "string":
        raise _unusable(column, held)
    return column.astype("str")


def _numpy_numbers(column: pd.Series) -> pd.Series:
    if isinstance(column.dtype, np.dtype):
        return column
    if column.isna().any() or types.is_float_dtype(column.dtype):
        return column.astype("float64")
    return column.astype("bool" if types.is_bool_dtype(column.dtype) else "int64")


def _unusable(column: pd.Series, held: str) -> DataError:
    known = column.dropna()
    return DataError(
        f"a column must hold numbers, booleans, text or dates, but {column.name!r} holds {held} values such as "
        f"{str(known.iloc[0])[:60]!r}; turn it into plain columns or remove it from the file"
    )


def _spoken(value: object) -> object:
    if isinstance(value, str):
        return _WORDS.get(value.strip().lower(), value)
    return float(value) if isinstance(value, bool | np.bool_) else value


def _written(value: object) -> str:
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)
