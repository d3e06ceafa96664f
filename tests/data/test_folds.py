"""Folds of the rows outside of the sealed test set: who validates where, and what may be learnt from whom."""

import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from trimtab.data import seal
from trimtab.data.checks import check
from trimtab.data.folds import Fold, Known
from trimtab.data.prepare import Settings, origin, prepare
from trimtab.data.prepared import check_folds, load_frames, load_prepared
from trimtab.data.preprocessing import Preprocessing
from trimtab.data.results import write_parts
from trimtab.data.sources import read_csv
from trimtab.data.split import split
from trimtab.errors import ConfigError, DataError

WINE = Settings("wine", "csv", target="grape", class_weights="balanced")
PATIENTS = Settings("patients", "csv", target="ill", group="patient")


def known(frame: pd.DataFrame, **settings: Any) -> Known:
    """Rows with a target `y`; features are all other columns but `who`."""
    features = tuple(str(c) for c in frame if c not in ("y", "who"))
    plain: dict[str, Any] = {"group": None, "time": None, "duplicates": "drop", "seed": 0, "task": "classification"}
    return Known(frame, features, "y", **{**plain, **settings})


def labelled(*counts: int, **columns: Any) -> pd.DataFrame:
    """So many rows of each class, all of them different."""
    y = np.repeat(np.arange(len(counts)), counts)
    return pd.DataFrame({"a": np.arange(len(y)), **columns, "y": y})


@pytest.mark.parametrize("folds", [2, 3, 5])
@pytest.mark.parametrize("counts", [(40, 30, 30), (11, 11, 11), (300, 7, 13), (5, 5, 6)])
def test_each_row_validates_once_and_each_class_in_equal_shares(folds: int, counts: tuple[int, ...]) -> None:
    rows = known(labelled(*counts))
    parts = [rows.parts(Fold(i, folds)) for i in range(folds)]
    assert sorted(i for _, val in parts for i in val.index) == [*range(sum(counts))]
    for train, val in parts:
        assert sorted([*train.index, *val.index]) == [*range(sum(counts))]
    sizes = [len(val) for _, val in parts]
    assert max(sizes) - min(sizes) <= 1
    for y in range(len(counts)):
        of_class = [(val["y"] == y).sum() for _, val in parts]
        assert max(of_class) - min(of_class) <= 1


def test_quantities_are_shared_out_in_equal_numbers() -> None:
    rows = known(pd.DataFrame({"a": range(23), "y": np.linspace(0, 1, 23)}), task="regression")
    assert sorted(np.bincount(rows.numbers(5))) == [4, 4, 5, 5, 5]


def test_another_seed_of_the_split_gives_other_folds() -> None:
    first, again, other = (known(labelled(20, 20), seed=seed).numbers(4).tolist() for seed in (0, 0, 1))
    assert first == again != other


def test_a_group_stays_in_one_fold() -> None:
    who = np.random.default_rng(0).integers(0, 12, 90)
    rows = known(labelled(45, 45, who=np.random.default_rng(1).permutation(who)), group="who")
    parts = [rows.parts(Fold(i, 4)) for i in range(4)]
    for train, val in parts:
        assert not {*train["who"]} & {*val["who"]}
    assert sorted(i for _, val in parts for i in val.index) == [*range(90)]


def test_what_is_learnt_from_is_not_validated_on() -> None:
    frame = labelled(30, 30, a=[*range(30), *range(10), *range(100, 120)])  # ten rows with a copy of another class
    left_out = 0
    for number in range(5):
        train, val = known(frame).parts(Fold(number, 5))
        assert not {*train["a"]} & {*val["a"]}
        assert len(train) == 48
        left_out += 12 - len(val)
        assert len(known(frame, duplicates="keep").parts(Fold(number, 5))[1]) == 12
    assert left_out > 10


TIME = r"data\.time 'when' keeps newer rows.*set validation\.folds=1 \(it is 5\)"
ONE_CLASS_A_GROUP: dict[str, Any] = {"who": [0] * 10 + [1] * 10 + [2] * 10 + [3] * 10}


@pytest.mark.parametrize(
    ("frame", "settings", "folds", "said"),
    [
        (labelled(30, 30), {"time": "when"}, 5, TIME),
        (labelled(30, 4), {}, 5, r"validation\.folds is 5.* 4 rows of its rarest class, 1; set validation\.folds=4"),
        (labelled(30, 30, who=[0, 1, 2] * 20), {"group": "who"}, 5, r"are 3 values of data\.group 'who'; set .*=3"),
        (labelled(9), {"task": "regression"}, 5, r"there are 4 pairs of rows; set validation\.folds=4 or less"),
        (labelled(10, 30, **ONE_CLASS_A_GROUP), {"group": "who"}, 4, r"by data\.group 'who'\) class 0 does not; lower"),
        (labelled(10, 10, a=[0] * 20), {}, 5, r"fold 0 of 5 has 0 \(4 are left out.*data\.duplicates=keep"),
        (
            labelled(12, who=[0] * 11 + [1]),
            {"group": "who", "task": "regression"},
            2,
            r"2 rows .*, but fold . of 2 has 1; low",
        ),
    ],
)
def test_rows_that_make_no_such_folds(frame: pd.DataFrame, settings: dict[str, Any], folds: int, said: str) -> None:
    with pytest.raises(DataError, match=said):
        _ = [known(frame, **settings).parts(Fold(number, folds)) for number in range(folds)]


@pytest.mark.parametrize("number", [-1, 5])
def test_a_fold_that_there_is_not(number: int) -> None:
    with pytest.raises(ConfigError, match=f"one of 0 to 4, since validation.folds is 5, but is {number}"):
        Fold(number, 5)


@pytest.fixture
def wine_folder(folder: Path, wine: pd.DataFrame) -> Path:
    wine.to_csv(folder / "wine.csv", index=False)
    prepare(partial(read_csv, folder / "wine.csv"), WINE, folder / "out", folder / "wine.csv")
    return folder / "out"


def test_each_folds_preprocessing_learns_from_its_training_rows_alone(wine_folder: Path) -> None:
    rows = pd.concat(load_frames(wine_folder), ignore_index=True)
    whole = load_prepared(wine_folder)
    parts = known(rows.rename(columns={"grape": "y"}))
    for number in range(3):
        train, val = (part.rename(columns={"y": "grape"}) for part in parts.parts(Fold(number, 3)))
        numeric = [c for c in train if c not in ("size", "grape")]
        own = Preprocessing.fit(
            train,
            target="grape",
            numeric=numeric,
            categorical=["size"],
            task="classification",
            class_weights="balanced",
        )
        found = load_prepared(wine_folder, Fold(number, 3))
        np.testing.assert_array_equal(found.train.x, own.arrays(train).x)
        np.testing.assert_array_equal(found.val.x, own.arrays(val).x)
        np.testing.assert_array_equal(found.val.y, own.arrays(val).y)
        assert found.problem == own.problem != whole.problem
        assert abs(found.train.x[:, : len(numeric)].mean(axis=0)).max() < 1e-5 < abs(found.val.x.mean(axis=0)).max()
        assert found is load_prepared(wine_folder, Fold(number, 3))
        assert found.data_hash == whole.data_hash
    assert load_prepared(wine_folder) is whole


@pytest.mark.slow
def test_another_process_makes_the_same_folds(wine_folder: Path) -> None:
    code = (
        "import hashlib, sys; from pathlib import Path; from trimtab.data.folds import Fold\n"
        "from trimtab.data.prepared import load_prepared\n"
        "for i in range(3):\n"
        "    data = load_prepared(Path(sys.argv[1]), Fold(i, 3))\n"
        "    print(hashlib.sha256(data.train.x.tobytes() + data.val.x.tobytes()).hexdigest())\n"
    )
    shown = {
        subprocess.run(
            [sys.executable, "-c", code, str(wine_folder)],
            check=True,
            capture_output=True,
            env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)},
        ).stdout
        for hash_seed in ("1", "7")
    }
    assert len(shown) == 1
    assert len(set(shown.pop().split())) == 3


def patients(folder: Path) -> Path:
    rows = [f"p{g:02},{5 * g + i},{(g + i) % 2}" for g in range(30) for i in range(5)]
    (folder / "t.csv").write_text("patient,x,ill\n" + "\n".join(rows))
    return folder / "t.csv"


def test_groups_reach_the_folds_and_no_network(folder: Path) -> None:
    file = patients(folder)
    prepare(partial(read_csv, file), PATIENTS, folder / "out", file)
    rows = pd.concat(load_frames(folder / "out"), ignore_index=True)
    assert list(rows) == ["x", "ill", "patient"]
    assert (rows.groupby("patient")["x"].agg(lambda x: len({v // 5 for v in x})) == 1).all()
    for number in range(4):
        data = load_prepared(folder / "out", Fold(number, 4))
        assert data.train.x.shape[1:] == (1,)
        assert len(data.train.x) + len(data.val.x) == len(rows)
        assert len(data.val.x) % 5 == 0
    with pytest.raises(DataError, match=r"values of data\.group 'patient'"):
        check_folds(folder / "out", [Fold(0, 27)])


@pytest.mark.parametrize("settings", [WINE, PATIENTS])
def test_canary_no_test_label_reaches_a_fold(settings: Settings, folder: Path, wine: pd.DataFrame) -> None:
    """The sealed rows' labels permuted: what is prepared outside of the seal, and every fold of it, stays as it was."""
    file = patients(folder) if settings.group else folder / "wine.csv"
    if not settings.group:
        wine.to_csv(file, index=False)
    checked = check(read_csv(file, target=settings.target, group=settings.group), missing="impute")
    parts = split(checked, (0.6, 0.2, 0.2), 0)
    permuted = parts.test.assign(**{checked.target: np.random.default_rng(1).permutation(parts.test[checked.target])})
    assert not permuted.equals(parts.test)
    found = []
    for test, key in ((parts.test, "one"), (permuted, "two")):
        (folder / key).mkdir()
        write_parts(replace(parts, test=test), checked, settings, folder / key, origin(settings, file))
        files = {p.name: p.read_bytes() for p in (folder / key).iterdir() if p.is_file()}
        folds = [load_prepared(folder / key, Fold(i, 3)) for i in range(3)]
        found.append((files, [(d.train.x.tobytes(), d.train.y.tobytes(), d.val.x.tobytes()) for d in folds]))
    assert found[0] == found[1]
    assert seal.test_fingerprint(folder / "one") != seal.test_fingerprint(folder / "two")
