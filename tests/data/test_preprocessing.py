from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.utils.class_weight import compute_class_weight

from trimtab.data.preprocessing import MOST_CATEGORIES, Preprocessing
from trimtab.data.unfamiliar import unfamiliar
from trimtab.errors import DataError

ROWS = pd.DataFrame(
    {
        "age": [1.0, 2.0, np.nan, 6.0],
        "member": [True, False, True, True],
        "town": ["Ulm", None, "Bonn", "Ulm"],
        "y": ["b", "a", "b", "b"],
    }
)


def fitted(rows: pd.DataFrame = ROWS, **settings: Any) -> Preprocessing:
    arguments: dict[str, Any] = {"numeric": ["age", "member"], "categorical": ["town"], "task": "classification"}
    return Preprocessing.fit(rows, target="y", **(arguments | settings))


def test_features_by_hand() -> None:
    age = np.array([1.0, 2.0, 2.0, 6.0])  # the median of 1, 2, 6 fills the gap
    member = np.array([1.0, 0.0, 1.0, 1.0])
    town = [[0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0]]  # Bonn, Ulm, missing
    standardised = [(v - v.mean()) / v.std() for v in (age, member)]
    features = fitted().features(ROWS)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, np.column_stack([*standardised, town]), rtol=1e-6)


def test_without_scaling_numbers_stay() -> None:
    assert fitted(scaling="none").features(ROWS)[:, :2].tolist() == [[1, 1], [2, 0], [2, 1], [6, 1]]


@pytest.mark.parametrize(
    "row",
    [
        {"age": 6, "member": True, "town": "Ulm"},
        {"age": "6", "member": "true", "town": "Ulm", "extra": [1]},
        {"age": " 6.0 ", "member": 1, "town": "Ulm"},
        {"town": "Ulm", "member": "True", "age": np.int8(6)},
    ],
)
def test_rows_as_json_has_them(row: dict[str, object]) -> None:
    np.testing.assert_array_equal(fitted().features(pd.DataFrame([row])), fitted().features(ROWS)[3:])


@pytest.mark.parametrize("gap", [None, np.nan, "", "NA", "null"])
def test_gaps_as_people_write_them(gap: object) -> None:
    row = pd.DataFrame([{"age": gap, "member": True, "town": "Bonn"}])
    np.testing.assert_array_equal(fitted().features(row), fitted().features(ROWS)[2:3])


@pytest.mark.parametrize("written", [7, 7.0, "7"])
def test_a_number_declared_categorical_is_the_same_however_it_is_written(written: object) -> None:
    rows = pd.DataFrame({"zip": [7.0, np.nan, 8.0, 7.0], "y": [0, 1, 0, 1]})
    features = fitted(rows, numeric=[], categorical=["zip"]).features(pd.DataFrame({"zip": [written]}))
    assert features.tolist() == [[1, 0, 0]]


def test_rare_and_unknown_categories_share_an_input() -> None:
    often = [f"t{i}" for i in range(MOST_CATEGORIES)]
    rows = pd.DataFrame({"town": often * 2 + ["rare", "rarer"], "y": [0, 1] * 51})
    features = fitted(rows, numeric=[], categorical=["town"]).features
    assert features(rows).shape == (102, MOST_CATEGORIES)
    np.testing.assert_array_equal(features(pd.DataFrame({"town": ["new"]})), features(rows)[-1:])


def test_a_new_category_of_a_small_column_is_no_category() -> None:
    assert fitted().features(pd.DataFrame([{"age": 1, "member": 1, "town": "Rom"}]))[0, 2:].tolist() == [0, 0, 0]


def test_a_column_without_values_in_training_is_zero() -> None:
    assert fitted(ROWS.assign(age=np.nan)).features(ROWS)[:, 0].tolist() == pytest.approx([1, 2, 0, 6])


@pytest.mark.parametrize(
    ("row", "fragments"),
    [
        ({"age": 1, "member": 1}, ["'town'", "the rows have 'age', 'member'"]),
        ({"Age": 1, "member": 1, "town": "Ulm"}, ["'age' is not there; did you mean 'Age'?"]),
        ({"age": "old", "member": 1, "town": "Ulm"}, ["'age' must hold numbers", "row 0", "'old'"]),
        ({"age": float("inf"), "member": 1, "town": "Ulm"}, ["'age'", "finite", "row 0"]),
        ({"age": 1, "member": 1, "town": {"a": 1}}, ["'town' holds {'a': 1} in row 0", "plain values"]),
        ({"age": [1], "member": 1, "town": "Ulm"}, ["'age' holds [1] in row 0", "plain values"]),
    ],
)
def test_rows_that_cannot_be_served(row: dict[str, object], fragments: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        fitted().features(pd.DataFrame([row]))
    assert [f for f in fragments if f not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, None),
        ({"town": ["Rom", "Ulm", "Rom", "Oslo"]}, "'town': 3 of 4 values never seen in training ('Rom', 'Oslo')"),
        ({"age": [None, "", 3, 4]}, "'age': 2 of 4 values missing, filled in with 2, the training median"),
        ({"town": ["Ulm", None, "", "Bonn"]}, "'town': 2 of 4 values missing, taken as a category of their own"),
        (
            {"town": ["Rom"] * 3 + [None], "member": [None] * 4},
            "'town': 3 of 4 values never seen in training ('Rom'); "
            "'member': 4 of 4 values missing, filled in with 1, the training median; "
            "'town': 1 of 4 values missing, taken as a category of their own",
        ),
    ],
)
def test_what_new_rows_have_that_training_did_not(changes: dict[str, object], said: str | None) -> None:
    rows = ROWS.assign(age=1, town="Ulm").assign(**changes)
    assert unfamiliar(fitted(), rows) == ([said] if said else [])


def test_a_gap_where_training_had_none_is_said_to_be_one() -> None:
    (said,) = unfamiliar(fitted(ROWS.ffill()), ROWS)
    assert said.endswith("'town': 1 of 4 values missing, as none was in training")


def test_of_many_columns_a_few_are_named() -> None:
    rows = pd.DataFrame(np.ones((4, 30))).rename(columns=str).assign(y=[0, 1] * 2)
    preprocessing = fitted(rows, numeric=[*map(str, range(30))], categorical=[])
    (said,) = unfamiliar(preprocessing, rows * np.nan)
    assert said.count("missing") == 10
    assert said.endswith("… and in 20 more columns")


def test_rare_categories_have_been_seen() -> None:
    rows = pd.DataFrame(
        {"town": [f"t{i}" for i in range(MOST_CATEGORIES + 9)] * 2, "y": [0, 1] * (MOST_CATEGORIES + 9)}
    )
    assert unfamiliar(fitted(rows, numeric=[], categorical=["town"]), rows) == []


def test_refitted_is_fitted_on_other_rows() -> None:
    fitting = fitted(scaling="none", class_weights="balanced")
    again = fitting.refitted(ROWS.head(3))
    assert again.features(ROWS).tolist()[2][0] == 1.5
    assert again.problem.class_weights == pytest.approx((3 / 2, 3 / 4))


def test_raw_rows_are_what_a_caller_may_give() -> None:
    raw = fitted().raw(ROWS.astype({"age": "float32"}).assign(extra=1).iloc[1:])
    assert {str(name): str(kind) for name, kind in raw.dtypes.items()} == {
        "age": "float64",
        "member": "bool",
        "town": "str",
    }
    np.testing.assert_array_equal(fitted().features(raw), fitted().features(ROWS)[1:])


def test_what_training_refuses_serving_refuses() -> None:
    with pytest.raises(DataError, match="missing=refuse"):
        fitted(ROWS.ffill(), missing="refuse").features(ROWS)


def test_no_rows_are_no_rows() -> None:
    assert fitted().features(ROWS.head(0)).shape == (0, 5)


@pytest.mark.parametrize(
    "labels", [["b", "a", "b", "b"], [7, -1, 7, 7], [True, False, True, True], [0.5, 0.25, 0.5, 0.5]]
)
def test_labels_come_back_as_they_were(labels: list[Any]) -> None:
    rows = ROWS.assign(y=labels)
    preprocessing = fitted(rows)
    y = preprocessing.arrays(rows).y
    assert y.dtype == np.int64
    assert y.tolist() == [1, 0, 1, 1]
    decoded = preprocessing.decode(np.eye(2, dtype=np.float32)[y])
    assert decoded["prediction"].tolist() == labels
    assert decoded["prediction"].dtype == rows["y"].dtype
    assert list(decoded) == ["prediction", f"probability_{labels[1]}", f"probability_{labels[0]}"]


def grid_rows(*, flat: bool = False) -> pd.DataFrame:
    """Six rows of two channels of three values; the second channel a hundred times larger."""
    x = np.random.default_rng(0).normal(size=(6, 2, 3)) * [[[1.0], [100.0]]] + [[[5.0], [0.0]]]
    if flat:
        x[:, 1] = 7.0
    return pd.DataFrame(x.reshape(6, 6), columns=list("abcdef")).assign(y=[0, 1] * 3)


GRID = {"numeric": list("abcdef"), "categorical": [], "shape": (2, 3)}


def test_rows_take_their_shape_at_the_end() -> None:
    rows = grid_rows()
    preprocessing = fitted(rows, scaling="none", **GRID)
    expected = rows[list("abcdef")].to_numpy(np.float32).reshape(6, 2, 3)
    np.testing.assert_array_equal(preprocessing.features(rows[[*"fedcbay"]]), expected)
    np.testing.assert_array_equal(preprocessing.arrays(rows).flat, expected.reshape(6, 6))
    assert (preprocessing.problem.shape, preprocessing.problem.features) == ((2, 3), 6)
    assert preprocessing.features(rows.head(0)).shape == (0, 2, 3)
    assert preprocessing.refitted(rows.head(4)).problem.shape == (2, 3)


def test_scaling_by_channel_by_hand() -> None:
    rows = grid_rows()
    x = rows[list("abcdef")].to_numpy().reshape(6, 2, 3)
    expected = np.stack([(x[:, c] - x[:, c].mean()) / x[:, c].std() for c in range(2)], axis=1)
    found = fitted(rows, scaling="channel", **GRID).features(rows)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_scaling_by_channel_learns_from_training_rows_alone() -> None:
    rows = grid_rows()
    some = fitted(rows.head(4), scaling="channel", **GRID).features(rows)
    assert some[:4].mean() == pytest.approx(0, abs=1e-6)
    assert abs(some[4:].mean()) > 0.01


def test_a_channel_that_does_not_vary_is_centred() -> None:
    rows = grid_rows(flat=True)
    assert (fitted(rows, scaling="channel", **GRID).features(rows)[:, 1] == 0).all()


def test_a_table_has_no_channels() -> None:
    with pytest.raises(DataError, match=r"data\.scaling=channel.*rows are a table.*standard"):
        fitted(scaling="channel")


def test_logits_are_no_probabilities() -> None:
    with pytest.raises(ValueError, match="softmax"):
        fitted().decode(np.array([[3.0, -1.0]]))


def test_quantities_are_standardised_by_training_rows() -> None:
    rows = ROWS.assign(y=[10.0, 20.0, 30.0, 40.0])
    preprocessing = fitted(rows, task="regression")
    problem = preprocessing.problem
    assert [problem.target_mean, problem.target_std] == pytest.approx([25.0, np.sqrt(125)])
    assert (problem.outputs, problem.classes) == (1, ())
    y = preprocessing.arrays(rows).y
    assert y.dtype == np.float32
    assert y.mean() == pytest.approx(0, abs=1e-7)
    np.testing.assert_allclose(preprocessing.decode(y[:, None])["prediction"], rows["y"], rtol=1e-6)


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    weights = fitted(class_weights="balanced").problem.class_weights
    reference = compute_class_weight("balanced", classes=np.array(["a", "b"]), y=ROWS["y"].to_numpy())
    assert weights == pytest.approx(reference)
    assert fitted().problem.class_weights is None


def test_a_label_that_training_does_not_have() -> None:
    with pytest.raises(DataError, match="'c'; the classes are 'a', 'b'"):
        fitted().arrays(ROWS.assign(y=["a", "b", "c", "a"]))


def test_saved_and_loaded(folder: Path) -> None:
    preprocessing = fitted()
    preprocessing.save(folder / "p.joblib")
    loaded = Preprocessing.load(folder / "p.joblib")
    np.testing.assert_array_equal(loaded.features(ROWS), preprocessing.features(ROWS))
    assert loaded.problem == preprocessing.problem


@pytest.mark.parametrize("content", [None, b"", b"junk", b"\x80\x04junk"])
def test_a_damaged_file_is_said_to_be(content: bytes | None, folder: Path) -> None:
    if content is not None:
        (folder / "p.joblib").write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        Preprocessing.load(folder / "p.joblib")
