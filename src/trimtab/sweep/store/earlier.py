"""What a sweep says of what was there before: another machine, another configuration."""

import json
import logging
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from trimtab.sweep.executors.machine import changes, machine
from trimtab.sweep.space.fingerprint import Pieces, difference
from trimtab.sweep.store.journal import FILE

log = logging.getLogger(__name__)
HEAD = 20
"""Lines of a journal among which the study's attributes are: they are written when it is made."""


def say_machine(before: Mapping[str, str]) -> None:
    """Says in which way this machine differs from the one that the study was begun on."""
    if before and (found := changes(before, machine())):
        log.warning("the study was begun on another machine (%s): results may differ in their last digits", found)


def say_change(directory: Path, pieces: Pieces) -> None:
    """Says what a new study changes against the latest one beside it, if that searches some of the same knobs."""
    others = [p for p in directory.parent.glob(f"*/{FILE}") if p.parent != directory]
    for path in sorted(others, key=lambda p: p.stat().st_mtime, reverse=True)[:1]:
        before = _attributes(path).get("pieces")
        if before and before.get("search space", {}).keys() & pieces["search space"].keys():
            found = difference(before, pieces)
            print(f"a new study, other than {path.parent}" + (f": {found}" if found else " only in its directory"))


def _attributes(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    try:
        with path.open() as file:
            for line in islice(file, HEAD):
                found |= json.loads(line).get("user_attr", {})
    except (OSError, ValueError):  # somebody else's file, or cut: not ours to complain about
        return {}
    return found
