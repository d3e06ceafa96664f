from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trimtab.data import columns
from trimtab.data.checks import check
from trimtab.data.files import read_rows
from trimtab.data.generated import read_exam
from trimtab.data.sources import (
    read_breast_cancer,
    read_csv,
    read_diabetes,
    read_digits,
    read_parquet,
    read_wine,
)
from trimtab.data.table import Table, find_task
from trimtab.errors import DataError


class SourceContract:
    """What a door may expect of every source."""

    def table(self, folder: Path, frame: pd.DataFrame, **columns: Any) -> Table:
        raise NotImplementedError

    def test_finds_what_is_not_named(self, folder: Path, wine: pd.DataFrame) -> None:
        table = self.table(folder, wine, target="grape")
        assert table.categorical == ("size",)
        assert table.numeric == tuple(wine.columns[1:-1])
        assert table.task == "classification"
        pd.testing.assert_frame_equal(table.frame.reset_index(drop=True), wine, check_dtype=False)

    def test_takes_what_is_named(self, folder: Path, diabetes: pd.DataFrame) -> None:
        table = self.table(
            folder, diabetes, target="progression", group="size", numeric=["age", "bmi"], categorical=["sex"]
        )
        assert table.features == ("age", "bmi", "sex")
        assert table.group == "size"
        assert table.task == "regression"
        assert [d.columns for d in table.dropped] == [("bp", "s1", "s2", "s3", "s4", "s5", "s6")]
        assert "not named" in table.dropped[0].reason

    def test_booleans_are_numbers_with_or_without_gaps(self, folder: Path, wine: pd.DataFrame) -> None:
        strong = wine["alcohol"] > 13
        frame = wine.assign(strong=strong, gappy=strong.astype(object).mask(wine["ash"] > 2.5))
        table = self.table(folder, frame, target="grape")
        assert {"strong", "gappy"} <= set(table.numeric)
        assert table.frame["gappy"].isna().sum() == (wine["ash"] > 2.5).sum()

    def test_times_sort(self, folder: Path, wine: pd.DataFrame) -> None:
        when = pd.date_range("2023-12-30", periods=len(wine)).strftime("%Y-%m-%d")
        table = self.table(folder, wine.assign(when=when), target="grape", time="when")
        assert table.frame["when"].is_monotonic_increasing
        assert "when" not in table.features


class TestCsv(SourceContract):
    def table(self, folder: Path, frame: pd.DataFrame, **columns: Any) -> Table:
        frame.to_csv(folder / "t.csv", index=False)
        return read_csv(folder / "t.csv", **columns)


class TestParquet(SourceContract):
    def table(self, folder: Path, frame: pd.DataFrame, **columns: Any) -> Table:
        frame.to_parquet(folder / "t.parquet", index=False)
        return read_parquet(folder / "t.parquet", **columns)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv_as_people_have_it(separator: str, newline: str, encoding: str, folder: Path) -> None:
    rows = [["größe", "text", "y"], ["1.5", '"a,b;c\n""d"""', "no"], [], ["", "", "yes"], ["-2", "x", "no"]]
    text = newline.join(separator.join(row) for row in rows)
    (folder / "t.csv").write_bytes(text.encode(encoding))
    frame = read_csv(folder / "t.csv", target="y").frame
    assert frame.index.tolist() == [2, 5, 6]
    assert frame["größe"].tolist() == pytest.approx([1.5, np.nan, -2], nan_ok=True)
    assert frame["text"].fillna("?").tolist() == ['a,b;c\n"d"', "?", "x"]


def test_a_column_without_name_is_an_index_that_somebody_saved(folder: Path, wine: pd.DataFrame) -> None:
    wine.to_csv(folder / "t.csv")
    table = read_csv(folder / "t.csv", target="grape")
    assert len(table.features) == len(wine.columns) - 1
    assert [str(d) for d in table.dropped] == ["column 'column 1' dropped: no name in the header"]


def test_the_index_of_a_frame_is_no_feature(folder: Path, wine: pd.DataFrame) -> None:
    wine.sample(frac=1, random_state=0).to_parquet(folder / "t.parquet")
    table = read_parquet(folder / "t.parquet", target="grape")
    assert len(table.features) == len(wine.columns) - 1
    assert "index" in str(table.dropped[0])


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pa.array([1, None] * 15, pa.int8()), "numeric"),
        (pa.array([1.5, None] * 15, pa.float16()), "numeric"),
        (pa.array(["1.50", "2.25"] * 15).cast(pa.decimal128(5, 2)), "numeric"),
        (pa.array([True, None] * 15), "numeric"),
        (pa.array(["a", None] * 15).dictionary_encode(), "categorical"),
        (pa.array(["a", "b"] * 15, pa.large_string()), "categorical"),
        (pa.array([3, 4] * 15).dictionary_encode(), "numeric"),
        (pa.nulls(30), "numeric"),
    ],
    ids=str,
)
def test_types_of_parquet(column: pa.Array, kind: str, folder: Path) -> None:
    pq.write_table(pa.table({"a": column, "y": [0, 1] * 15}), folder / "t.parquet")
    assert getattr(read_parquet(folder / "t.parquet", target="y"), kind) == ("a",)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["2020-10-31", None], "date"),
        (["2020-10-31T14:30:00Z"], "date"),
        (["31.10.2020", "1.2.2021"], "date"),
        (["10/31/2020", "02/01/2021"], "date"),
        ([" 31.10.20", "01.02.21 "], "date"),
        (["31.10.2020, 14:30", "1.2.2021 2:30 PM"], "date"),
        (["31 Oct 2020"], "date"),
        (["October 31, 2020"], "date"),
        (["31.10.2020", "10/31/2020"], "text"),
        (["31.10.2020", "later"], "text"),
        (["31.13.2020"], "text"),
        (["1.2.10", "1.3.11"], "text"),
        (["192.168.0.1"], "text"),
        (["14:30"], "text"),
    ],
)
def test_what_counts_as_dates(values: list[str | None], kind: str) -> None:
    assert columns.kind(pd.Series(values, dtype="str")) == kind


NAME = "seems to name the rows, {} of {} values differ"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([f"customer {i}" for i in range(40)], NAME.format(40, 40)),
        ([f"customer {min(i, 36)}" for i in range(40)], NAME.format(37, 40)),
        ([f"customer {min(i, 33)}" for i in range(40)], None),
        ([f"customer {i}" if i % 2 else None for i in range(60)], NAME.format(30, 30)),
        ([f"customer {i}" for i in range(20)], None),
        (range(100, 140), "seems to number the rows, 100 to 139 without repeats"),
        ([i for i in range(43) if i not in (5, 9, 30)], "seems to number the rows, 0 to 42"),
        ([i * 1.0 for i in range(40)], None),
        ([i / 7 for i in range(40)], None),
        ([i * i for i in range(40)], None),
        ([*range(39), 38], None),
        (range(20), None),
        ([True, False] * 20, None),
    ],
)
def test_columns_that_name_the_rows_are_remarked_on(values: Any, said: str | None, folder: Path) -> None:
    order = np.random.default_rng(0).permutation(len(values))
    frame = pd.DataFrame({"a": values, "b": 1.5, "y": [i % 2 for i in range(len(values))]}).iloc[order]
    frame.to_parquet(folder / "t.parquet", index=False)
    remarks = read_parquet(folder / "t.parquet", target="y").remarks
    assert len(remarks) == (said is not None)
    assert all(f"column 'a' {said}" in remark and "to leave it out" in remark for remark in remarks)
    assert read_parquet(folder / "t.parquet", target="y", numeric=["b"], categorical=["a"]).remarks == ()


@pytest.mark.parametrize("read", [read_breast_cancer, read_diabetes, read_digits, read_exam, read_wine])
def test_nothing_is_remarked_on_in_tables_that_are_in_order(read: Any) -> None:
    assert read().remarks == ()


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (["a", "b"] * 10, "classification"),
        ([True, False] * 10, "classification"),
        ([0, 1, 2, 3] * 5, "classification"),
        (range(20), "regression"),
        ([*range(20)] * 10, "classification"),
        ([*range(21)] * 10, "regression"),
        ([0.5, 1.5] * 10, "regression"),
        ([0.0, 1.0] * 10, "regression"),
    ],
)
def test_the_task_is_found(values: Any, task: str) -> None:
    assert find_task(pd.Series(values)) == task


def test_whole_floats_are_labels_when_named_so(folder: Path) -> None:
    (folder / "t.csv").write_text("a,y\n" + "1.5,0.0\n2.5,1.0\n" * 10)
    assert read_csv(folder / "t.csv", target="y", task="classification").frame["y"].tolist() == [0, 1] * 10


@pytest.mark.parametrize(
    ("read", "size", "target", "classes", "shape"),
    [
        (read_digits, (1797, 65), "digit", [*range(10)], (1, 8, 8)),
        (read_breast_cancer, (569, 31), "diagnosis", ["benign", "malignant"], None),
        (read_wine, (178, 14), "cultivar", [0, 1, 2], None),
        (read_diabetes, (442, 11), "progression", None, None),
    ],
)
def test_data_that_scikit_learn_brings(
    read: Any, size: tuple[int, int], target: str, classes: list[Any] | None, shape: tuple[int, ...] | None
) -> None:
    table = read(target=None, task=None)
    assert table.frame.shape == size
    assert (table.target, table.shape, table.categorical) == (target, shape, ())
    assert table.task == ("classification" if classes else "regression")
    assert classes is None or sorted(table.frame[target].unique()) == classes


def test_malignant_is_what_scikit_learn_calls_so() -> None:
    """212 malignant, 357 benign tumours, as its description says."""
    assert read_breast_cancer().frame["diagnosis"].value_counts().to_dict() == {"benign": 357, "malignant": 212}


def test_diabetes_is_not_scaled_by_rows_that_nobody_may_know() -> None:
    assert read_diabetes().frame["age"].between(19, 79).all()


def test_columns_of_a_file_may_be_a_sequence(folder: Path) -> None:
    frame = pd.DataFrame(np.arange(240.0).reshape(40, 6), columns=list("abcdef")).assign(constant=0.0, y=[0, 1] * 20)
    frame.to_csv(folder / "t.csv", index=False)
    table = check(
        read_csv(folder / "t.csv", target="y", numeric=[*"abcde", "constant"], shape=(2, 3)), missing="impute"
    )
    assert table.shape == (2, 3)
    assert table.features == (*"abcde", "constant")


@pytest.mark.parametrize(
    ("columns", "fragments"),
    [
        ({"shape": (2, 4)}, ["rows of shape 2 x 4", "6 numeric and 0 categorical"]),
        ({"shape": (1, 5), "categorical": ["f"], "numeric": list("abcde")}, ["5 numeric and 1 categorical"]),
        ({"shape": (1, 6), "group": "f"}, ["5 numeric", "data.shape=null"]),
    ],
)
def test_a_shape_needs_as_many_numbers(columns: dict[str, Any], fragments: list[str], folder: Path) -> None:
    frame = pd.DataFrame(np.arange(240.0).reshape(40, 6), columns=list("abcdef")).assign(y=[0, 1] * 20)
    frame.to_csv(folder / "t.csv", index=False)
    with pytest.raises(DataError) as caught:
        read_csv(folder / "t.csv", target="y", **columns)
    assert [f for f in fragments if f not in str(caught.value)] == [], caught.value


@pytest.mark.parametrize("write", [lambda f, p: f.to_csv(p, index=False), lambda f, p: f.to_parquet(p)])
def test_rows_to_predict_come_in_either_format(write: Any, folder: Path, wine: pd.DataFrame) -> None:
    write(wine, folder / "new rows")
    pd.testing.assert_frame_equal(read_rows(folder / "new rows").reset_index(drop=True), wine)
