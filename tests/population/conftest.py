import pytest

from sample_members import Rows


@pytest.fixture(scope="session")
def rows() -> Rows:
    return Rows()
