"""Imported first by the process that workers are forked from: collecting garbage costs a sixth of long imports.

Workers turn it on again, see `worker.begin`.
"""

import gc

gc.disable()
