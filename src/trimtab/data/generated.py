"""Data that are computed and not stored: the same rows on every machine, each time."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Unpack

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trimtab.data.sources import Columns, with_defaults
from trimtab.data.table import Table, make_table
from trimtab.errors import ConfigError

CLASSES = 10
LENGTH = 40
HELD_OUT = "held_out"
FRESH_SEED = 43  # the published rows are those of seed 42

STUDENTS = 400


def read_mnist1d(*, test_rows: int | None = None, **columns: Unpack[Columns]) -> Table:
    """MNIST-1D: ten classes of sequences of 40 values; the published 1,000 test rows are the test part.

    Source: Greydanus & Kobak 2024, "Scaling Down Deep Learning with MNIST-1D" (arXiv:2011.14439). The generator of
    the package gives the rows of the published file, but for the last bits of a float64 (compared with that file).

    Args:
        test_rows: so many new rows of the same distribution, from another seed, take the place of the published test
            rows. Each of the two draws has mean 0 and standard deviation 1, as the package makes it.
        columns: as for every reader.

    Raises:
        ConfigError: `test_rows` is not a positive multiple of ten: each class has as many.
    """
    if test_rows is not None and (test_rows < 1 or test_rows % CLASSES):
        raise ConfigError(
            f"data.test_rows must be a positive multiple of {CLASSES}, as each class has as many rows, but is "
            f"{test_rows}; null takes the published 1,000"
        )
    known = _mnist1d()
    fresh = known if test_rows is None else _mnist1d(num_samples=test_rows, train_split=0.0, seed=FRESH_SEED)
    values = np.concatenate([known["x"], fresh["x_test"]]).astype(np.float32)  # a last bit may differ between machines
    frame = pd.DataFrame(values, columns=[f"value_{i}" for i in range(LENGTH)])
    frame["digit"] = np.concatenate([known["y"], fresh["y_test"]])
    frame[HELD_OUT] = np.arange(len(frame)) >= len(known["x"])
    return make_table(frame, **with_defaults(columns, target="digit", shape=(1, LENGTH)), held_out=HELD_OUT)


def read_exam(**columns: Unpack[Columns]) -> Table:
    """400 students: the hours that they studied and slept before an exam; the target is `passes`.

    Hours studied are uniform in 0…10, hours slept in 4…10, both to a hundredth. A student passes with probability
    1 / (1 + exp(-z)), z = 1.2 (studied - 5) - 0.8 (slept - 7.5)² + 1.5: studying helps, too little sleep hurts, and so
    does too much. The best guess is
    right for 89 % of such students, a straight line between the two for 82 %.
    """
    # The streams of RandomState are frozen; those of newer generators may change with numpy.
    draw = np.random.RandomState(0)
    studied = draw.uniform(0, 10, STUDENTS).round(2)
    slept = draw.uniform(4, 10, STUDENTS).round(2)
    passes = draw.uniform(size=STUDENTS) < pass_probability(studied, slept)
    frame = pd.DataFrame({"hours_studied": studied, "hours_slept": slept, "passes": passes})
    return make_table(frame, **with_defaults(columns, target="passes"))


def pass_probability(studied: NDArray[np.float64], slept: NDArray[np.float64]) -> NDArray[np.float64]:
    """The formula of `read_exam`."""
    probability: NDArray[np.float64] = 1 / (1 + np.exp(-(1.2 * (studied - 5) - 0.8 * (slept - 7.5) ** 2 + 1.5)))
    return probability


def _mnist1d(**changes: Any) -> dict[str, NDArray[Any]]:
    from mnist1d.data import get_dataset_args, make_dataset

    args = get_dataset_args()
    vars(args).update(changes)
    with _global_randomness_untouched():
        made: dict[str, NDArray[Any]] = make_dataset(args)
    return made


@contextmanager
def _global_randomness_untouched() -> Iterator[None]:
    """The generator seeds, and draws from, the random numbers that the whole process shares."""
    ours, numpys = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(ours)
        np.random.set_state(numpys)
