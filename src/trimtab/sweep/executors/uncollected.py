"""Imported first by the process that workers are forked from: no garbage is collected while it imports.

Workers collect theirs again, see `worker.begin`. They run the main module, too, which may be among those that this
process has imported; Python warns of that.
"""

import gc
import warnings

from trimtab.garbage import leave_quickly

warnings.filterwarnings("ignore", message=".*found in sys.modules", category=RuntimeWarning)
gc.disable()
leave_quickly()
