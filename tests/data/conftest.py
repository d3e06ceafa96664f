from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose name breaks whatever forgets to quote."""
    nasty = tmp_path / 'it\'s a "folder" with; spaces'
    nasty.mkdir()
    return nasty


def _table(loader: Callable[..., object], target: str) -> pd.DataFrame:
    """One of scikit-learn's real tables, with holes and a text column that repeats its first feature roughly."""
    frame: pd.DataFrame = loader(as_frame=True).frame.rename(columns={"target": target})  # type: ignore[attr-defined]
    rng = np.random.default_rng(0)
    first = frame.columns[0]
    size = pd.cut(frame[first], 3, labels=["small", "middle", "large"]).astype("str")
    frame.insert(0, "size", size.mask(rng.random(len(frame)) < 0.05))
    frame[first] = frame[first].mask(rng.random(len(frame)) < 0.1)
    return frame


@pytest.fixture(scope="session")
def wine() -> pd.DataFrame:
    return _table(load_wine, "grape")


@pytest.fixture(scope="session")
def cancer() -> pd.DataFrame:
    frame = _table(load_breast_cancer, "diagnosis")
    return frame.assign(diagnosis=frame["diagnosis"].map({0: "malignant", 1: "benign"}))


@pytest.fixture(scope="session")
def diabetes() -> pd.DataFrame:
    return _table(load_diabetes, "progression")
