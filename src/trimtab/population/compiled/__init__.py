"""Perceptrons and convolutional networks on a CPU: a step as loops that numba compiles."""
