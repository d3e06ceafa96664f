"""One row per thing that can be wrong with a person's data: the error names rule, name, value and way out."""

import io
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trimtab.data.prepare import Settings, prepare
from trimtab.data.sources import read_csv, read_digits, read_parquet
from trimtab.errors import ConfigError, DataError


def csv(rows: int = 30, **columns: object) -> str:
    """A good table of `rows` rows in which the named columns are replaced; None removes one."""
    good: dict[str, Any] = {
        "age": [i * 1.5 for i in range(rows)],
        "town": ["Ulm", "Bonn", "Köln"] * (rows // 3),
        "sick": ["yes", "no"] * (rows // 2),
    }
    frame = pd.DataFrame({k: v for k, v in (good | columns).items() if v is not None})
    return frame.to_csv(index=False)


def parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def holes(value: object, at: int = 3, fill: object = 1.0) -> list[object]:
    return [value if i == at else fill if i % 2 else 2.0 for i in range(30)]


BAD_CSV: dict[str, tuple[str | bytes, dict[str, Any], list[str]]] = {
    "empty": ("", {}, ["is empty", "name another file"]),
    "blank": ("\ufeff \n\n", {}, ["is empty"]),
    "binary": (b"\x00\x01\x02" * 99, {}, ["is binary", "save it as CSV"]),
    "parquet as csv": (
        parquet(pa.table({"a": [1]})),
        {},
        ["is a Parquet file", "use data=parquet"],
    ),
    "excel as csv": (b"PK\x03\x04rest", {}, ["Excel", "save it as CSV"]),
    "latin-1": (csv().encode("latin-1"), {}, ["UTF-8", "0xf6", "iconv"]),
    "ragged, too long": (csv() + "1,2,yes,4\n", {}, ["line 32", "4 instead of 3"]),
    "ragged, too short": (
        csv().replace("1.5,Bonn,no", "1.5,no"),
        {},
        ["line 3", "2 instead of 3", "mend"],
    ),
    "ragged after a quoted newline": (
        'age,town,sick\n1,"a\nb",yes\n\n2,x\n',
        {},
        ["line 5", "2 instead of 3"],
    ),
    "open quote": ('age,town,sick\n1,a,yes\n2,"a,no\n', {}, ["line 3", "cannot be read as CSV"]),
    "header alone": ("age,town,sick\n", {}, ["only a header", "add rows"]),
    "target not named": (csv(), {"target": None}, ["data.target", "null", "'age', 'town', 'sick'"]),
    "target absent": (
        csv(),
        {"target": "Sik"},
        ["data.target", "'Sik'", "did you mean 'sick'?", "'age', 'town'"],
    ),
    "target constant": (csv(sick=["yes"] * 30), {}, ["'sick'", "'yes' in every row"]),
    "quantity constant": (csv(sick=[1.5] * 30), {}, ["'sick'", "1.5 in every row"]),
    "rare class": (csv(sick=["a", "b"] + ["c"] * 28), {}, ["at least 3 rows", "'a' (1), 'b' (1)"]),
    "target with a gap": (csv(sick=holes(None)), {}, ["'sick'", "in 1 of 30 rows", "line 5"]),
    "target text with a gap": (csv(sick=holes("", fill="a")), {}, ["'sick'", "line 5"]),
    "target infinite": (csv(sick=holes(float("inf"))), {}, ["target", "'sick'", "line 5", "inf"]),
    "target infinite, classes": (
        csv(sick=holes(float("-inf"))),
        {"task": "classification"},
        ["target", "'sick'", "line 5"],
    ),
    "target text, regression": (
        csv(),
        {"task": "regression"},
        ["'sick'", "line 2", "'yes'", "data.task=classification"],
    ),
    "target dates": (csv(sick=["2024-01-01"] * 30), {}, ["data.target", "'sick'", "dates"]),
    "feature infinite": (csv(age=holes(float("inf"))), {}, ["'age'", "line 5", "inf"]),
    "feature huge": (csv(age=holes(-1e35)), {}, ["'age'", "line 5", "1e+30"]),
    "decimal commas": (csv(age=[f"{i},5" for i in range(30)]), {}, ["'age'", "decimal comma", "'0,5'", "with a point"]),
    "a slip among numbers": (
        csv(age=["oops" if i == 7 else i for i in range(30)]),
        {},
        ["'age'", "line 9", "'oops'", "data.categorical"],
    ),
    "text declared numeric": (
        csv(age=holes("old", 7)),
        {"numeric": ["age"]},
        ["numeric column 'age'", "line 9", "'old'", "data.categorical"],
    ),
    "duplicate columns": ("a,b,a\n" + "1,2,3\n" * 30, {"target": "b"}, ["header", "'a' more than once"]),
    "no feature": (csv(age=None, town=None), {}, ["features", "'sick'", "separator"]),
    "only constant features": (
        csv(age=[1] * 30, town=[None] * 30),
        {},
        ["features", "constant: 'age'", "empty: 'town'"],
    ),
    "too few rows": (csv(rows=6), {}, ["at least 10 rows", "has 6"]),
    "all rows alike": (
        csv(age=[1, 2] * 15, town=None),
        {},
        ["val has none", "leakage from train into val", "data.duplicates=keep"],
    ),
    "group absent": (csv(), {"group": "towm"}, ["data.group", "'towm'", "did you mean 'town'?"]),
    "time absent": (csv(), {"time": "when"}, ["data.time", "'when'", "the columns are"]),
    "single group": (csv(town=["Ulm"] * 30), {"group": "town"}, ["3 groups", "'town' has 1"]),
    "two groups": (csv(town=["Ulm", "Bonn"] * 15), {"group": "town"}, ["'town' has 2"]),
    "group with a gap": (csv(town=holes(None)), {"group": "town"}, ["group", "'town'", "line 5"]),
    "time with a gap": (csv(town=holes(None)), {"time": "town"}, ["time", "'town'", "line 5"]),
    "time is words": (csv(), {"time": "town"}, ["ISO 8601", "'town'", "line 2", "'Ulm'"]),
    "one point in time": (csv(town=[7] * 30), {"time": "town"}, ["points in time", "'town' has 1"]),
    "group and time": (
        csv(),
        {"group": "town", "time": "age"},
        ["by group or by time", "'town'", "'age'"],
    ),
    "class only in the latest rows": (
        csv(town=list(range(30)), sick=["a", "b"] * 12 + ["c"] * 6),
        {"time": "town"},
        ["occur in training", "'town'", "'c'"],
    ),
    "numeric absent": (csv(), {"numeric": ["agee"]}, ["data.numeric", "'agee'", "did you mean 'age'?"]),
    "categorical absent": (csv(), {"categorical": ["x"]}, ["data.categorical names 'x'"]),
    "target as feature": (csv(), {"categorical": ["sick"]}, ["one part", "'sick'", "data.target"]),
    "named twice": (csv(), {"numeric": ["age"], "categorical": ["age"]}, ["data.numeric", "'age'"]),
    "group as target": (csv(), {"group": "sick"}, ["'sick'", "data.target and in data.group"]),
    "missing refused": (
        csv(age=holes(None), town=[None, "a", "b"] * 10),
        {"missing": "refuse"},
        ["'age' (1)", "'town' (10)", "data.missing=impute"],
    ),
    "dates as feature": (
        csv(town=[f"2024-01-{i + 1:02}" for i in range(30)]),
        {},
        ["'town' holds dates", "data.time"],
    ),
    "dates of another format as feature": (
        csv(town=[f"{i + 1}.10.2020" for i in range(30)]),
        {},
        ["'town' holds dates", "data.time", "written as 2024-03-31", "data.categorical"],
    ),
    "target dates of another format": (csv(sick=["10/31/2020"] * 30), {}, ["data.target", "'sick'", "dates"]),
    "fractions beyond one": (csv(), {"train": 0.8}, ["sum to 1", "train=0.8", "data.split"]),
    "fraction of zero": (csv(), {"train": 0.8, "val": 0.0}, ["positive", "val=0"]),
    "weights for a quantity": (
        csv(sick=[i / 7 for i in range(30)]),
        {"class_weights": "balanced"},
        ["data.class_weights", "'sick'", "none"],
    ),
}


@pytest.mark.parametrize(("content", "settings", "fragments"), BAD_CSV.values(), ids=BAD_CSV)
def test_bad_csv(content: str | bytes, settings: dict[str, Any], fragments: list[str], folder: Path) -> None:
    source = folder / "my data.csv"
    source.write_bytes(content.encode() if isinstance(content, str) else content)
    message = refusal(lambda **columns: read_csv(source, **columns), folder, settings)
    assert [f for f in fragments if f not in message] == [], message


BAD_PARQUET: dict[str, tuple[bytes, list[str]]] = {
    "none": (b"no parquet" * 99, ["no Parquet file", "name another file"]),
    "empty": (b"", ["is empty"]),
    "cut": (parquet(pa.table({"a": range(99)}))[:-40], ["no Parquet file"]),
    "lists": (parquet(pa.table({"a": [[1]] * 30, "sick": [0, 1] * 15})), ["'a'", "holds list", "plain columns"]),
    "structures": (parquet(pa.table({"a": [{"x": 1}] * 30, "sick": [0, 1] * 15})), ["'a'", "struct"]),
    "bytes": (parquet(pa.table({"a": [b"x"] * 30, "sick": [0, 1] * 15})), ["'a'", "binary"]),
    "durations": (
        parquet(pa.table({"a": pa.array(range(30), pa.duration("s")), "sick": [0, 1] * 15})),
        ["'a'", "timedelta"],
    ),
    "timestamps": (
        parquet(pa.table({"a": pa.array(range(30), pa.timestamp("s")), "sick": [0, 1] * 15})),
        ["'a' holds dates", "data.time"],
    ),
    "duplicate columns": (
        parquet(pa.table([list(range(30))] * 3, names=["a", "a", "sick"])),
        ["'a' more than once"],
    ),
    "no rows": (
        parquet(pa.table({"a": pa.array([], pa.int64()), "sick": pa.array([], pa.int64())})),
        ["at least 10 rows"],
    ),
    "gap in the target": (
        parquet(pa.table({"a": range(30), "sick": [None, 1] * 15})),
        ["'sick'", "row 0"],
    ),
}


@pytest.mark.parametrize(("content", "fragments"), BAD_PARQUET.values(), ids=BAD_PARQUET)
def test_bad_parquet(content: bytes, fragments: list[str], folder: Path) -> None:
    source = folder / "my data.parquet"
    source.write_bytes(content)
    message = refusal(lambda **columns: read_parquet(source, **columns), folder, {})
    assert [f for f in fragments if f not in message] == [], message


@pytest.mark.parametrize("read", [read_csv, read_parquet])
def test_a_file_must_be_a_file(read: Any, folder: Path) -> None:
    (folder / "my data.csv").write_text(csv())
    assert "is a folder" in refusal(lambda **c: read(folder, **c), folder, {})
    message = refusal(lambda **c: read(folder / "mydata.csv", **c), folder, {})
    assert "does not exist; did you mean 'my data.csv'?" in message


def test_csv_as_parquet_names_the_other_option(folder: Path) -> None:
    (folder / "t.csv").write_text(csv())
    assert "use data=csv" in refusal(lambda **c: read_parquet(folder / "t.csv", **c), folder, {})


def test_digits_has_the_columns_that_it_has(folder: Path) -> None:
    message = refusal(read_digits, folder, {"target": "digits"})
    assert "did you mean 'digit'?" in message
    assert "and 45 more" in message


@pytest.mark.parametrize(
    "wrong",
    [
        {"task": "clustering"},
        {"missing": "drop"},
        {"scaling": "max"},
        {"split_seed": -1},
        {"shape": (4,)},
        {"shape": (1, 0)},
        {"shape": (1, 2, 3, 4)},
    ],
)
def test_settings_know_their_options(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"data.{next(iter(wrong))}"):
        Settings("name", "source", **wrong)


def refusal(read: Any, folder: Path, settings: dict[str, Any]) -> str:
    """The text of the error; what lay in the results before must be there still, and nothing else."""
    out = folder / "results" / "prepare"
    out.mkdir(parents=True)
    (out / "old.txt").write_text("old")
    try:
        with pytest.raises(DataError) as caught:
            prepare(read, Settings("mine", "reader", **{"target": "sick", **settings}), out)
        assert [p.name for p in out.parent.rglob("*")] == ["prepare", "old.txt"]
    finally:
        (out / "old.txt").unlink()
        out.rmdir()
        out.parent.rmdir()
    return str(caught.value)
