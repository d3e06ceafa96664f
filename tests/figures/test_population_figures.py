"""What the tools of `population/` draw."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from trimtab.figures import style
from trimtab.figures.lineage import lineage
from trimtab.figures.lr_range import lr_range
from trimtab.population.lr_range import Found

FOUND = Found(2.3, 1e-2, 1e-3, 1e-1, 1.0, 1e-2, 1e-1)
NOTHING = Found(2.3, None, None, None, None, None, None)


def trace(drawn: go.Figure, name: str) -> go.Scatter:
    (found,) = [t for t in drawn.data if t.name == name]
    return found


@pytest.fixture
def rates() -> pd.DataFrame:
    grid = [1e-3, 1e-2, 1e-1, 1.0]
    ramp = {
        "kind": "ramp",
        "lr": grid,
        "step": [1, 2, 3, 4],
        "train/loss": [2.5, 2, 1, 900],
        "smoothed": [2.4, 2, 1, 600],
    }
    rows = [
        {"kind": "constant", "lr": lr, "step": step, "train/loss": 1.0, "val/loss": 2.0 - step / 10}
        for lr in grid[:3]
        for step in (5, 10)
    ]
    return pd.concat([pd.DataFrame(ramp), pd.DataFrame(rows)], ignore_index=True)


def test_the_range_test_shows_both_curves_and_the_range(rates: pd.DataFrame) -> None:
    drawn = lr_range(rates, FOUND, "adamw")
    np.testing.assert_array_equal(trace(drawn, "smoothed").y, [2.4, 2, 1, 600])
    np.testing.assert_array_equal(trace(drawn, "after 10 steps").y, [1.0, 1.0, 1.0])
    bands = [s for s in drawn.layout.shapes if s.type == "rect"]
    assert [(b.x0, b.x1) for b in bands] == [(1e-3, 1e-1)] * 2
    top = drawn.layout.yaxis.range[1]
    assert (10**top if drawn.layout.yaxis.type == "log" else top) < 10  # what is far worse than chance is beyond
    assert drawn.layout.xaxis.type == drawn.layout.xaxis2.type == "log"


def test_a_range_that_was_not_found_is_not_drawn(rates: pd.DataFrame) -> None:
    only_ramp = rates[rates["kind"] == "ramp"]
    assert [s.type for s in lr_range(only_ramp, NOTHING, "adamw").layout.shapes] == ["line"] * 2


@pytest.fixture
def members() -> pd.DataFrame:
    """Two members; in epoch 3 member 0 goes on from member 1."""
    rows = [(1, 0, 0, 2.0, 0.1), (1, 1, 1, 1.5, 0.2), (2, 0, 0, 1.8, 0.1), (2, 1, 1, 1.0, 0.2), (3, 0, 1, 0.7, 0.24)]
    return pd.DataFrame([*rows, (3, 1, 1, 0.9, 0.2)], columns=["epoch", "member", "parent", "val/loss", "optimizer.lr"])


def test_lines_go_from_parents_to_copies(members: pd.DataFrame) -> None:
    path = members.iloc[[1, 3, 4]]
    drawn = lineage(members, path, "val/loss", "minimize", ["optimizer.lr"], 3)
    losses = next(t for t in drawn.data if t.name == "members")
    assert list(zip(losses.x, losses.y, strict=True))[6:] == [
        (2, 1.0), (3, 0.7), (None, None), (2, 1.0), (3, 0.9), (None, None),
    ]  # fmt: skip
    ours, knob = [t for t in drawn.data if t.name == "the winner's lineage"]
    assert list(ours.y) == [1.5, 1.0, 0.7]
    assert list(knob.y) == [0.2, 0.2, 0.24]
    assert ours.hovertext[2] == f"epoch 3, member 0<br>val/loss {style.number(0.7)}"
    assert list(trace(drawn, "best epoch").y) == [0.7]
