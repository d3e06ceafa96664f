import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trimtab.errors import TrimtabError
from trimtab.trial.train import TrialResult, load_result, save_result

NAMES = ["result.json", "timing.json", "validation.npz", "weights.pt"]


@pytest.fixture(params=["digits", "diabetes"])
def case(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param).change(epochs=2)


def test_round_trip(case: Any, tmp_path: Path) -> None:
    result = case.run()
    folder = tmp_path / "a 'quoted' folder"
    save_result(folder, result)
    assert sorted(p.name for p in folder.iterdir()) == NAMES
    loaded = load_result(folder)
    plain = [n for n in TrialResult.__dataclass_fields__ if n not in ("per_example", "weights")]
    assert [getattr(loaded, n) for n in plain] == [getattr(result, n) for n in plain]
    np.testing.assert_array_equal(loaded.per_example, result.per_example)
    assert loaded.per_example.dtype == result.per_example.dtype
    assert loaded.weights == {}
    weights = torch.load(folder / "weights.pt", weights_only=True)
    buffer = io.BytesIO()
    torch.save(result.weights, buffer)
    assert (folder / "weights.pt").read_bytes() == buffer.getvalue()  # holds no file name, so no process id
    assert all(torch.equal(weights[name], value) for name, value in result.weights.items())


def test_same_seed_gives_the_same_bytes(case: Any, tmp_path: Path) -> None:
    for name in "ab":
        save_result(tmp_path / name, replace(case.run(), seconds=float(ord(name))))
    for name in NAMES:
        same = (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        assert same is (name != "timing.json"), name


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 cut"])
def test_damaged_file_is_named(digits: Any, tmp_path: Path, damage: bytes) -> None:
    save_result(tmp_path, digits.change(epochs=1).run())
    (tmp_path / "validation.npz").write_bytes(damage)
    with pytest.raises(TrimtabError, match=r"validation\.npz is missing or damaged"):
        load_result(tmp_path)
