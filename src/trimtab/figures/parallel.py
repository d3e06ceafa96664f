"""Whole configurations at once: parallel coordinates."""

import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from trimtab.figures import style
from trimtab.figures.table import Knob, Study

ABSENT = -0.14  # height of the knobs that were out of play


def parallel_coordinates(study: Study, top: int = 10) -> go.Figure:
    """A line per finished trial across all knobs to the objective; the `top` ones stand out.

    Drawn as plain lines: Plotly's own parallel coordinates know neither missing values nor hover.
    """
    done = study.completed
    if done.empty or not study.knobs:
        return style.blank("No trial finished: there are no configurations to draw.")
    heights = coordinates(study)
    best = [n for n in study.best(min(top, max(1, len(done) // 4))) if n in heights.index]
    baseline = [study.baseline] if study.baseline in set(heights.index) - set(best) else []
    drawn = style.figure(
        460,
        hovermode="closest",
        xaxis={"visible": False, "range": [-0.2, len(study.knobs) + 0.45]},
        yaxis={"visible": False, "range": [ABSENT - 0.08, 1.06]},
        margin={"t": 84, "l": 16, "r": 16, "b": 16},
        legend={"y": 1, "yref": "container", "yanchor": "top"},
    )
    others = heights.drop(index=[*best, *baseline])
    _lines(drawn, others, study, f"{len(others)} others", color="rgba(154,165,177,0.35)", width=1)
    _lines(drawn, heights.loc[best[1:]], study, "best trials", color=style.BLUE, width=1.6)
    _lines(drawn, heights.loc[baseline], study, "baseline", color=style.INK, width=1.6, dash="dash")
    _lines(drawn, heights.loc[best[:1]], study, "best", color=style.ORANGE, width=3.5)
    _axes(drawn, study)
    return drawn


def coordinates(study: Study) -> pd.DataFrame:
    """Heights in 0…1, indexed by trial number, a column per knob and "value"; `ABSENT` where absent.

    On log scales where the knob or the objective is; choices are equally far apart. Trials without
    any knob value (a baseline that was only named) are left out.
    """
    done = study.completed.set_index("number")
    done = done[done[[knob.column for knob in study.knobs]].notna().any(axis=1)]
    columns = {knob.name: _heights(done[knob.column], knob) for knob in study.knobs}
    axis = style.ValueAxis.of(study.completed["value"], study.direction)
    values = done["value"].to_numpy(dtype=float)
    values = np.log10(values) if axis.kind == "log" else values
    low, high = axis.range
    columns["value"] = np.clip((values - low) / (high - low), 0, 1)
    return pd.DataFrame(columns, index=done.index)


def _heights(settings: pd.Series, knob: Knob) -> np.ndarray:
    if knob.kind == "choice":
        last = max(len(knob.choices) - 1, 1)
        at = [ABSENT if pd.isna(v) else knob.choices.index(v) / last for v in settings]
        return np.asarray(at, dtype=float)
    values = settings.to_numpy(dtype=float)
    low, high = knob.low, knob.high
    if knob.log:
        with np.errstate(divide="ignore", invalid="ignore"):
            values, low, high = np.log(values), math.log(low), math.log(high)
    heights = np.clip((values - low) / ((high - low) or 1.0), 0, 1)
    return np.where(np.isnan(values), ABSENT, heights)


def _lines(drawn: go.Figure, heights: pd.DataFrame, study: Study, name: str, **line: object) -> None:
    """One trace for many lines: a gap (None) ends each."""
    x: list[int | None] = []
    y: list[float | None] = []
    texts: list[str] = []
    for number, row in heights.iterrows():
        x += [*range(len(row)), None]
        y += [*(float(v) for v in row), None]
        texts += [_hover(study, int(str(number)))] * (len(row) + 1)
    if x:
        drawn.add_scatter(
            x=x, y=y, mode="lines+markers", name=name, line=line,
            marker={"size": 4, "color": line["color"]}, hovertext=texts, hoverinfo="text",
        )  # fmt: skip


def _hover(study: Study, number: int) -> str:
    settings = (f"{style.safe(name)} = {style.safe(style.setting(v))}" for name, v in study.row(number).items())
    return "<br>".join([f"<b>trial {number}: {style.number(study.values[number])}</b>", *settings])


def _axes(drawn: go.Figure, study: Study) -> None:
    for index, knob in enumerate(study.knobs):
        ticks = _choice_ticks(knob) if knob.kind == "choice" else _range_ticks(knob)
        if study.completed[knob.column].isna().any() and knob.when:
            ticks = [(ABSENT, "not in play"), *ticks]
        _axis(drawn, index, style.safe(knob.name).replace(".", ".<br>"), ticks)
    axis = style.ValueAxis.of(study.completed["value"], study.direction)
    low, high = (10**v if axis.kind == "log" else v for v in axis.range)
    name = f"<b>{style.safe(study.metric)}</b>"
    _axis(drawn, len(study.knobs), name, [(0.0, style.number(low, 2)), (1.0, style.number(high, 2))])


def _choice_ticks(knob: Knob) -> list[tuple[float, str]]:
    last = max(len(knob.choices) - 1, 1)
    return [(i / last, style.shortened(choice, 12)) for i, choice in enumerate(knob.choices)]


def _range_ticks(knob: Knob) -> list[tuple[float, str]]:
    middle = math.sqrt(knob.low * knob.high) if knob.log else (knob.low + knob.high) / 2
    middle = round(middle) if knob.kind == "int" else middle
    ends = [(0.0, style.number(knob.low, 3)), (1.0, style.number(knob.high, 3))]
    if not knob.low < middle < knob.high:
        return ends
    height = float(_heights(pd.Series([middle]), knob)[0])
    return [*ends, (height, style.number(middle, 3))]


def _axis(drawn: go.Figure, x: int, name: str, ticks: list[tuple[float, str]]) -> None:
    drawn.add_shape(type="line", x0=x, x1=x, y0=0, y1=1, line={"color": style.MUTED, "width": 1}, layer="below")
    drawn.add_annotation(text=name, x=x, y=1, yshift=10, yanchor="bottom", xanchor="center", font={"size": 12})
    for height, text in ticks:
        drawn.add_annotation(
            text=text, x=x, y=height, xshift=6, xanchor="left",
            bgcolor="rgba(255,255,255,0.8)", borderpad=1, font={"size": 11, "color": style.MUTED},
        )  # fmt: skip
