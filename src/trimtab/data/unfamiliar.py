"""What a model meets in new rows that it did not learn from: categories never seen, values that are not there."""

from collections.abc import Iterator

import pandas as pd

from trimtab.data.columns import as_numbers, as_text, listed
from trimtab.data.preprocessing import MISSING, Preprocessing

MOST_COLUMNS = 10


def unfamiliar(preprocessing: Preprocessing, rows: pd.DataFrame) -> list[str]:
    """One line that names columns and counts, for rows that `preprocessing` can read; none if there is nothing."""
    found = [*_unseen(preprocessing, rows), *_filled_in(preprocessing, rows)]
    more = [f"… and in {len(found) - MOST_COLUMNS} more columns"] if len(found) > MOST_COLUMNS else []
    return ["; ".join(found[:MOST_COLUMNS] + more)] if found else []


def _unseen(preprocessing: Preprocessing, rows: pd.DataFrame) -> Iterator[str]:
    for name, categories in preprocessing.categories.items():
        known = as_text(rows[name]).dropna()
        if len(strange := known[~known.isin(list(categories))]):
            examples = listed(strange.unique(), most=3)
            yield f"{name!r}: {len(strange)} of {len(rows)} values never seen in training ({examples})"


def _filled_in(preprocessing: Preprocessing, rows: pd.DataFrame) -> Iterator[str]:
    for name, median in preprocessing.medians.items():
        if gaps := int(as_numbers(rows[name], "numeric column").isna().sum()):
            yield f"{name!r}: {gaps} of {len(rows)} values missing, filled in with {median:.6g}, the training median"
    for name, categories in preprocessing.categories.items():
        if gaps := int(as_text(rows[name]).isna().sum()):
            how = "taken as a category of their own" if MISSING in categories else "as none was in training"
            yield f"{name!r}: {gaps} of {len(rows)} values missing, {how}"
