"""Several objectives: what has been found between them, as trade-offs two by two."""

from collections.abc import Sequence
from itertools import combinations

import plotly.graph_objects as go

from trimtab.figures import style
from trimtab.selection.choose import Direction

Point = tuple[int, Sequence[float]]
"""Number of a trial and its objectives."""


def pareto(
    trials: Sequence[Point],
    front: Sequence[int],
    names: Sequence[str],
    directions: Sequence[Direction],
    baseline: int | None = None,
) -> go.Figure:
    """One panel per pair of objectives: all completed trials, those that no other beats, and the baseline.

    Args:
        trials: the completed ones.
        front: numbers of those on the Pareto front.
        names: of the objectives.
        directions: whether small or large values of each are good.
        baseline: its number, if it ran.
    """
    if not trials:
        return style.blank("No trial finished: there is no front to draw.")
    pairs = list(combinations(range(len(names)), 2))
    columns = min(2, len(pairs))
    drawn, panels = style.panels(len(pairs), columns, height=84 + 340 * -(-len(pairs) // columns))
    for panel, (a, b) in zip(panels, pairs, strict=True):
        # What is attained between two points of the front is what the one that is no worse there attains.
        _panel(panel, trials, set(front), (a, b), baseline, "hv" if directions[a] == "minimize" else "vh")
        for side, objective in ((panel.x, a), (panel.y, b)):
            axis = style.ValueAxis.of([values[objective] for _, values in trials], directions[objective])
            title = f"{style.safe(names[objective])}, {style.better(directions[objective])}{axis.note}"
            # Two measures that have nothing to do with each other: every panel has its own ticks.
            side(title={"text": title}, showticklabels=True, **axis.layout())
    if len(pairs) > 1:
        drawn.update_layout(margin={"l": 80})
    return drawn


def _panel(
    panel: style.Panel,
    trials: Sequence[Point],
    front: set[int],
    pair: tuple[int, int],
    baseline: int | None,
    steps: str,
) -> None:
    """Dots, the front as steps between them, and a star for the baseline."""
    beaten = [t for t in trials if t[0] not in front and t[0] != baseline]
    best = sorted((t for t in trials if t[0] in front), key=lambda t: (t[1][pair[0]], t[0]))
    grey = {"size": 7, "color": style.GREY, "line": {"color": "white", "width": 0.5}}
    blue = {"size": 9, "color": style.BLUE, "line": {"color": "white", "width": 0.5}}
    _dots(panel, "trial", beaten, pair, marker=grey, mode="markers")
    # Only of two objectives is the front a line; of more it is a surface, seen from the side.
    line = {"color": style.BLUE, "width": 1.5, "dash": "dot", "shape": steps}
    joined = "lines+markers" if len(trials[0][1]) == 2 else "markers"
    _dots(panel, "Pareto front", best, pair, marker=blue, mode=joined, line=line)
    chosen = [t for t in trials if t[0] == baseline]
    _dots(panel, f"baseline (trial {baseline})", chosen, pair, marker=style.STAR, mode="markers")


def _dots(panel: style.Panel, name: str, trials: Sequence[Point], pair: tuple[int, int], **trace: object) -> None:
    if trials:
        panel.add(
            x=[values[pair[0]] for _, values in trials],
            y=[values[pair[1]] for _, values in trials],
            name=name,
            legendgroup=name,
            showlegend=panel.suffix == "",
            hovertext=[f"{name}: trial {n}<br>{', '.join(map(style.number, values))}" for n, values in trials],
            hoverinfo="text",
            **trace,
        )
