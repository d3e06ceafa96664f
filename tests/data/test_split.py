import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import train_test_split

from trimtab.data.checks import check
from trimtab.data.sources import read_digits
from trimtab.data.split import GIVEN, by_class, by_group, by_time, leaking, split
from trimtab.data.table import Table, make_table
from trimtab.errors import DataError

FRACTIONS = (0.6, 0.2, 0.2)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("fractions", [FRACTIONS, (0.8, 0.1, 0.1), (0.34, 0.33, 0.33)])
@pytest.mark.parametrize("sizes", [[40, 30, 30], [11] * 9, [300, 7, 13], [3, 4, 5, 6], [17]])
def test_each_class_has_its_share(sizes: list[int], fractions: tuple[float, float, float]) -> None:
    classes = np.repeat(np.arange(len(sizes)), sizes)
    part = by_class(classes, fractions, rng())
    counts = np.array([np.bincount(part[classes == c], minlength=3) for c in range(len(sizes))])
    shares = np.outer(sizes, fractions)
    assert (counts >= 1).all()
    assert (np.abs(counts - shares) <= 1)[shares.min(axis=1) >= 1].all()
    if shares.min() >= 1:
        assert (np.abs(counts.sum(axis=0) - shares.sum(axis=0)) <= 1).all()


def test_stratifies_as_scikit_learn_does() -> None:
    classes = rng().choice(4, size=1000, p=[0.5, 0.3, 0.15, 0.05])
    test = classes[by_class(classes, FRACTIONS, rng()) == 2]
    _, reference = train_test_split(classes, test_size=0.2, stratify=classes, random_state=0)
    assert np.abs(np.bincount(test) - np.bincount(reference)).max() <= 1


def test_groups_stay_together_and_fractions_roughly_hold() -> None:
    groups = pd.Series(rng().integers(0, 60, size=1000)).astype("str")
    part = by_group(groups, FRACTIONS, rng())
    assert (pd.Series(part).groupby(groups).nunique() == 1).all()
    np.testing.assert_allclose(np.bincount(part) / 1000, FRACTIONS, atol=0.03)


@pytest.mark.parametrize("sizes", [[1, 1, 1], [97, 1, 1], [1, 97, 1, 1], [5, 5, 5, 5]])
def test_few_groups_leave_no_part_empty(sizes: list[int]) -> None:
    groups = pd.Series(np.repeat(np.arange(len(sizes)), sizes))
    for seed in range(20):
        assert set(by_group(groups, FRACTIONS, rng(seed))) == {0, 1, 2}


@pytest.mark.parametrize(
    "times",
    [
        list(range(100)),
        [1] * 50 + [2] * 25 + [3] * 25,
        [1] * 98 + [2, 3],
        [1, 2] + [3] * 98,
        [i // 7 for i in range(100)],
    ],
)
def test_time_flows_from_train_to_test(times: list[int]) -> None:
    order = rng().permutation(len(times))
    shuffled = pd.Series(times)[order]
    part = by_time(shuffled, FRACTIONS)
    train, val, test = (shuffled[part == p] for p in range(3))
    assert train.max() < val.min()
    assert val.max() < test.min()
    if len(set(times)) == len(times):
        assert [len(train), len(val), len(test)] == [60, 20, 20]


def test_leaks_are_found_by_features_alone() -> None:
    ids = np.array([0, 1, 2, 0, 3, 3, 1, 4, 3])
    part = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2])
    assert np.flatnonzero(leaking(ids, part)).tolist() == [3, 4, 5, 6]
    assert np.flatnonzero(leaking(ids, part, GIVEN)).tolist() == [1, 3, 4, 5]


def leaky_table(labels: list[int]) -> Table:
    """20 rows, a copy of each, and 20 more; gaps are among the features."""
    a = [np.nan if i % 5 == 0 else float(i) for i in range(20)]
    b = [None if i % 4 == 0 else f"t{i}" for i in range(20)]
    more = [float(i) for i in range(100, 120)]
    frame = pd.DataFrame({"a": a + a + more, "b": b + b + ["t"] * 20, "y": labels})
    return check(make_table(frame, target="y", task="classification"), missing="impute")


@pytest.mark.parametrize("seed", range(5))
def test_no_row_stands_in_two_parts(seed: int) -> None:
    parts = split(leaky_table([0, 1] * 30), FRACTIONS, seed)
    frames = (parts.train, parts.val, parts.test)
    train, val, test = ({tuple(map(str, row)) for row in part[["a", "b"]].to_numpy()} for part in frames)
    assert train.isdisjoint(val | test)
    assert val.isdisjoint(test)
    kept = len(parts.train) + len(parts.val) + len(parts.test)
    assert kept + sum(d.rows for d in parts.dropped) == 60
    assert len(parts.train) == 36
    assert parts.dropped


def test_what_leaks_does_not_depend_on_labels_of_the_later_parts() -> None:
    """Copies whose labels differ are leaks all the same."""
    same, other = leaky_table([0, 1] * 30), leaky_table([0, 1] * 10 + [1, 0] * 20)
    ids = [t.frame.groupby(["a", "b"], dropna=False).ngroup().tolist() for t in (same, other)]
    assert ids[0] == ids[1]
    for table in (same, other):
        parts = split(table, FRACTIONS, 0)
        both = pd.concat([parts.train[["a", "b"]].drop_duplicates(), parts.val[["a", "b"]].drop_duplicates()])
        assert not both.duplicated().any()


def test_the_seed_decides() -> None:
    table = check(read_digits(), missing="impute")
    first, again, other = (split(table, FRACTIONS, seed) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(first.test, again.test)
    assert not first.test.index.equals(other.test.index)
    assert not set(first.train.index) & set(first.test.index)
    assert [len(first.train), len(first.val), len(first.test)] == [1078, 360, 359]
    assert first.dropped == ()


def test_columns_to_split_by_are_no_features() -> None:
    frame = pd.DataFrame({"who": list(range(15)) * 2, "x": range(30), "y": [0.5 * i for i in range(30)]})
    parts = split(make_table(frame, target="y", group="who"), FRACTIONS, 0)
    assert list(parts.train) == ["x", "y"]


def given(ids: list[int], held_out: list[bool], labels: list[int]) -> Table:
    frame = pd.DataFrame({"a": ids, "y": labels, "test": held_out})
    return make_table(frame, target="y", task="classification", held_out="test")


@pytest.mark.parametrize("seed", range(3))
def test_given_test_rows_stay_whole(seed: int) -> None:
    """A row to learn from that stands among them is the one that goes."""
    ids = [*range(40), 0, 1, 2, *range(100, 107)]
    parts = split(given(ids, [False] * 40 + [True] * 10, [0, 1] * 25), FRACTIONS, seed)
    assert parts.test["a"].tolist() == ids[40:]
    assert list(parts.test) == ["a", "y"]
    assert len(parts.train) + len(parts.val) == 37
    assert not {0, 1, 2} & ({*parts.train["a"]} | {*parts.val["a"]})
    assert sum(d.rows for d in parts.dropped) == 3
    assert {d.reason[:17] for d in parts.dropped} == {"leakage from test"}


def test_given_test_rows_leave_the_rest_to_be_shared_out() -> None:
    parts = split(given([*range(60)], [False] * 40 + [True] * 20, [0, 1] * 30), (0.6, 0.2, 0.2), 0)
    assert [len(parts.train), len(parts.val), len(parts.test)] == [30, 10, 20]
    assert parts.train["y"].value_counts().to_dict() == {0: 15, 1: 15}


def test_a_class_of_given_test_rows_alone_is_refused() -> None:
    with pytest.raises(DataError, match=r"occur in training.*'test'.*class 2"):
        split(given([*range(60)], [False] * 40 + [True] * 20, [0, 1] * 20 + [2] * 20), FRACTIONS, 0)


def test_given_test_rows_cannot_be_split_by_something_else() -> None:
    frame = pd.DataFrame({"who": [*range(15)] * 2, "a": range(30), "y": [0, 1] * 15, "test": [False, True] * 15})
    with pytest.raises(DataError, match=r"test rows of these data are given, but 'who'"):
        check(make_table(frame, target="y", group="who", held_out="test"), missing="impute")


def test_rows_alike_by_nature_may_be_kept() -> None:
    """A table of few distinct rows loses its later parts to the rule on leakage unless it is told to keep them."""
    frame = pd.DataFrame({"a": [i % 2 for i in range(60)], "y": [(i // 2) % 2 for i in range(60)]})
    table = Table(frame, "y", ("a",), (), None, None, "classification")
    parts = split(table, (0.6, 0.2, 0.2), 0, "keep")
    assert [len(parts.train), len(parts.val), len(parts.test)] == [36, 12, 12]
    with pytest.raises(DataError, match=r"data\.duplicates=keep"):
        split(table, (0.6, 0.2, 0.2), 0)
