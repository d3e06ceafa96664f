"""Imported first by the process that workers are forked from: no garbage is collected while it imports.

Workers collect theirs again, see `worker.begin`.
"""

import gc

from trimtab.garbage import leave_quickly

gc.disable()
leave_quickly()
