"""Figures show what the tables say, for every kind of study."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from trimtab.figures import style
from trimtab.figures.confusion import confusion
from trimtab.figures.curves import learning_curves
from trimtab.figures.forest import paired_differences, scores_forest
from trimtab.figures.history import history
from trimtab.figures.importance import importance_bars, importances
from trimtab.figures.parallel import ABSENT, coordinates, parallel_coordinates
from trimtab.figures.residuals import DRAWN_ROWS, residuals
from trimtab.figures.seeds import seeds
from trimtab.figures.slices import slices
from trimtab.figures.table import Knob, Study
from trimtab.selection.bootstrap import Interval
from trimtab.selection.choose import Candidate, Direction

KINDS = ["minimize", "maximize", "one trial", "all others failed"]


def _trace(drawn: go.Figure, name: str) -> go.Scatter:
    (found,) = [trace for trace in drawn.data if trace.name == name]
    return found


def _texts(drawn: go.Figure) -> str:
    return " ".join(note.text for note in drawn.layout.annotations)


@pytest.mark.parametrize("kind", KINDS)
def test_history_shows_the_table(studies: dict[str, Study], kind: str) -> None:
    study = studies[kind]
    values = study.completed["value"]
    best = values.cummin() if study.direction == "minimize" else values.cummax()
    drawn = history(study)
    np.testing.assert_array_equal(_trace(drawn, "trial").y, values)
    np.testing.assert_array_equal(_trace(drawn, "best so far").y, best)
    assert _trace(drawn, "baseline (trial 0)").y[0] == study.trials["value"][0]
    failed = [x for trace in drawn.data if trace.name == "failed" for x in trace.x]
    assert failed == list(study.trials.query("state == 'FAIL'")["number"])


def test_history_stars_the_best(studies: dict[str, Study]) -> None:
    study = studies["maximize"]
    (star,) = [trace for trace in history(study).data if trace.name.startswith("best (")]
    assert star.y[0] == study.completed["value"].max()


@pytest.mark.parametrize("kind", KINDS)
def test_slices_hold_every_trial_with_the_knob(studies: dict[str, Study], kind: str) -> None:
    study = studies[kind]
    points = [trace for trace in slices(study).data if trace.marker.symbol is None]
    for knob, trace in zip(study.knobs, points, strict=True):
        used = study.completed[study.completed[knob.column].notna()]
        np.testing.assert_array_equal([y for y in trace.y if y is not None], used["value"])
        if knob.kind != "choice" and len(used):
            np.testing.assert_array_equal(trace.x, used[knob.column])


def test_slices_put_log_knobs_on_log_axes_and_choices_in_order(studies: dict[str, Study]) -> None:
    study = studies["minimize"]
    layout = slices(study).layout
    axes = {k.name: layout[f"xaxis{i + 1 if i else ''}"] for i, k in enumerate(study.knobs)}
    assert {name for name, axis in axes.items() if axis.type == "log"} == {"optimizer.lr", "model.width"}
    assert axes["training.batch_size"].ticktext == ("16", "32", "64", "128", "256")
    assert "only when optimizer = sgd" in axes["optimizer.momentum"].title.text


@pytest.mark.parametrize("kind", KINDS)
def test_parallel_coordinates_place_every_value(studies: dict[str, Study], kind: str) -> None:
    study = studies[kind]
    heights = coordinates(study)
    assert list(heights.index) == list(study.completed["number"])
    absent = study.completed.set_index("number")["params.optimizer.momentum"].isna()
    np.testing.assert_array_equal(heights["optimizer.momentum"] == ABSENT, absent)
    present = heights.to_numpy()[heights.to_numpy() != ABSENT]
    assert present.min() >= 0
    assert present.max() <= 1
    drawn = parallel_coordinates(study)
    lines = sum(y is None for trace in drawn.data for y in trace.y)
    assert lines == len(heights)


def test_parallel_coordinates_are_logarithmic_where_the_knob_is(studies: dict[str, Study]) -> None:
    heights = coordinates(studies["minimize"])
    assert heights["optimizer.lr"][0] == pytest.approx(0.25)  # 0.001 between 0.0001 and 1
    assert heights["training.batch_size"][0] == 0.25  # the second of five


def test_importances_find_the_strong_knob_and_cover_the_conditional_one(studies: dict[str, Study]) -> None:
    shares = importances(studies["minimize"])
    assert next(iter(shares)) == "optimizer.lr"
    assert set(shares) == {knob.name for knob in studies["minimize"].knobs}
    assert sum(shares.values()) == pytest.approx(1)
    assert shares == importances(studies["minimize"])


def test_importances_follow_the_direction(studies: dict[str, Study]) -> None:
    """The toy objective is 1 − loss, so that the good trials are the same ones."""
    assert importances(studies["maximize"]) == pytest.approx(importances(studies["minimize"]))


@pytest.mark.parametrize("kind", ["one trial", "all others failed"])
def test_too_few_trials_say_so(studies: dict[str, Study], kind: str) -> None:
    assert importances(studies[kind]) == {}
    assert "at least 15" in _texts(importance_bars({}))


def test_importance_bars_show_the_greatest_on_top() -> None:
    (bars,) = importance_bars({"a": 0.7, "b": 0.3}).data
    assert list(zip(bars.y, bars.x, strict=True)) == [("b", 0.3), ("a", 0.7)]


@pytest.mark.parametrize(("direction", "best"), [("minimize", 2), ("maximize", 3)])
def test_learning_curves_mark_the_best_epoch_of_the_objective(direction: Direction, best: int) -> None:
    curves = pd.DataFrame(
        {
            "trial": [4, 4, 4],
            "epoch": [1, 2, 3],
            "train/loss": [1.0, 0.5, 0.2],
            "val/loss": [1.1, 0.6, 0.7],
            "val/f1": [0.5, 0.4, 0.6],
        }
    )
    drawn = learning_curves(curves, [4, 9], 0, "val/f1", direction)
    star = _trace(drawn, "best epoch by val/f1")
    assert star.x[0] == best
    assert star.y[0] == curves["val/loss"][best - 1]
    assert _trace(drawn, "training").line.dash == "dash"
    assert _trace(drawn, "validation").line.dash == "solid"
    np.testing.assert_array_equal(_trace(drawn, "validation").y, curves["val/loss"])


@pytest.mark.parametrize("part", ["scores", "differences"])
def test_forest_intervals_are_those_of_metrics_json(sample: Path, part: str) -> None:
    stored = json.loads((sample / "evaluate" / "metrics.json").read_text())[part]
    table = {r: {m: Interval(**i) for m, i in metrics.items()} for r, metrics in stored.items()}
    metrics = list(stored["champion" if part == "scores" else "default"])
    drawn = (scores_forest if part == "scores" else paired_differences)(table, metrics)
    assert len(drawn.data) == len(metrics) * len(stored)
    for index, trace in enumerate(drawn.data):
        found = stored[trace.name][metrics[index // len(stored)]]
        assert trace.x[0] == found["value"]
        assert trace.x[0] + trace.error_x.array[0] == pytest.approx(found["high"])
        assert trace.x[0] - trace.error_x.arrayminus[0] == pytest.approx(found["low"])


def test_a_note_stands_on_the_figure_itself() -> None:
    drawn = scores_forest({"champion": {"f1": Interval(0.5, 0.4, 0.6)}}, ["f1"], "Exploratory: look 2")
    assert "Exploratory: look 2" in drawn.layout.title.text


def test_confusion_counts_with_classes_nobody_predicted() -> None:
    (cells,) = confusion(["a", "a", "b"], ["a", "b", "b"], ["a", "b", "c"]).data
    assert [list(row) for row in cells.text] == [["1", "1", ""], ["", "1", ""], ["", "", ""]]
    assert [list(row) for row in cells.z] == [[0.5, 0.5, 0], [0, 1, 0], [0, 0, 0]]


def test_residuals_are_actual_minus_predicted_and_thinned() -> None:
    actual = np.arange(2.0 * DRAWN_ROWS)
    drawn = residuals(actual, actual + 1, "price")
    assert set(drawn.data[0].y) == {-1.0}
    assert len(drawn.data[0].x) == DRAWN_ROWS
    assert f"{DRAWN_ROWS} of {2 * DRAWN_ROWS} rows" in drawn.layout.xaxis.title.text


def test_seeds_show_each_value_and_the_mean() -> None:
    candidates = [Candidate("trial 3", 3, True, (1.0, 3.0)), Candidate("default", None, False, (4.0, 5.0))]
    drawn = seeds(candidates, "trial 3", [7, 8], "val/loss", "minimize")
    assert _trace(drawn, "trial 3").x == (1.0, 3.0)
    assert _trace(drawn, "trial 3 mean").x == (2.0,)
    assert _trace(drawn, "default").marker.symbol == "circle-open"


@pytest.mark.parametrize(
    ("values", "direction", "kind", "hidden"),
    [
        ([0.1, 0.2, 0.3], "minimize", "linear", 0),
        ([0.01, 0.2, 30.0], "minimize", "log", 0),
        ([0.9, 0.8, 0.85, 0.87, -500.0], "maximize", "linear", 1),
        ([0.9, 0.8, float("nan")], "maximize", "linear", 0),
        ([], "minimize", "linear", 0),
    ],
)
def test_value_axis(values: list[float], direction: Direction, kind: str, hidden: int) -> None:
    axis = style.ValueAxis.of(values, direction)
    assert (axis.kind, axis.hidden) == (kind, hidden)
    assert axis.range[0] < axis.range[1]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (None, "–"), (float("nan"), "–"), (-0.12345, "−0.1235"), (1e-6, "1e−6"), (float("inf"), "∞")],
)
def test_number(value: float | None, text: str) -> None:
    assert style.number(value) == text


@pytest.mark.parametrize(
    ("choices", "cell", "expected"),
    [
        ((16, 32), "32", 32),
        ((16, 32), "32.0", 32),
        ((True, False), "True", True),
        (("1", "2"), "2", "2"),
        ((16, 32), "48", None),
        ((16, 32), "", None),
        ((0.1, "auto"), "auto", "auto"),
    ],
)
def test_choices_come_back_with_their_types(choices: tuple[int | str, ...], cell: str, expected: object) -> None:
    parsed = Knob("k", "choice", choices=choices).parse(cell)
    assert parsed == expected
    assert type(parsed) is type(expected)


def test_a_baseline_without_settings_or_outside_the_space_is_drawn_but_not_weighed(
    studies: dict[str, Study], tmp_path: Path, sample: Path
) -> None:
    """Trial 0 may have been run by name alone, and a log knob's default may be 0."""
    folder = tmp_path / "sweep"
    folder.mkdir()
    (folder / "study.json").write_text((sample / "sweep" / "study.json").read_text())
    table = pd.read_csv(sample / "sweep" / "trials.csv", dtype=str)
    table.loc[0, table.columns.str.startswith("params.")] = None
    table.loc[0, "value"] = "0.0001"
    table.loc[1, "params.optimizer.lr"] = "0.0"
    table.loc[2, "params.model.width"] = "999"
    table.to_csv(folder / "trials.csv", index=False)
    study = Study.read(folder)
    assert len(history(study).data[0].x) == len(study.completed)
    assert 0 not in coordinates(study).index
    assert coordinates(study)["optimizer.lr"][1] == 0
    width = next(i for i, knob in enumerate(study.knobs) if knob.name == "model.width")
    assert slices(study).layout[f"xaxis{width + 1 if width else ''}"].range[1] > np.log10(999)
    assert parallel_coordinates(study).data
    assert next(iter(importances(study))) == "optimizer.lr"
