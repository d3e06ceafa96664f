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
        champion: the champion's id.
        number: counted from 1 within the test set.
        data: the data set's name, for people.
        when: UTC, for people.
    """

    test: str
    champion: str
    number: int
    data: str
    when: str

    @property
    def verdict(self) -> Verdict:
        """The first look is the verdict; any later one has seen how an earlier champion did."""
        return "first" if self.number == 1 else "exploratory"


def looks(ledger: Path, test: str) -> list[Look]:
    """All looks at a test set, in order.

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
    return [look for look in found if look.test == test]


def take_look(ledger: Path, test: str, champion: str, data: str) -> Look:
    """Records a look before anything is scored; a champion that has looked already keeps its number."""
    ledger.parent.mkdir(parents=True, exist_ok=True)
    with ledger.open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        before = looks(ledger, test)
        for look in before:
            if look.champion == champion:
                return look
        look = Look(test, champion, len(before) + 1, data, datetime.now(UTC).isoformat(timespec="seconds"))
        file.write(json.dumps(asdict(look)) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return look
