"""How the sweep went: the objective by trial number."""

import numpy as np
import plotly.graph_objects as go

from trimtab.figures import style
from trimtab.figures.table import Study


def history(study: Study) -> go.Figure:
    """Value of every trial, the best so far, the baseline's level, and the trials without a value."""
    done = study.completed.sort_values("number")
    if done.empty:
        return style.blank("No trial finished: there is no history to draw.")
    last = int(study.trials["number"].max())
    running = np.minimum if study.direction == "minimize" else np.maximum
    axis = style.ValueAxis.of(done["value"], study.direction)
    drawn = style.figure(380, hovermode="closest")
    drawn.add_scatter(
        x=done["number"],
        y=done["value"],
        mode="markers",
        name="trial",
        marker={"size": 8, "color": style.SKY, "line": {"color": "white", "width": 0.5}},
        hovertext=[f"trial {n}<br>{style.number(v)}" for n, v in zip(done["number"], done["value"], strict=True)],
        hoverinfo="text",
    )
    drawn.add_scatter(
        x=done["number"],
        y=running.accumulate(done["value"]),
        mode="lines",
        name="best so far",
        line={"color": style.BLUE, "width": 2.5, "shape": "hv"},
        hoverinfo="skip",
    )
    _baseline(drawn, study, last)
    _best(drawn, study)
    _without_value(drawn, study)
    title = style.safe(study.metric) + f", {style.better(study.direction)}{axis.note}"
    drawn.update_layout(
        xaxis={"title": {"text": "trial number"}, "range": [-0.015 * last - 0.2, 1.015 * last + 0.2]},
        yaxis={"title": {"text": title}, **axis.layout()},
        yaxis2={"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True},
    )
    return drawn


def _baseline(drawn: go.Figure, study: Study, last: int) -> None:
    value = study.values.get(study.baseline)
    if value is not None:
        drawn.add_scatter(
            x=[0, last],
            y=[value, value],
            mode="lines",
            name=f"baseline (trial {study.baseline})",
            line={"color": style.MUTED, "width": 1.5, "dash": "dash"},
            hovertext=f"baseline<br>{style.number(value)}",
            hoverinfo="text",
        )


def _best(drawn: go.Figure, study: Study) -> None:
    (number,) = study.best(1)
    drawn.add_scatter(
        x=[number],
        y=[study.values[number]],
        mode="markers",
        name=f"best (trial {number})",
        marker=style.STAR,
        hovertext=f"best: trial {number}<br>{style.number(study.values[number])}",
        hoverinfo="text",
    )


def _without_value(drawn: go.Figure, study: Study) -> None:
    """Trials without a value stand at the bad edge of the figure, one mark per state."""
    edge = 0.97 if study.direction == "minimize" else 0.03
    others = study.trials[~study.trials["number"].isin(study.completed["number"])]
    for state, rows in others.groupby("state"):
        word = {"FAIL": "failed", "PRUNED": "pruned"}.get(str(state), "not finite")
        drawn.add_scatter(
            x=rows["number"],
            y=[edge] * len(rows),
            yaxis="y2",
            mode="markers",
            name=word,
            marker={
                "symbol": "x" if word == "failed" else "line-ns-open",
                "size": 8,
                "color": style.VERMILLION if word == "failed" else style.MUTED,
            },
            hovertext=[f"trial {n}: {word}" for n in rows["number"]],
            hoverinfo="text",
        )
