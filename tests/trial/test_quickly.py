"""Importing torchmetrics without scipy.signal leaves both as they would be."""

import subprocess
import sys

PROGRAM = """
import sys
import trimtab.trial.quickly
assert "torchmetrics" in sys.modules
assert "scipy.signal" not in sys.modules, "it was imported after all"
import scipy
import scipy.signal as signal
assert scipy.signal is signal
assert signal.find_peaks([0, 1, 0])[0].tolist() == [1]
"""


def test_scipy_signal_is_imported_by_whoever_wants_it() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
