"""What all figures share: fonts, a palette that colour-blind people can read, axes, and hostile names.

Colours are Okabe & Ito's (2008, "Color Universal Design"); one colour keeps one meaning on all figures.
"""

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import plotly.graph_objects as go

from trimtab.paths import atomic
from trimtab.selection.bootstrap import Floats
from trimtab.selection.choose import Direction
from trimtab.selection.standing import LOWER_IS_BETTER

INK, MUTED, GRID = "#1f2933", "#616e7c", "#e4e7eb"
BLUE, SKY, ORANGE, VERMILLION = "#0072B2", "#56B4E9", "#E69F00", "#D55E00"
GREEN, PURPLE, GREY = "#009E73", "#CC79A7", "#9aa5b1"
BY_NUMBER = "Cividis"
BLUES = [[0.0, "#ffffff"], [0.02, "#eef5fa"], [0.5, "#6fb1d9"], [1.0, "#00527f"]]
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
NAMES = {  # in the order of tables and panels
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "f1": "F1 (macro)",
    "auroc": "AUROC",
    "r2": "R²",
    "mae": "mean absolute error",
    "loss": "loss",
}
STAR = {"symbol": "star", "size": 15, "color": ORANGE, "line": {"color": INK, "width": 1}}

_AXIS = {
    "gridcolor": GRID,
    "linecolor": GREY,
    "showline": True,
    "ticks": "outside",
    "tickcolor": GREY,
    "ticklen": 4,
    "zeroline": False,
    "automargin": True,
    "title": {"standoff": 10, "font": {"size": 13, "color": MUTED}},
}
TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": FONT, "size": 13, "color": INK},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "colorway": [BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, INK],
        "margin": {"l": 64, "r": 24, "t": 36, "b": 48},
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "hoverlabel": {"bgcolor": "white", "font": {"family": FONT, "size": 13, "color": INK}},
        "annotationdefaults": {"font": {"size": 13, "color": INK}, "showarrow": False},
    }
)


@dataclass(frozen=True)
class ValueAxis:
    """An axis for objective values on which the good ones can be told apart.

    Attributes:
        kind: Plotly's axis type: "log" where positive values span more than a decade, else "linear".
        range: limits (base-10 exponents on a log axis); on a linear axis far outliers on the bad
            side are cut off.
        hidden: how many values that cuts off.
    """

    kind: str
    range: tuple[float, float]
    hidden: int

    @classmethod
    def of(cls, values: Iterable[float], direction: Direction) -> "ValueAxis":
        """The axis for these values; NaN and infinity are ignored."""
        finite = np.array([v for v in values if math.isfinite(v)])
        if not finite.size:
            return cls("linear", (0.0, 1.0), 0)
        if finite.min() > 0 and finite.max() > 10 * finite.min():
            low, high = np.log10(finite.min()), np.log10(finite.max())
            return cls("log", padded(low, high), 0)
        low, high = _without_outliers(finite, direction)
        return cls("linear", padded(low, high), int(((finite < low) | (finite > high)).sum()))

    @property
    def note(self) -> str:
        """What to add to the axis title about the values cut off."""
        return f" ({self.hidden} worse beyond the axis)" if self.hidden else ""

    def layout(self) -> dict[str, object]:
        """As keywords of a Plotly axis."""
        ticks = log_ticks(*(10**limit for limit in self.range)) if self.kind == "log" else {}
        return {"type": self.kind, "range": list(self.range), **ticks}


def log_ticks(low: float, high: float) -> dict[str, object]:
    """Ticks of a log axis as Plotly keywords: powers of ten, 2 and 5 times them on under two decades."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    step = max(1, (last - first) // 6)
    between = (1, 2, 5) if math.log10(high / low) < 2 else (1,)
    ticks = [m * 10.0**e for e in range(first, last + 1, step) for m in between]
    shown = [tick for tick in ticks if low / 1.01 <= tick <= high * 1.01]
    return {"tickvals": shown, "ticktext": [number(tick) for tick in shown]}


def padded(low: float, high: float) -> tuple[float, float]:
    """Limits a little beyond the values, also around a single one."""
    pad = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
    return float(low - pad), float(high + pad)


def _without_outliers(values: np.ndarray, direction: Direction) -> tuple[float, float]:
    """Tukey's outer fence (1977), on the bad side alone."""
    lower, upper = np.quantile(values, [0.25, 0.75])
    reach = 3 * (upper - lower)
    if direction == "minimize":
        return float(values.min()), float(values[values <= upper + reach].max())
    return float(values[values >= lower - reach].min()), float(values.max())


def safe(text: object) -> str:
    """Text that Plotly, which reads a subset of HTML in every label, shows letter by letter."""
    return html.escape(str(text), quote=False)


def shortened(text: object, length: int = 28) -> str:
    """A label that fits beside an axis, safe to draw."""
    plain = str(text)
    return safe(plain if len(plain) <= length else plain[: length - 1] + "…")


def number(value: float | None, digits: int = 4) -> str:
    """A value as people read it: four significant digits, "–" where there is none."""
    if value is None or not math.isfinite(value):
        return "–" if value is None or math.isnan(value) else ("∞" if value > 0 else "−∞")
    if not value:
        return "0"
    text = f"{value:.{digits}g}"
    return text.replace("e-0", "e-").replace("e+0", "e").replace("-", "−")


def score(value: float, metric: str, *, signed: bool = False) -> str:
    """A metric's value: four decimals where its scale ends at 1, significant digits elsewhere."""
    plus = "+" if signed and value > 0 else ""
    if metric in LOWER_IS_BETTER or 0 < abs(value) < 5e-5 or abs(value) >= 100:
        return plus + number(value)
    return plus + f"{value:.4f}".replace("-", "−")


def setting(value: object) -> str:
    """A knob's value as people read it."""
    return number(value) if isinstance(value, float) else str(value)


def better(direction: Direction) -> str:
    """Which way is good, for axis titles."""
    return "lower is better" if direction == "minimize" else "higher is better"


def figure(height: int, **layout: object) -> go.Figure:
    """An empty figure in the house style; `height` in pixels, the width follows the page."""
    return go.Figure(layout={"template": TEMPLATE, "height": height, "autosize": True, **layout})


def blank(reason: str, height: int = 160) -> go.Figure:
    """A figure that says why there is nothing to draw."""
    drawn = figure(height, xaxis={"visible": False}, yaxis={"visible": False})
    drawn.add_annotation(text=safe(reason), x=0.5, y=0.5, xref="paper", yref="paper", font={"color": MUTED, "size": 14})
    return drawn


def write(drawn: go.Figure, path: Path) -> None:
    """Writes a figure as a page of its own that loads nothing; equal figures give equal bytes."""
    with atomic(path) as temporary:
        drawn.write_html(temporary, include_plotlyjs=True, div_id=path.stem, config={"displaylogo": False})


def label(drawn: go.Figure, note: str) -> None:
    """Writes a warning above a figure, so that it also stands on a picture of it; "" writes none."""
    if note:
        margin = drawn.layout.margin.t or TEMPLATE.layout.margin.t
        drawn.update_layout(margin={"t": margin + 24}, height=drawn.layout.height + 24)
        drawn.update_layout(
            title={
                "text": f"<b>{safe(note)}</b>", "x": 0, "xref": "paper", "xanchor": "left",
                "y": 1, "yref": "container", "yanchor": "top", "pad": {"t": 8},
                "font": {"size": 13, "color": VERMILLION},
            }
        )  # fmt: skip


def panels(count: int, columns: int, height: int, y_gap_px: int = 84) -> tuple[go.Figure, list["Panel"]]:
    """A figure of `count` empty panels in rows of `columns`; only the leftmost label their y axis."""
    drawn, x_gap = figure(height), 0.035
    rows = -(-count // columns)
    width = (1 - x_gap * (columns - 1)) / columns
    y_gap = y_gap_px / (height - 84)
    depth = (1 - y_gap * (rows - 1)) / rows
    made = []
    for index in range(count):
        row, column = divmod(index, columns)
        left, top = column * (width + x_gap), 1 - row * (depth + y_gap)
        panel = Panel(drawn, "" if index == 0 else str(index + 1), left, top)
        panel.x(domain=[left, min(left + width, 1.0)], anchor=f"y{panel.suffix}")
        panel.y(domain=[max(top - depth, 0.0), top], anchor=f"x{panel.suffix}", showticklabels=panel.leftmost)
        made.append(panel)
    return drawn, made


@dataclass(frozen=True)
class Panel:
    """One pair of axes of a figure made by `panels`."""

    figure: go.Figure
    suffix: str
    left: float
    top: float

    @property
    def leftmost(self) -> bool:
        """Whether it starts a row."""
        return self.left == 0

    def x(self, **settings: object) -> None:
        """Sets the horizontal axis."""
        self.figure.update_layout({f"xaxis{self.suffix}": settings})

    def y(self, **settings: object) -> None:
        """Sets the vertical axis."""
        self.figure.update_layout({f"yaxis{self.suffix}": settings})

    def add(self, **trace: object) -> None:
        """Adds a scatter trace."""
        axes = {"xaxis": f"x{self.suffix}", "yaxis": f"y{self.suffix}"}
        self.figure.add_trace(go.Scatter(**axes, **trace))

    def line(self, **shape: object) -> None:
        """Adds a straight line in this panel's coordinates; xref and yref may be overridden."""
        axes = {"xref": f"x{self.suffix}", "yref": f"y{self.suffix}"}
        self.figure.add_shape(type="line", **{**axes, **shape})

    def title(self, text: str) -> None:
        """Writes a left-aligned title above the panel; `text` is Plotly's HTML."""
        self.figure.add_annotation(
            text=text, x=self.left, y=self.top, xref="paper", yref="paper",
            xanchor="left", yanchor="bottom", yshift=4,
        )  # fmt: skip


def jitter(numbers: Sequence[int]) -> Floats:
    """Offsets in −0.25…0.25 that part equal categories, by the golden ratio: the same every time."""
    offsets: Floats = (np.asarray(numbers, dtype=np.float64) * 0.6180339887 % 1 - 0.5) / 2
    return offsets
