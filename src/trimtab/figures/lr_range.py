"""The learning-rate range test: a ramp through all rates, and constant ones."""

from typing import TYPE_CHECKING

import pandas as pd
import plotly.graph_objects as go

from trimtab.figures import style

if TYPE_CHECKING:
    from trimtab.population.lr_range import Found  # imports torch, which a figure does not need

SHOWN = 3
"""Times the loss of chance: what is worse lies beyond the axes, so that what learns can be told apart."""


def lr_range(table: pd.DataFrame, found: "Found", name: str) -> go.Figure:
    """Left the ramp, loss by rate; right each constant rate's loss after each epoch; the range in green.

    Args:
        table: as `population.lr_range.measure` returns it.
        found: what `population.lr_range.read` makes of it.
        name: of the optimizer, for the axes.
    """
    drawn, (ramp, constant) = style.panels(2, 2, 420)
    kinds = {str(kind): rows for kind, rows in table.groupby("kind")}
    losses = pd.concat([kinds["ramp"]["smoothed"], table["val/loss"]])
    axis = style.ValueAxis.of([*losses[losses < SHOWN * found.chance], found.chance], "minimize")
    ticks = style.log_ticks(table["lr"].min(), table["lr"].max())
    for panel in (ramp, constant):
        panel.x(title={"text": f"optimizer.lr of {style.safe(name)}"}, type="log", **ticks)
        panel.y(**axis.layout())
        _marks(panel, found)
    ramp.y(title={"text": f"loss{axis.note}"})
    ramp.title("<b>ramp</b>: training loss while the rate grows")
    constant.title("<b>constant rates</b>: validation loss")
    _ramp(ramp, kinds["ramp"])
    _constant(constant, kinds.get("constant", table.iloc[:0]))
    drawn.update_layout(margin={"t": 84}, legend={"y": 1, "yref": "container", "yanchor": "top"})
    return drawn


def _marks(panel: style.Panel, found: "Found") -> None:
    """The suggested range as a band, and the loss of chance as a line."""
    x, y = f"x{panel.suffix}", f"y{panel.suffix}"
    if found.low is not None:
        panel.figure.add_shape(
            type="rect", x0=found.low, x1=found.high, y0=0, y1=1, xref=x, yref=f"{y} domain",
            fillcolor=style.GREEN, opacity=0.12, line_width=0, layer="below",
        )  # fmt: skip
    dotted = {"color": style.MUTED, "dash": "dot", "width": 1.5}
    panel.line(x0=0, x1=1, y0=found.chance, y1=found.chance, xref=f"{x} domain", line=dotted)


def _ramp(panel: style.Panel, ramp: pd.DataFrame) -> None:
    thin, thick = {"color": style.SKY, "width": 1}, {"color": style.BLUE, "width": 2.5}
    panel.add(x=ramp["lr"], y=ramp["train/loss"], mode="lines", name="loss of a step", line=thin, hoverinfo="skip")
    panel.add(
        x=ramp["lr"], y=ramp["smoothed"], mode="lines", name="smoothed", line=thick,
        hovertext=[_told(lr, loss) for lr, loss in zip(ramp["lr"], ramp["smoothed"], strict=True)], hoverinfo="text",
    )  # fmt: skip


def _constant(panel: style.Panel, constant: pd.DataFrame) -> None:
    """A line per epoch, the last one strong: what few steps hide, more may show."""
    epochs = sorted({int(step) for step in constant["step"]})
    for number, step in enumerate(epochs, 1):
        rows, last = constant[constant["step"] == step], step == epochs[-1]
        panel.add(
            x=rows["lr"], y=rows["val/loss"], mode="lines+markers" if last else "lines",
            name=f"after {step} steps", showlegend=last or number == 1,
            line={"color": style.ORANGE if last else style.GREY, "width": 2.5 if last else 1},
            hovertext=[f"{step} steps<br>{_told(*pair)}" for pair in zip(rows["lr"], rows["val/loss"], strict=True)],
            hoverinfo="text",
        )  # fmt: skip


def _told(lr: float, loss: float) -> str:
    return f"optimizer.lr {style.number(lr)}<br>loss {style.number(loss)}"
