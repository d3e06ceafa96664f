"""Data that are computed: the published rows, the same each time, and nobody else's random numbers touched."""

import random
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from trimtab.data import seal
from trimtab.data.checks import check
from trimtab.data.frames import fingerprint
from trimtab.data.generated import pass_probability, read_exam, read_mnist1d
from trimtab.data.prepare import Settings, origin, prepare
from trimtab.data.prepared import load_frames, load_prepared
from trimtab.data.results import write_parts
from trimtab.data.split import split
from trimtab.data.table import Table
from trimtab.errors import ConfigError

MNIST1D = Settings("mnist1d", "mnist1d", target="digit", task="classification", scaling="channel")


@pytest.fixture(scope="session")
def published() -> Table:
    return read_mnist1d(task="classification")


def test_mnist1d_is_the_published_data(published: Table) -> None:
    """The first values and labels of x, y, x_test and y_test in the file at github.com/greydanus/mnist1d."""
    rows = published.frame
    values = rows[list(published.features)].to_numpy()
    assert (published.shape, published.task, len(rows), rows["held_out"].sum()) == (
        (1, 40),
        "classification",
        5000,
        1000,
    )
    np.testing.assert_allclose(values[0, :4], [-0.33200567, -0.47191037, -0.77869708, -1.00974083], atol=1e-6)
    np.testing.assert_allclose(values[4000, :4], [-0.07877078, -0.21073171, -0.09175138, 0.28267112], atol=1e-6)
    assert rows["digit"].tolist()[:10] == [2, 6, 4, 5, 6, 6, 6, 0, 3, 1]
    assert rows["digit"].tolist()[4000:4010] == [2, 6, 3, 9, 4, 3, 1, 9, 5, 2]


def test_new_test_rows_are_of_the_same_distribution(published: Table) -> None:
    table = read_mnist1d(test_rows=2000)
    known, fresh = (table.frame[table.frame["held_out"] == held_out] for held_out in (False, True))
    assert known.equals(published.frame[~published.frame["held_out"]])
    assert fresh["digit"].value_counts().to_dict() == dict.fromkeys(range(10), 200)
    features = list(table.features)
    assert not set(map(tuple, fresh[features].to_numpy())) & set(map(tuple, published.frame[features].to_numpy()))
    for digit in range(10):  # five standard errors of the difference of two means
        ours, theirs = (f.loc[f["digit"] == digit, features].to_numpy() for f in (known, fresh))
        assert np.abs(ours.mean(0) - theirs.mean(0)).max() < 5 * np.sqrt(ours.var(0).max() * (1 / 400 + 1 / 200))


@pytest.mark.parametrize("test_rows", [0, -10, 1001])
def test_each_class_has_as_many_test_rows(test_rows: int) -> None:
    with pytest.raises(ConfigError, match=f"data.test_rows must be a positive multiple of 10.* is {test_rows}"):
        read_mnist1d(test_rows=test_rows)


def test_generating_touches_nobody_elses_random_numbers(published: Table) -> None:
    random.seed(5)
    np.random.seed(5)
    before, numpys = random.getstate(), np.random.get_state()[1].copy()  # type: ignore[union-attr]
    again = read_mnist1d(task="classification")
    read_exam()
    assert random.getstate() == before
    np.testing.assert_array_equal(np.random.get_state()[1], numpys)
    assert fingerprint(again.frame) == fingerprint(published.frame)


@pytest.mark.slow
def test_another_process_generates_the_same(published: Table) -> None:
    code = (
        "from trimtab.data.frames import fingerprint; from trimtab.data.generated import read_exam, read_mnist1d\n"
        "print(fingerprint(read_mnist1d().frame, read_exam().frame))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == fingerprint(published.frame, read_exam().frame)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_published_test_rows_are_the_sealed_ones(seed: int, published: Table, folder: Path) -> None:
    settings = replace(MNIST1D, split_seed=seed)
    prepare(read_mnist1d, settings, folder / "out")
    columns = [*published.features, "digit"]
    test = published.frame.loc[published.frame["held_out"], columns].reset_index(drop=True)
    assert seal.open_test(folder / "out").equals(test)
    train, val = load_frames(folder / "out")
    assert (len(train), len(val)) == (3000, 1000)
    assert set(val["digit"].value_counts()) <= set(range(95, 106))
    x = load_prepared(folder / "out").train.x
    assert x.shape == (3000, 1, 40)
    assert [x.mean(), x.std()] == pytest.approx([0, 1], abs=1e-5)


def test_the_seed_splits_what_is_not_given(published: Table) -> None:
    first, other = (split(published, (0.6, 0.2, 0.2), seed) for seed in (0, 1))
    assert first.test.equals(other.test)
    assert not first.train.index.equals(other.train.index)


def test_canary_no_label_of_a_given_test_part_leaves_the_sealed_folder(published: Table, folder: Path) -> None:
    """Here the labels are permuted in the source: neither split nor preprocessing may know them."""
    held_out = published.frame["held_out"]
    frame = published.frame.copy()
    frame.loc[held_out, "digit"] = np.random.default_rng(0).permutation(frame.loc[held_out, "digit"].to_numpy())
    files = []
    for name, table in (("one", published), ("two", replace(published, frame=frame))):
        checked = check(table, missing="impute")
        (folder / name).mkdir()
        sealed = replace(origin(MNIST1D, None), source=name)
        write_parts(split(checked, (0.6, 0.2, 0.2), 0), checked, MNIST1D, folder / name, sealed)
        files.append({p.name: p.read_bytes() for p in (folder / name).iterdir() if p.is_file()})
    assert files[0] == files[1]
    assert len(files[0]) == 4
    assert seal.test_fingerprint(folder / "one") != seal.test_fingerprint(folder / "two")


def test_other_test_rows_are_the_same_data_to_learn_from(folder: Path) -> None:
    published, fresh = MNIST1D, replace(MNIST1D, options={"test_rows": 100})
    hashes = []
    for settings in (published, fresh):
        prepare(partial(read_mnist1d, **settings.options), settings, folder / "out")
        hashes.append((load_prepared(folder / "out").data_hash, seal.test_fingerprint(folder / "out")))
    assert hashes[0][0] == hashes[1][0]
    assert hashes[0][1] != hashes[1][1]


def test_exam_follows_its_formula() -> None:
    table = read_exam()
    studied, slept, passes = (table.frame[name].to_numpy() for name in ("hours_studied", "hours_slept", "passes"))
    assert (table.features, table.task, len(passes)) == (("hours_studied", "hours_slept"), "classification", 400)
    assert (studied.min() >= 0, studied.max() <= 10, slept.min() >= 4, slept.max() <= 10) == (True,) * 4
    expected = pass_probability(studied, slept)
    assert pass_probability(np.array([5.0]), np.array([7.5])) == pytest.approx(1 / (1 + np.exp(-1.5)))
    for low in np.arange(0, 1, 0.25):
        among = (expected >= low) & (expected < low + 0.25)
        deviation = np.sqrt((expected * (1 - expected))[among].sum())
        assert abs(passes[among].sum() - expected[among].sum()) < 3 * deviation
    assert ((expected > 0.5) == passes).mean() == pytest.approx(0.894, abs=0.03)
