"""The candidates on fresh seeds."""

from collections.abc import Sequence

import plotly.graph_objects as go

from trimtab.figures import style
from trimtab.selection.choose import Candidate, Direction


def seeds(
    candidates: Sequence[Candidate],
    champion: str,
    seed_numbers: Sequence[int],
    metric: str,
    direction: Direction,
) -> go.Figure:
    """A row per candidate: each seed's value as a point, the mean as a bar, the champion in blue.

    Hollow points belong to recipes that cannot become champion.
    """
    if not candidates:
        return style.blank("No candidate was confirmed over seeds.")
    axis = style.ValueAxis.of((v for c in candidates for v in c.values), direction)
    drawn = style.figure(
        110 + 40 * len(candidates),
        showlegend=False,
        xaxis={
            "title": {"text": f"{style.safe(metric)}, {style.better(direction)}{axis.note}"},
            **axis.layout(),
        },
        yaxis={
            "tickvals": list(range(len(candidates))),
            "ticktext": [style.shortened(c.name) for c in candidates],
            "range": [len(candidates) - 0.4, -0.6],
            "ticks": "",
        },
    )
    for row, candidate in enumerate(candidates):
        _candidate(drawn, row, candidate, seed_numbers, chosen=candidate.name == champion)
    return drawn


def _candidate(drawn: go.Figure, row: int, candidate: Candidate, seed_numbers: Sequence[int], *, chosen: bool) -> None:
    colour = style.BLUE if chosen else style.MUTED
    drawn.add_scatter(
        x=[candidate.mean],
        y=[row],
        mode="markers",
        name=f"{candidate.name} mean",
        marker={"symbol": "line-ns", "size": 24, "line": {"color": colour, "width": 4}},
        hovertext=(
            f"<b>{style.safe(candidate.name)}</b><br>mean {style.number(candidate.mean)}"
            f"<br>standard deviation {style.number(candidate.std)}"
        ),
        hoverinfo="text",
    )
    drawn.add_scatter(
        x=list(candidate.values),
        y=[row] * len(candidate.values),
        mode="markers",
        name=candidate.name,
        marker={
            "symbol": "circle" if candidate.eligible else "circle-open",
            "size": 9,
            "color": colour,
            "opacity": 0.75,
            "line": {"width": 1.5},
        },
        hovertext=[
            f"{style.safe(candidate.name)}, seed {seed}<br>{style.number(value)}"
            for seed, value in zip(seed_numbers, candidate.values, strict=False)
        ],
        hoverinfo="text",
    )
