"""Population based training: which members went on, and how their knobs moved."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from trimtab.figures import style
from trimtab.selection.choose import Direction

COLUMNS = 2


def lineage(
    table: pd.DataFrame, path: pd.DataFrame, metric: str, direction: Direction, knobs: Sequence[str], best_epoch: int
) -> go.Figure:
    """A panel for the metric and one for each knob, by epoch: all members, and the winner's lineage in blue.

    A line goes from a member to what went on from its weights; one that breaks off was replaced.

    Args:
        table: columns epoch, member, parent, `metric` and the knobs; a row per epoch and member.
        path: the rows of the winner's lineage, by epoch.
        metric: what decided.
        direction: whether small or large values of it are good.
        knobs: that moved.
        best_epoch: of the lineage.
    """
    rows = -(-(1 + len(knobs)) // COLUMNS)
    drawn, panels = style.panels(1 + len(knobs), COLUMNS, 84 + 260 * rows)
    axes = [style.ValueAxis.of(table[metric], direction), *(_axis(table[knob]) for knob in knobs)]
    for panel, column, axis in zip(panels, [metric, *knobs], axes, strict=True):
        _panel(panel, table, path, column)
        panel.title(f"<b>{style.safe(column)}</b>")
        panel.y(**axis.layout(), showticklabels=True)
        panel.x(range=[0.5, table["epoch"].max() + 0.5], title={"text": "epoch"})
    best = path[path["epoch"] == best_epoch]
    panels[0].add(x=best["epoch"], y=best[metric], mode="markers", name="best epoch", marker=style.STAR)
    drawn.update_layout(margin={"t": 84}, legend={"y": 1, "yref": "container", "yanchor": "top"})
    return drawn


def _axis(values: pd.Series) -> style.ValueAxis:
    """Of a knob: no value is better than another, so that none is cut off."""
    axis = style.ValueAxis.of(values, "minimize")
    low, high = float(values.min()), float(values.max())
    return axis if axis.kind == "log" else style.ValueAxis("linear", style.padded(low, high), 0)


def _panel(panel: style.Panel, table: pd.DataFrame, path: pd.DataFrame, column: str) -> None:
    first = panel.suffix == ""
    before = {(epoch, member): value for epoch, member, value in _triples(table, column)}
    x: list[float | None] = []
    y: list[float | None] = []
    for epoch, member, parent in zip(table["epoch"], table["member"], table["parent"], strict=True):
        if (epoch - 1, parent) in before:
            x += [epoch - 1, epoch, None]
            y += [before[epoch - 1, parent], before[epoch, member], None]
    panel.add(
        x=x, y=y, mode="lines", name="members", showlegend=first, hoverinfo="skip",
        line={"color": style.GREY, "width": 1},
    )  # fmt: skip
    panel.add(
        x=path["epoch"], y=path[column], mode="lines", name="the winner's lineage", showlegend=first,
        line={"color": style.BLUE, "width": 2.5},
        hovertext=[
            f"epoch {epoch}, member {member}<br>{style.safe(column)} {style.number(value)}"
            for epoch, member, value in _triples(path, column)
        ],
        hoverinfo="text",
    )  # fmt: skip


def _triples(rows: pd.DataFrame, column: str) -> list[tuple[int, int, float]]:
    """Epoch, member and value."""
    return list(zip(rows["epoch"].tolist(), rows["member"].tolist(), rows[column].tolist(), strict=True))
