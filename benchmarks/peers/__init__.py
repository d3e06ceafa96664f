"""What people use today, each as its own documentation would have it, on the works of `benchmarks/works.py`.

`python -m benchmarks.peers.optuna_lightning --work B --trials 4 --epochs 1` runs one alone.
"""
