"""Which classes are taken for which."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from trimtab.figures import style

LABELLED_CLASSES = 25  # more cells than that are too small for numbers


def confusion(actual: Sequence[str], predicted: Sequence[str], classes: Sequence[str], note: str = "") -> go.Figure:
    """Counts of test rows by actual (down) and predicted class (across), shaded by share of the row."""
    counts = (
        pd.crosstab(pd.Series(list(actual)), pd.Series(list(predicted)))
        .reindex(index=list(classes), columns=list(classes), fill_value=0)
        .to_numpy()
    )
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ticks, names = list(range(len(classes))), [style.shortened(c, 16) for c in classes]
    labelled = len(classes) <= LABELLED_CLASSES
    side = min(640, max(300, 44 * len(classes)))
    drawn = style.figure(
        side + 110,
        width=side + 230,
        autosize=False,
        plot_bgcolor=style.GRID,
        xaxis={"title": {"text": "predicted"}, "tickvals": ticks, "ticktext": names},
        yaxis={"title": {"text": "actual"}, "tickvals": ticks, "ticktext": names},
    )
    drawn.update_xaxes(showgrid=False, ticks="", constrain="domain")
    drawn.update_yaxes(showgrid=False, ticks="", autorange="reversed", scaleanchor="x", constrain="domain")
    drawn.add_heatmap(
        z=shares,
        text=np.where(counts > 0, counts.astype(str), "") if labelled else None,
        texttemplate="%{text}" if labelled else None,
        hovertext=[
            [
                f"actual {style.safe(a)}<br>predicted {style.safe(p)}<br>{count} rows ({share:.0%})"
                for p, count, share in zip(classes, row, row_shares, strict=True)
            ]
            for a, row, row_shares in zip(classes, counts, shares, strict=True)
        ],
        hoverinfo="text",
        colorscale=style.BLUES,
        zmin=0,
        zmax=1,
        xgap=1,
        ygap=1,
        colorbar={
            "title": {"text": "share of<br>the class"}, "tickformat": ".0%",
            "thickness": 10, "outlinewidth": 0,
        },
    )  # fmt: skip
    style.label(drawn, note)
    return drawn
