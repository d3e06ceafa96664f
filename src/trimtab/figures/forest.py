"""The test result: every recipe's score, and its difference to the champion, with intervals."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from trimtab.figures import style
from trimtab.selection.bootstrap import Interval
from trimtab.selection.standing import CONSTANT, metric_direction, standing

Scores = Mapping[str, Mapping[str, Interval]]
RECIPES = {
    "champion": "champion",
    "default": "default",
    "classic": "classic start",
    "logistic": "logistic regression",
    "ridge": "ridge regression",
    "boosting": "gradient boosting",
    CONSTANT: "constant answer",
}


def scores_forest(scores: Scores, metrics: Sequence[str], note: str = "") -> go.Figure:
    """A panel per metric: each recipe's value and 95% interval, the champion in blue.

    Args:
        note: written above the figure, so that it also stands on a picture of it.
    """
    drawn, panels = _forest(list(scores), metrics, note)
    for panel, metric in zip(panels, metrics, strict=True):
        for row, (name, found) in enumerate(scores.items()):
            colour = style.BLUE if name == "champion" else style.MUTED
            if metric in found:
                _interval(panel, name, row, found[metric], colour, big=name == "champion")
        panel.x(title={"text": style.better(metric_direction(metric))})
    return drawn


def paired_differences(differences: Scores, metrics: Sequence[str], note: str = "") -> go.Figure:
    """A panel per metric: champion minus recipe with 95% interval against the zero line.

    Blue: the champion is better; vermillion: it is worse; grey: the interval includes 0.
    """
    if not differences:
        return style.blank("There is no recipe to compare the champion with.")
    colours = {"better": style.BLUE, "worse": style.VERMILLION, "undecided": style.GREY}
    drawn, panels = _forest(list(differences), metrics, note)
    for panel, metric in zip(panels, metrics, strict=True):
        panel.line(
            x0=0, x1=0, yref="y domain" if not panel.suffix else f"y{panel.suffix} domain",
            y0=0, y1=1, line={"color": style.INK, "width": 1.2}, layer="below",
        )  # fmt: skip
        for row, (name, found) in enumerate(differences.items()):
            if metric in found:
                colour = colours[standing(found[metric], metric)]
                _interval(panel, name, row, found[metric], colour, big=False)
        up = metric_direction(metric) == "maximize"
        panel.x(title={"text": "champion better →" if up else "← champion better"})
    return drawn


def _forest(recipes: Sequence[str], metrics: Sequence[str], note: str) -> tuple[go.Figure, list[style.Panel]]:
    height = 124 + 38 * len(recipes)
    drawn, panels = style.panels(len(metrics), len(metrics), height)
    rows = list(range(len(recipes)))
    names = [style.shortened(RECIPES.get(name, name)) for name in recipes]
    for panel, metric in zip(panels, metrics, strict=True):
        panel.title(f"<b>{style.safe(style.NAMES.get(metric, metric))}</b>")
        panel.x(nticks=4)
        panel.y(tickvals=rows, ticktext=names, range=[len(recipes) - 0.4, -0.6], ticks="")
    drawn.update_layout(showlegend=False, margin={"t": 64})
    style.label(drawn, note)
    return drawn, panels


def _interval(panel: style.Panel, name: str, row: int, found: Interval, colour: str, *, big: bool) -> None:
    panel.add(
        x=[found.value],
        y=[row],
        mode="markers",
        name=name,
        marker={"size": 12 if big else 9, "color": colour, "symbol": "diamond" if big else "circle"},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [found.high - found.value],
            "arrayminus": [found.value - found.low],
            "color": colour,
            "thickness": 3 if big else 2,
            "width": 5,
        },
        hovertext=(
            f"<b>{style.safe(RECIPES.get(name, name))}</b><br>{style.number(found.value)}"
            f"<br>95% interval {style.number(found.low)} to {style.number(found.high)}"
        ),
        hoverinfo="text",
    )
