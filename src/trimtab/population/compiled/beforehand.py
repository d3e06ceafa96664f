"""Imported by the process that workers are forked from, and run by `make setup`: one compilation serves all.

Where nothing was compiled yet it takes a third of a minute, and says so.
"""

from threading import Timer

from trimtab.population.compiled import loops

_said = Timer(
    2.0, print, ["compiling the steps of small networks for this machine, once (about 20 s)"], {"flush": True}
)
_said.start()
loops.ready()
_said.cancel()
_said.join()
