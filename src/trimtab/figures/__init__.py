"""One function, one figure (Plotly)."""
