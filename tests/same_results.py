"""When two trainings came to the same."""

from dataclasses import fields

import numpy as np
import pandas as pd
import torch

from trimtab.trial.result import TrialResult


def equal(a: TrialResult, b: TrialResult) -> bool:
    """Bitwise, in all that does not depend on the clock."""
    plain = {f.name for f in fields(a)} - {"per_example", "weights", "seconds", "peak_memory_mb"}
    return (
        all(getattr(a, name) == getattr(b, name) for name in plain)
        and np.array_equal(a.per_example, b.per_example)
        and all(torch.equal(a.weights[name], b.weights[name]) for name in a.weights | b.weights)
    )


def agree(ours: pd.DataFrame, theirs: pd.DataFrame, but: int = 1) -> None:
    """Holds trials' tables of two engines to each other, all but a few trials.

    Adam's first steps on a gradient of nearly 0 go by its sign, which may be that of a rounding: initial weights that
    differ by 1e-7 end 3 % apart in one of some trials, on one engine too.
    """
    assert ours.columns.equals(theirs.columns)
    numbers = ours.select_dtypes("number").columns
    close = np.isclose(ours[numbers], theirs[numbers], rtol=1e-4, atol=0, equal_nan=True).all(axis=1)
    assert (~close).sum() <= but, (ours[~close], theirs[~close])
    pd.testing.assert_frame_equal(ours[close], theirs[close], rtol=1e-4)
