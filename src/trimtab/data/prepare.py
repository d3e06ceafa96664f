"""From a source to the folder of the stage: read, check, split, preprocess, seal.

Light to import, so that asking whether there is anything to do costs nothing.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from trimtab.data.seal import Origin, content_hash, file_hash, is_sealed
from trimtab.errors import ConfigError

if TYPE_CHECKING:
    from trimtab.data.table import Table


class Reader(Protocol):
    """A source whose path and options, if it has any, are given already."""

    def __call__(
        self,
        *,
        target: str | None,
        group: str | None,
        time: str | None,
        numeric: tuple[str, ...] | None,
        categorical: tuple[str, ...] | None,
        task: Literal["classification", "regression"] | None,
        shape: tuple[int, ...] | None,
    ) -> "Table":
        """Reads the table; None means that the source finds out."""


@dataclass(frozen=True)
class Settings:
    """What `conf/data` says.

    Attributes:
        source: dotted name of the reader.
        options: what the reader takes besides a path and the columns.
        path: of the file or folder, as it was typed. It changes nothing in what is prepared, but tells two files of
            one name apart.
        numeric: the whole list of numeric features, or None to find them; likewise `categorical`.
        shape: (channels, length) or (channels, height, width) of a row, or None for what the source knows.
        duplicates: whether rows of val and test whose features stand in an earlier part are dropped (leakage).
        train: fraction of the rows; likewise `val` and `test`.
    """

    name: str
    source: str
    options: Mapping[str, Any] = field(default_factory=dict)
    path: str | None = None
    target: str | None = None
    group: str | None = None
    time: str | None = None
    numeric: tuple[str, ...] | None = None
    categorical: tuple[str, ...] | None = None
    task: Literal["classification", "regression"] | None = None
    shape: tuple[int, ...] | None = None
    missing: Literal["impute", "refuse"] = "impute"
    class_weights: Literal["none", "balanced"] = "none"
    scaling: Literal["standard", "channel", "none"] = "standard"
    duplicates: Literal["drop", "keep"] = "drop"
    train: float = 0.6
    val: float = 0.2
    test: float = 0.2
    split_seed: int = 0

    def __post_init__(self) -> None:
        _one_of("task", self.task, (None, "classification", "regression"))
        _one_of("duplicates", self.duplicates, ("drop", "keep"))
        _one_of("missing", self.missing, ("impute", "refuse"))
        _one_of("class_weights", self.class_weights, ("none", "balanced"))
        _one_of("scaling", self.scaling, ("standard", "channel", "none"))
        if self.shape is not None and (len(self.shape) not in (2, 3) or min(self.shape) < 1):
            raise ConfigError(
                f"data.shape must be [channels, length] of a sequence or [channels, height, width] of an image, but is "
                f"{list(self.shape)}; null is a table"
            )
        if self.split_seed < 0:
            raise ConfigError(f"data.split_seed cannot be negative, but is {self.split_seed}; set it to 0 or more")

    def as_dict(self) -> dict[str, Any]:
        """As JSON gives it back."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Summary:
    """What a door says when it is done.

    Attributes:
        rows: per part, in the order train, val, test.
        features: columns of the source that are used.
        shape: of a row after preprocessing.
        classes: empty for regression.
        dropped: one line per reason.
        imputed: values filled in, all columns and parts together.
        remarks: one line per feature that may be none.
    """

    rows: tuple[int, int, int]
    features: int
    shape: tuple[int, ...]
    task: Literal["classification", "regression"]
    classes: tuple[str, ...]
    dropped: tuple[str, ...]
    imputed: int
    data_hash: str
    remarks: tuple[str, ...]


def prepare(read: Reader, settings: Settings, out: Path, source_path: Path | None = None) -> Summary:
    """Prepares the data and puts the whole folder in its place; whatever lay there stays if anything fails.

    Raises:
        DataError: the data cannot be read, or cannot be used as configured.
        TrimtabError: the folder cannot be written.
    """
    from trimtab.data.checks import check
    from trimtab.data.results import replaced, write_parts
    from trimtab.data.split import check_fractions, split

    fractions = (settings.train, settings.val, settings.test)
    check_fractions(fractions)
    made_from = origin(settings, source_path)  # before reading: a file that changes meanwhile is prepared again
    table = check(_read(read, settings), missing=settings.missing)
    parts = split(table, fractions, settings.split_seed, settings.duplicates)
    with replaced(out) as folder:
        return write_parts(parts, table, settings, folder, made_from)


def is_current(out: Path, settings: Settings, source_path: Path | None = None) -> bool:
    """Whether `out` is what `prepare` would write: same settings, source, code, and files unchanged."""
    return is_sealed(out, origin(settings, source_path).key)


def origin(settings: Settings, source_path: Path | None) -> Origin:
    """Hashes all that decides what is prepared, the code of this package included."""
    source = content_hash(source_path) if source_path and source_path.exists() else None
    code = {path.name: file_hash(path) for path in Path(__file__).parent.glob("*.py")}
    everything = json.dumps([settings.as_dict(), source, code], sort_keys=True)
    return Origin(hashlib.sha256(everything.encode()).hexdigest(), source)


def _read(read: Reader, settings: Settings) -> "Table":
    return read(
        target=settings.target,
        group=settings.group,
        time=settings.time,
        numeric=settings.numeric,
        categorical=settings.categorical,
        task=settings.task,
        shape=settings.shape,
    )


def _one_of(name: str, value: str | None, options: tuple[str | None, ...]) -> None:
    if value not in options:
        names = ", ".join(option or "null" for option in options)
        raise ConfigError(f"data.{name} must be one of {names}, but is {value!r}; choose one of them")
