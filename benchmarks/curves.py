"""Curves of a search: how far it has come, over its trials and over time, one panel a problem."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.figures.style import BLUE, GREEN, GREY, GRID, INK, MUTED, ORANGE, PURPLE, SKY, VERMILLION

COLOURS = (INK, BLUE, GREEN, ORANGE, VERMILLION, PURPLE, GREY, SKY)


@dataclass(frozen=True)
class Row:
    """Panels over one kind of effort.

    Attributes:
        effort: what the horizontal axis counts.
        at: (points,) of it.
        scores: (seeds, points) by problem and way; NaN before the first trial has ended, and after the last.
    """

    effort: str
    at: NDArray[np.float64]
    scores: Mapping[tuple[str, str], NDArray[np.float64]]


def draw(file: Path, title: str, score: str, rows: Sequence[Row]) -> None:
    """Writes a picture: means over seeds with bands of one standard error; ways equal up to a comma share a colour."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    problems = list(dict.fromkeys(problem for problem, _ in rows[0].scores))
    ways = list(dict.fromkeys(way for row in rows for _, way in row.scores))
    kinds = list(dict.fromkeys(way.split(",")[0] for way in ways))
    colours = {way: COLOURS[kinds.index(way.split(",")[0]) % len(COLOURS)] for way in ways}
    look = {"font.size": 9, "axes.edgecolor": GREY, "text.color": INK, "axes.labelcolor": MUTED, "grid.color": GRID}
    with rc_context({**look, "xtick.color": MUTED, "ytick.color": MUTED, "axes.titlesize": 10}):
        drawn = Figure(figsize=(1 + 3.6 * len(problems), 0.7 + 3.1 * len(rows)), layout="constrained")
        FigureCanvasAgg(drawn)
        panels = drawn.subplots(len(rows), len(problems), squeeze=False, sharex="row", sharey="col")
        drawn.suptitle(title, x=0.01, ha="left", fontsize=11)
        for row, line in zip(rows, panels, strict=True):
            for problem, panel in zip(problems, line, strict=True):
                _panel(panel, row, problem, colours)
            line[0].set_ylabel(score)
            line[-1].legend(
                *line[0].get_legend_handles_labels(), loc="center left", bbox_to_anchor=(1, 0.5), frameon=False
            )
        for problem, panel in zip(problems, panels[0], strict=True):
            panel.set_title(problem, loc="left")
        drawn.savefig(file, dpi=130)


def _panel(panel: Any, row: Row, problem: str, colours: Mapping[str, str]) -> None:
    for way in (w for p, w in row.scores if p == problem):
        scores, ended = held(row.scores[problem, way]), np.isnan(row.scores[problem, way]).all(0)
        seen = ~np.isnan(scores).any(0) & ~ended
        mean, error = scores[:, seen].mean(0), scores[:, seen].std(0) / np.sqrt(len(scores))
        style = "--" if way.startswith("optuna") else "-"
        panel.plot(row.at[seen], mean, style, color=colours[way], linewidth=1.5, label=way)
        panel.fill_between(row.at[seen], mean - error, mean + error, color=colours[way], alpha=0.12, linewidth=0)
    panel.set_xlabel(row.effort)
    panel.set_xlim(0, row.at[-1])
    panel.grid(linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)


def held(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same, with what a study has come to also after its last trial."""
    filled = scores.copy()
    for point in range(1, filled.shape[1]):
        filled[:, point] = np.where(np.isnan(filled[:, point]), filled[:, point - 1], filled[:, point])
    return filled
