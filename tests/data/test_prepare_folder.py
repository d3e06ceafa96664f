"""The whole way from a file to the folder of the stage, on real tables."""

import hashlib
import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import trimtab
from trimtab.data import seal
from trimtab.data.checks import check
from trimtab.data.prepare import Settings, is_current, origin, prepare
from trimtab.data.prepared import load_frames, load_prepared
from trimtab.data.preprocessing import Preprocessing
from trimtab.data.results import replaced, write_parts
from trimtab.data.sources import read_csv, read_digits
from trimtab.data.split import split
from trimtab.errors import DataError, TrimtabError

SETTINGS = {
    "wine": Settings("wine", "csv", target="grape", class_weights="balanced"),
    "cancer": Settings("cancer", "csv", target="diagnosis"),
    "diabetes": Settings("diabetes", "csv", target="progression"),
}


@pytest.fixture(params=sorted(SETTINGS))
def table(request: pytest.FixtureRequest, folder: Path) -> tuple[pd.DataFrame, Settings, Path]:
    """A real table as CSV: its frame, settings and file."""
    frame: pd.DataFrame = request.getfixturevalue(request.param)
    frame.to_csv(folder / "table.csv", index=False)
    return frame, SETTINGS[request.param], folder / "table.csv"


@pytest.fixture
def wine_csv(folder: Path, wine: pd.DataFrame) -> Path:
    wine.to_csv(folder / "wine.csv", index=False)
    return folder / "wine.csv"


def hashes(folder: Path, *, sealed: bool) -> dict[str, str]:
    files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in files.items()
        if sealed or not name.startswith("sealed")
    }


def test_a_table_goes_in_and_comes_out(table: tuple[pd.DataFrame, Settings, Path]) -> None:
    frame, settings, file = table
    out = file.parent / "results" / "prepare"
    summary = prepare(partial(read_csv, file), settings, out, file)
    assert sum(summary.rows) == len(frame)
    np.testing.assert_allclose(np.array(summary.rows) / len(frame), (0.6, 0.2, 0.2), atol=0.01)
    assert summary.features == len(frame.columns) - 1
    assert summary.imputed == frame.isna().sum().sum() > 0
    assert [p.name for p in out.parent.iterdir()] == ["prepare"]

    prepared = load_prepared(out)
    assert prepared is load_prepared(out)
    assert prepared.data_hash == summary.data_hash
    assert prepared.train.x.shape == (summary.rows[0], *summary.shape)
    assert len(prepared.val.y) == summary.rows[1]
    numbers = prepared.train.x[:, : summary.features - 1]
    np.testing.assert_allclose(numbers.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(numbers.std(axis=0), 1, atol=1e-4)

    train, val = load_frames(out)
    rows = pd.concat([train, val, seal.open_test(out)])[list(frame.columns)]
    order = list(frame.columns)
    pd.testing.assert_frame_equal(
        rows.sort_values(order, ignore_index=True), frame.sort_values(order, ignore_index=True), check_dtype=False
    )


def test_the_manifest_says_it(wine_csv: Path, wine: pd.DataFrame) -> None:
    out = wine_csv.parent / "out"
    summary = prepare(partial(read_csv, wine_csv), SETTINGS["wine"], out, wine_csv)
    manifest = json.loads((out / "manifest.json").read_text())
    train, val = load_frames(out)
    assert manifest["rows"] == {"train": len(train), "val": len(val), "test": summary.rows[2]}
    for name, rows in (("train", train), ("val", val)):
        assert manifest["class_counts"][name] == {str(k): n for k, n in rows["grape"].value_counts().items()}
    assert manifest["imputed"] == {k: n for k, n in wine.isna().sum().items() if n}
    assert manifest["settings"] == SETTINGS["wine"].as_dict()
    assert manifest["features"] == [*wine.columns[1:-1], "size"]
    assert manifest["classes"] == ["0", "1", "2"]
    weights = [len(train) / (3 * (train["grape"] == c).sum()) for c in range(3)]
    assert manifest["problem"]["class_weights"] == pytest.approx(weights)
    assert (manifest["name"], manifest["target"], manifest["task"]) == ("wine", "grape", "classification")


@pytest.mark.parametrize(
    ("name", "split_by"),
    [("cancer", {}), ("diabetes", {}), ("wine", {}), ("wine", {"group": "size"}), ("wine", {"time": "ash"})],
)
def test_canary_no_test_label_leaves_the_sealed_folder(
    name: str, split_by: dict[str, str], folder: Path, request: pytest.FixtureRequest
) -> None:
    frame: pd.DataFrame = request.getfixturevalue(name)
    settings, file = replace(SETTINGS[name], **split_by), folder / "table.csv"  # type: ignore[arg-type]
    if split_by:
        size = frame["size"].fillna("small") + (frame.index % 9).astype(str)
        frame = frame.assign(size=size, ash=frame["ash"].fillna(2))
    frame.to_csv(file, index=False)
    checked = check(read_csv(file, target=settings.target, group=settings.group, time=settings.time), missing="impute")
    parts = split(checked, (0.6, 0.2, 0.2), 0)
    permuted = parts.test.copy()
    permuted[settings.target] = np.random.default_rng(1).permutation(permuted[settings.target])
    assert not permuted.equals(parts.test)
    folders = []
    for test, key in ((parts.test, "one"), (permuted, "two")):
        folders.append(file.parent / key)
        folders[-1].mkdir()
        sealed = replace(origin(settings, file), source=key)
        write_parts(replace(parts, test=test), checked, settings, folders[-1], sealed)
    first, second = folders
    assert hashes(first, sealed=False) == hashes(second, sealed=False)
    assert len(hashes(first, sealed=False)) == 8
    assert hashes(first, sealed=True) != hashes(second, sealed=True)
    assert seal.test_fingerprint(first) != seal.test_fingerprint(second)


def test_preprocessing_learns_from_training_rows_alone(wine_csv: Path) -> None:
    out = wine_csv.parent / "out"
    prepare(partial(read_csv, wine_csv), SETTINGS["wine"], out, wine_csv)
    train, val = load_frames(out)
    again = Preprocessing.fit(
        train, target="grape", numeric=[str(name) for name in train][:-2], categorical=["size"], task="classification"
    )
    np.testing.assert_array_equal(again.arrays(val).x, load_prepared(out).val.x)


def test_arrays_are_what_the_preprocessing_makes_of_the_rows(table: tuple[pd.DataFrame, Settings, Path]) -> None:
    _, settings, file = table
    out = file.parent / "out"
    prepare(partial(read_csv, file), settings, out, file)
    found, preprocessing = load_prepared(out), Preprocessing.load(out / "preprocessing.joblib")
    for arrays, frame in zip((found.train, found.val), load_frames(out), strict=True):
        made = preprocessing.arrays(frame)
        np.testing.assert_array_equal(arrays.x, made.x)
        np.testing.assert_array_equal(arrays.y, made.y)
        assert (arrays.x.dtype, arrays.y.dtype) == (made.x.dtype, made.y.dtype)
    assert found.problem == preprocessing.problem


def test_who_writes_into_arrays_changes_no_file(wine_csv: Path) -> None:
    out = wine_csv.parent / "out"
    prepare(partial(read_csv, wine_csv), SETTINGS["wine"], out, wine_csv)
    before = hashes(out, sealed=False)
    load_prepared(out).train.x[:] = 7
    assert hashes(out, sealed=False) == before


def test_arrays_that_are_damaged_or_gone(wine_csv: Path) -> None:
    out = wine_csv.parent / "out"
    prepare(partial(read_csv, wine_csv), SETTINGS["wine"], out, wine_csv)
    path = out / "arrays" / "val-x.npy"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"cannot read .*arrays: .*run `python -m trimtab.stages.prepare` again"):
        load_prepared(out)
    path.unlink()
    with pytest.raises(DataError, match=r"val-x.npy.*run `python -m trimtab.stages.prepare` again"):
        load_prepared(out)


def test_another_process_writes_the_same_bytes(wine_csv: Path) -> None:
    out = wine_csv.parent / "out"
    prepare(partial(read_csv, wine_csv), SETTINGS["wine"], out, wine_csv)
    code = (
        "import sys; from functools import partial; from pathlib import Path\n"
        "from trimtab.data.prepare import Settings, prepare; from trimtab.data.sources import read_csv\n"
        "file = Path(sys.argv[1]); settings = Settings('wine', 'csv', target='grape', class_weights='balanced')\n"
        "prepare(partial(read_csv, file), settings, file.parent / 'other', file)\n"
    )
    environment = {"PYTHONHASHSEED": "7", "PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", code, str(wine_csv)], check=True, env=environment)
    assert hashes(out, sealed=True) == hashes(out.parent / "other", sealed=True)


def test_nothing_changed_is_nothing_to_do(wine_csv: Path) -> None:
    out = wine_csv.parent / "out"
    current: Callable[..., bool] = partial(is_current, out, SETTINGS["wine"], wine_csv)
    assert not current()
    prepare(partial(read_csv, wine_csv), SETTINGS["wine"], out, wine_csv)
    assert current()
    moved = wine_csv.rename(wine_csv.parent / "moved.csv")
    assert not current()
    assert is_current(out, SETTINGS["wine"], moved)


def _edit(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" ")


@pytest.mark.parametrize(
    "change",
    [
        lambda out, file: _edit(out / "train.parquet"),
        lambda out, file: _edit(out / "manifest.json"),
        lambda out, file: _edit(out / "sealed" / "test.parquet"),
        lambda out, file: (out / "preprocessing.joblib").unlink(),
        lambda out, file: (out / "sealed" / "seal.json").unlink(),
        lambda out, file: (out / "sealed" / "seal.json").write_text("{}"),
        lambda out, file: (out / "sealed" / "seal.json").write_text('{"key'),
        lambda out, file: (out / "more.txt").write_text("?"),
        lambda out, file: file.write_text(file.read_text().replace("14.23", "14.24")),
        lambda out, file: file.unlink(),
    ],
)
def test_a_change_is_noticed(change: Callable[[Path, Path], object], wine_csv: Path) -> None:
    out = wine_csv.parent / "out"
    prepare(partial(read_csv, wine_csv), SETTINGS["wine"], out, wine_csv)
    change(out, wine_csv)
    assert not is_current(out, SETTINGS["wine"], wine_csv)


@pytest.mark.parametrize("change", [{"split_seed": 1}, {"scaling": "none"}, {"name": "other"}, {"numeric": ("ash",)}])
def test_another_setting_prepares_again(change: dict[str, Any], wine_csv: Path) -> None:
    out = wine_csv.parent / "out"
    prepare(partial(read_csv, wine_csv), SETTINGS["wine"], out, wine_csv)
    other = replace(SETTINGS["wine"], **change)
    assert not is_current(out, other, wine_csv)
    before = load_prepared(out)
    prepare(partial(read_csv, wine_csv), other, out, wine_csv)
    assert (load_prepared(out).data_hash == before.data_hash) == ("name" in change)


def test_changed_code_prepares_again(folder: Path) -> None:
    package = Path(trimtab.__file__).parent
    shutil.copytree(package, folder / "trimtab", ignore=shutil.ignore_patterns("__pycache__"))
    code = "from trimtab.data.prepare import *; print(origin(Settings('digits', 'digits'), None).key)"

    def key() -> str:
        command = [sys.executable, "-c", code]
        return subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder).stdout.strip()

    before = key()
    assert before == origin(Settings("digits", "digits"), None).key
    _edit(folder / "trimtab" / "data" / "split.py")
    assert key() != before


def test_asking_is_light() -> None:
    code = (
        "import sys, trimtab.data.prepare, trimtab.data.seal\n"
        "heavy = {'numpy', 'pandas', 'sklearn', 'pyarrow', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@contextmanager
def full_disk(limit_bytes: int) -> Iterator[None]:
    """No file may grow beyond the limit: writing fails as on a full disk, with EFBIG."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("limit_bytes", [100, 7000, 30000])
def test_a_full_disk_leaves_what_was_there(limit_bytes: int, folder: Path) -> None:
    out = folder / "results" / "prepare"
    digits = Settings("digits", "digits")
    prepare(read_digits, digits, out)
    before = hashes(out, sealed=True)
    with full_disk(limit_bytes), pytest.raises(TrimtabError, match="cannot write"):
        prepare(read_digits, replace(digits, split_seed=1), out)
    assert hashes(out, sealed=True) == before
    assert [p.name for p in out.parent.iterdir()] == ["prepare"]
    assert is_current(out, digits)


@pytest.mark.parametrize("blocked", ["results", "results/prepare"])
def test_a_file_where_the_folder_should_be(blocked: str, folder: Path) -> None:
    (folder / blocked).parent.mkdir(exist_ok=True)
    (folder / blocked).write_text("mine")
    with pytest.raises(TrimtabError, match="cannot write"):
        prepare(read_digits, Settings("digits", "digits"), folder / "results" / "prepare")
    assert (folder / blocked).read_text() == "mine"


def test_what_a_kill_left_is_cleared_away(folder: Path) -> None:
    out = folder / "prepare"
    for stale in (".prepare.new", ".prepare.old"):
        (folder / stale).mkdir()
        (folder / stale / "train.parquet").write_text("half")
    prepare(read_digits, Settings("digits", "digits"), out)
    assert [p.name for p in folder.iterdir()] == ["prepare"]


def test_a_broken_seal_is_noticed(folder: Path, wine: pd.DataFrame, wine_csv: Path) -> None:
    out = folder / "out"
    prepare(partial(read_csv, wine_csv), SETTINGS["wine"], out, wine_csv)
    test = seal.open_test(out)
    assert list(test) == [*wine.columns[1:-1], "size", "grape"]
    test.assign(grape=0).to_parquet(out / "sealed" / "test.parquet", index=False)
    with pytest.raises(DataError, match="was changed"):
        seal.open_test(out)


def test_what_is_not_prepared_names_the_stage(folder: Path) -> None:
    for read in (load_prepared, seal.test_fingerprint, seal.open_test, load_frames):
        with pytest.raises(TrimtabError, match="stages"):
            read(folder)


def test_a_swap_that_fails_half_way_is_undone(folder: Path) -> None:
    out = folder / "prepare"
    prepare(read_digits, Settings("digits", "digits"), out)
    with pytest.raises(TrimtabError, match="cannot write"), replaced(out) as new:
        new.rmdir()
    assert is_current(out, Settings("digits", "digits"))
    assert [p.name for p in folder.iterdir()] == ["prepare"]


def test_groups_of_test_rows_lie_in_the_sealed_folder(folder: Path) -> None:
    """One number per test row, the same for rows of one group; intervals need them."""
    rows = [f"{g},{5 * g + i},{(g + i) % 2}" for g in range(12) for i in range(5)]
    (folder / "t.csv").write_text("patient,x,y\n" + "\n".join(rows))
    prepare(partial(read_csv, folder / "t.csv"), Settings("t", "csv", target="y", group="patient"), folder / "out")
    groups = seal.open_test_groups(folder / "out")
    assert groups is not None
    assert len(groups) == len(seal.open_test(folder / "out"))
    assert 1 < len(set(groups.tolist())) < 12
