"""How the best trials learned: loss by epoch."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from trimtab.figures import style
from trimtab.selection.choose import Direction

COLUMNS = 3


def learning_curves(
    curves: pd.DataFrame,
    order: Sequence[int],
    baseline: int,
    metric: str,
    direction: Direction,
) -> go.Figure:
    """A panel per trial on common axes: training loss dashed, validation loss solid, best epoch marked.

    Args:
        curves: columns trial, epoch, "train/loss", "val/loss", and `metric`.
        order: trial numbers in the order of the panels; those without a curve are left out.
        metric: the objective, which decides what the best epoch is.
    """
    known = set(curves["trial"])
    numbers = [number for number in order if number in known]
    if not numbers:
        return style.blank("No learning curves were kept.")
    shown = curves[curves["trial"].isin(numbers)]
    losses = pd.concat([shown["train/loss"], shown["val/loss"]])
    axis = style.ValueAxis.of(losses, "minimize")
    rows = math.ceil(len(numbers) / COLUMNS)
    drawn, panels = style.panels(len(numbers), COLUMNS, 84 + 230 * rows)
    for index, (panel, number) in enumerate(zip(panels, numbers, strict=True)):
        curve = shown[shown["trial"] == number].sort_values("epoch")
        _panel(panel, curve, _best_row(curve, metric, direction), metric, first=index == 0)
        role = " · baseline" if number == baseline else ""
        panel.title(f"<b>trial {number}</b><span style='color:{style.MUTED}'>{role}</span>")
        panel.y(**axis.layout())
        last_row = index + COLUMNS >= len(numbers)
        panel.x(range=[0, shown["epoch"].max() + 1], title={"text": "epoch" if last_row else ""})
        if panel.leftmost:
            panel.y(title={"text": f"loss{axis.note}"})
    drawn.update_layout(margin={"t": 64}, legend={"y": 1, "yref": "container", "yanchor": "top"})
    return drawn


def _best_row(curve: pd.DataFrame, metric: str, direction: Direction) -> pd.Series:
    """The epoch the trial's value comes from: the first of the best."""
    column = curve[metric if metric in curve else "val/loss"].to_numpy(dtype=float)
    return curve.iloc[int(np.nanargmin(column if direction == "minimize" else -column))]


def _panel(panel: style.Panel, curve: pd.DataFrame, best: pd.Series, metric: str, *, first: bool) -> None:
    for column, name, dash, colour in (
        ("train/loss", "training", "dash", style.ORANGE),
        ("val/loss", "validation", "solid", style.BLUE),
    ):
        panel.add(
            x=curve["epoch"],
            y=curve[column],
            mode="lines",
            name=name,
            legendgroup=name,
            showlegend=first,
            line={"color": colour, "dash": dash, "width": 2},
            hovertext=[
                f"epoch {epoch}<br>{name} loss {style.number(value)}"
                for epoch, value in zip(curve["epoch"], curve[column], strict=True)
            ],
            hoverinfo="text",
        )
    value = best.get(metric, best["val/loss"])
    panel.add(
        x=[best["epoch"]],
        y=[best["val/loss"]],
        mode="markers",
        name=f"best epoch by {style.safe(metric)}",
        legendgroup="best",
        showlegend=first,
        marker=style.STAR,
        hovertext=f"best epoch {int(best['epoch'])}<br>{style.safe(metric)} {style.number(value)}",
        hoverinfo="text",
    )
