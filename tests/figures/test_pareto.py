"""The Pareto front shows what was found."""

import plotly.graph_objects as go
import pytest

from trimtab.figures.pareto import pareto

TRIALS = [(0, (2.0, 2.0)), (1, (1.0, 3.0)), (2, (3.0, 1.0)), (3, (3.0, 3.0))]


def traces(drawn: go.Figure, name: str) -> list[go.Scatter]:
    return [trace for trace in drawn.data if trace.name == name]


def test_the_front_is_a_line_in_order_of_the_first_objective() -> None:
    drawn = pareto(TRIALS, [0, 1, 2], ["loss", "<b>size"], ["minimize", "minimize"], baseline=0)
    (front,) = traces(drawn, "Pareto front")
    assert (list(front.x), list(front.y), front.mode) == ([1.0, 2.0, 3.0], [3.0, 2.0, 1.0], "lines+markers")
    assert front.line.shape == "hv"
    (beaten,) = traces(drawn, "trial")
    assert (list(beaten.x), list(beaten.y)) == ([3.0], [3.0])
    (baseline,) = traces(drawn, "baseline (trial 0)")
    assert (baseline.x[0], baseline.y[0]) == (2.0, 2.0)
    assert drawn.layout.yaxis.title.text == "&lt;b&gt;size, lower is better"


@pytest.mark.parametrize(("objectives", "panels"), [(2, 1), (3, 3), (4, 6)])
def test_each_pair_of_objectives_has_a_panel(objectives: int, panels: int) -> None:
    trials = [(n, tuple(float(n * k) for k in range(1, objectives + 1))) for n in range(4)]
    drawn = pareto(trials, [0], [f"o{i}" for i in range(objectives)], ["minimize"] * objectives)
    assert len(traces(drawn, "Pareto front")) == panels
    assert sum(bool(trace.showlegend) for trace in traces(drawn, "trial")) == 1
    lines = {trace.mode for trace in traces(drawn, "Pareto front")}
    assert lines == ({"lines+markers"} if objectives == 2 else {"markers"})


def test_nothing_found_is_said() -> None:
    assert "No trial finished" in pareto([], [], ["a", "b"], ["minimize", "minimize"]).layout.annotations[0].text
