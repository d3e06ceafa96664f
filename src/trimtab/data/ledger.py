"""Who has looked at which sealed test set: one line per look, kept in the real project root, never rewritten."""

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from trimtab.errors import TrimtabError

Verdict = Literal["first", "exploratory"]


@dataclass(frozen=True)
class Look:
    """One champion's look at one test set.

    Attributes:
        test: fingerprint of the test data.
        source: what the test rows came from: another split or choice of columns of it is no fresh test set.
        champion: the champion's id.
        number: counted from 1 within the test set's source.
        data: the data set's name, for people.
        when: UTC, for people.
    """

    test: str
    source: str
    champion: str
    number: int
    data: str
    when: str

    @property
    def verdict(self) -> Verdict:
        """The first look is the verdict; any later one has seen how an earlier champion did."""
        return "first" if self.number == 1 else "exploratory"


def looks(ledger: Path, test: str, source: str) -> list[Look]:
    """All looks at a test set or another one of the same source, in order.

    Raises:
        TrimtabError: a line is damaged; the ledger is not to be repaired silently.
    """
    if not ledger.exists():
        return []
    found = []
    for number, line in enumerate(ledger.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            found.append(Look(**json.loads(line)))
        except (ValueError, TypeError) as e:
            raise TrimtabError(
                f"{ledger} line {number} is not a look ({e}); it records who has seen the test set: "
                "restore the line from a backup, or delete just that line knowing that a look may be uncounted"
            ) from e
    return [look for look in found if test == look.test or source == look.source]


def take_look(ledger: Path, test: str, source: str, champion: str, data: str) -> Look:
    """Records a look before anything is scored; a champion that has looked already keeps its number.

    Raises:
        TrimtabError: the ledger cannot be written, or a line of it is damaged.
    """
    try:
        return _take_look(ledger, test, source, champion, data)
    except OSError as e:
        raise TrimtabError(
            f"cannot write {ledger}: {e.strerror or e}; no look is taken unrecorded: make it writable and try again"
        ) from e


def _take_look(ledger: Path, test: str, source: str, champion: str, data: str) -> Look:
    ledger.parent.mkdir(parents=True, exist_ok=True)
    with ledger.open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        before = looks(ledger, test, source)
        for look in before:
            if look.champion == champion:
                return look
        look = Look(test, source, champion, len(before) + 1, data, datetime.now(UTC).isoformat(timespec="seconds"))
        file.write(json.dumps(asdict(look)) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return look
