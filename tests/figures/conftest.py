"""Studies to draw."""

from pathlib import Path

import pytest

from sample_results import REGRESSION, Sample, write_sample
from trimtab.figures.table import Study

SAMPLES = {
    "minimize": Sample(),
    "maximize": REGRESSION,
    "one trial": Sample(trials=1),
    "all others failed": Sample(trials=6, keep=0),
}


@pytest.fixture(scope="session")
def studies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Study]:
    """A study per kind in SAMPLES, read back from its files."""
    root = tmp_path_factory.mktemp("studies with spaces")
    return {name: Study.read(write_sample(root / name, sample) / "sweep") for name, sample in SAMPLES.items()}


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classification's whole results folder; read only."""
    return write_sample(tmp_path_factory.mktemp("sample") / "results", Sample())
