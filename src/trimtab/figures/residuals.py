"""Where a regression errs."""

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from trimtab.figures import style

DRAWN_ROWS = 4000  # more points make the page slow and the figure no clearer


def residuals(actual: NDArray[np.floating], predicted: NDArray[np.floating], target: str, note: str = "") -> go.Figure:
    """Actual minus predicted against predicted, in original units; evenly thinned beyond 4000 rows."""
    step = -(-len(actual) // DRAWN_ROWS)
    shown, of = predicted[::step], actual[::step]
    thinned = f" ({len(of)} of {len(actual)} rows drawn)" if step > 1 else ""
    drawn = style.figure(
        400,
        xaxis={"title": {"text": f"predicted {style.shortened(target)}{thinned}"}},
        yaxis={"title": {"text": f"actual − predicted {style.shortened(target)}"}},
        showlegend=False,
    )
    drawn.add_hline(y=0, line={"color": style.INK, "width": 1.2}, layer="below")
    drawn.add_scatter(
        x=shown,
        y=of - shown,
        mode="markers",
        marker={"size": 7, "color": style.BLUE, "opacity": 0.55},
        hovertext=[
            f"actual {style.number(a)}<br>predicted {style.number(p)}<br>difference {style.number(a - p)}"
            for a, p in zip(of, shown, strict=True)
        ],
        hoverinfo="text",
    )
    style.label(drawn, note)
    return drawn
