"""Perceptrons on a CPU: a step as loops that numba compiles."""
