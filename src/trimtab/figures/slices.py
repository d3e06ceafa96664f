"""Each knob against the objective."""

import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from trimtab.figures import style
from trimtab.figures.table import Knob, Study
from trimtab.selection.bootstrap import Floats

COLUMNS = 3


def slices(study: Study) -> go.Figure:
    """A panel per knob: its value against the objective, coloured by trial number, the best starred.

    A trial in which a conditional knob was out of play is missing from that knob's panel. Choices
    stand in the order of the search space, spread sideways so that they don't cover each other.
    """
    done = study.completed
    if done.empty or not study.knobs:
        return style.blank("No trial finished: there is nothing to compare.")
    axis = style.ValueAxis.of(done["value"], study.direction)
    rows = math.ceil(len(study.knobs) / COLUMNS)
    drawn, panels = style.panels(len(study.knobs), COLUMNS, 84 + 240 * rows)
    (best,) = study.best(1)
    for panel, knob in zip(panels, study.knobs, strict=True):
        used = done[done[knob.column].notna()]
        _points(panel, used, knob, best)
        panel.title(_heading(knob))
        note = style.shortened(f"only when {knob.condition}", 44) if knob.when else ""
        panel.x(**knob_axis(knob, used[knob.column]), title={"text": note})
        panel.y(**axis.layout())
        if panel.leftmost:
            panel.y(title={"text": style.safe(study.metric) + axis.note})
    last = max(int(study.trials["number"].max()), 1)
    drawn.update_layout(
        showlegend=False,
        coloraxis={
            "colorscale": style.BY_NUMBER,
            "cmin": 0,
            "cmax": last,
            "colorbar": {
                "title": {"text": "trial"},
                "thickness": 10,
                "outlinewidth": 0,
                "tickvals": [0, last // 2, last],
            },
        },
    )
    return drawn


def knob_axis(knob: Knob, settings: pd.Series) -> dict[str, object]:
    """Keywords of a Plotly axis over a knob's range and what was tried beyond; choices stand at 0, 1, 2 …"""
    if knob.kind == "choice":
        ticks = list(range(len(knob.choices)))
        names = [style.shortened(choice, 12) for choice in knob.choices]
        return {"tickvals": ticks, "ticktext": names, "range": [-0.6, len(ticks) - 0.4]}
    low, high = min([knob.low, *settings]), max([knob.high, *settings])
    if knob.log:
        low = min([knob.low, *settings[settings > 0]])
        limits = style.padded(math.log10(low), math.log10(high))
        return {"type": "log", "range": limits, **style.log_ticks(low, high)}
    return {"type": "linear", "range": style.padded(low, high)}


def positions(used: pd.DataFrame, knob: Knob) -> Floats:
    """Where trials stand on `knob_axis`; what a log axis can't show (0) stands at the lower end."""
    if knob.kind == "choice":
        at = np.array([knob.choices.index(value) for value in used[knob.column]], dtype=float)
        return at + style.jitter(list(used["number"]))
    values: Floats = used[knob.column].to_numpy(dtype=float)
    return np.where(values > 0, values, knob.low) if knob.log else values


def _heading(knob: Knob) -> str:
    note = f"<span style='color:{style.MUTED};font-size:11px'>{style.safe(knob.role)}</span>"
    return f"<b>{style.shortened(knob.name)}</b> {note}"


def _points(panel: style.Panel, used: pd.DataFrame, knob: Knob, best: int) -> None:
    x = positions(used, knob)
    name = style.safe(knob.name)
    hover = [
        f"trial {number}<br>{name} = {style.safe(style.setting(setting))}<br>{style.number(value)}"
        for number, setting, value in zip(used["number"], used[knob.column], used["value"], strict=True)
    ]
    # Plotly draws no axes without a trace, and stumbles over an empty one with a shared colour axis.
    panel.add(
        x=x if len(x) else [None],
        y=used["value"] if len(x) else [None],
        mode="markers",
        marker={
            "size": 8,
            "color": used["number"],
            "coloraxis": "coloraxis",
            "line": {"color": "white", "width": 0.5},
        },
        hovertext=hover,
        hoverinfo="text",
    )
    for at, number, value, text in zip(x, used["number"], used["value"], hover, strict=True):
        if number == best:
            panel.add(x=[at], y=[value], mode="markers", marker=style.STAR, hovertext=f"best: {text}", hoverinfo="text")
