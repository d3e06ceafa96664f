"""The errors that a person can mend. Doors print their text and exit with code 2; anything else is a bug of ours."""

import errno

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Numbers of a write's failure for want of space, a quota's and a file size limit's included."""


class TrimtabError(Exception):
    """Base of all errors about input: the text states rule, name, value and what to do."""


class ConfigError(TrimtabError):
    """A setting is unknown, ill-typed or out of its range."""


class DataError(TrimtabError):
    """The data cannot be read, or cannot be used as configured."""


class SweepError(TrimtabError):
    """The search space or the study is not usable as asked for."""


class Outage(TrimtabError):
    """Something outside the trial failed (tracking server, disk, data swapped under a running study).

    The sweep ends, the trial stays open and is rerun by the next call.
    """


class DiskError(Outage):
    """A file or folder cannot be written: full disk, no permission, or something else in its place."""

    @classmethod
    def of(cls, path: object, error: OSError) -> "DiskError":
        """The error for a write to `path` that failed: says how to go on."""
        remedy = "make the folder writable"
        if error.errno in FULL:
            remedy = "free some space"
        elif error.errno in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR):
            remedy = "move away what lies in its place"
        return cls(
            f"cannot write {path}: {error.strerror or error}; {remedy}, "
            "then run the same command again: nothing is lost"
        )


class TrackingError(Outage):
    """The MLflow server cannot be reached or refuses."""


class Diverged(TrimtabError):
    """A trial's loss became NaN or infinite; the trial fails, its sweep goes on."""


class Pruned(Exception):
    """Raised by `trimtab.report` in a trial that need not go on; let it through, or tidy up and return."""


def first_line(error: BaseException) -> str:
    """What an error says, without the lines that libraries add; its kind where it says nothing."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def outage(error: BaseException) -> Outage | OSError | None:
    """The Outage or full disk that an error came from, however wrapped; None if it has another reason.

    `torch.save`, for one, raises a RuntimeError whose context is the disk's OSError.
    """
    seen: list[BaseException] = []
    origin: BaseException | None = error
    while origin is not None and origin not in seen:
        if isinstance(origin, Outage) or (isinstance(origin, OSError) and origin.errno in FULL):
            return origin
        seen.append(origin)
        origin = origin.__cause__ or (None if origin.__suppress_context__ else origin.__context__)
    return None
