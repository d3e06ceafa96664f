"""Overrides in the order that counts: params.yaml first, then what was typed; of equal keys the last, swept or not."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override as HydraOverride
from hydra.errors import HydraException
from omegaconf import DictConfig

from trimtab.errors import ConfigError, first_line
from trimtab.paths import Paths

_WORD = re.compile(r"[\w/+-]+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_PART = re.compile(r"[^\[\](){},'\"]+")  # of a value: what stands between the grammar's own signs


@dataclass(frozen=True)
class Override:
    """One Hydra override and where it was written."""

    text: str
    origin: str

    @property
    def parsed(self) -> HydraOverride:
        """Hydra's reading of it."""
        return OverridesParser.create().parse_override(self.text)

    @property
    def key(self) -> str:
        """`optimizer.lr` or `model`, without `+`, `~` and package."""
        return str(self.parsed.key_or_group)

    @property
    def swept(self) -> bool:
        """Whether it names several values."""
        return bool(self.parsed.is_sweep_override())


def standing_overrides(params: Path) -> list[Override]:
    """params.yaml as overrides: leaves below `set:` and plain settings by their dotted path, null ones left out.

    Raises:
        ConfigError: not YAML, or no mapping.
    """
    try:
        root = yaml.compose(params.read_text(encoding="utf-8"))
    except OSError as e:
        raise ConfigError(
            f"cannot read {params}: {e.strerror}; run from the project's folder, or restore the file (it may be empty)"
        ) from e
    except yaml.YAMLError as e:
        raise ConfigError(f"{params.name} is not YAML: {e}") from e
    if root is None:
        return []
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{params.name} must be a mapping of settings, e.g. `model: mlp`")
    found: list[Override] = []
    for key, value in root.value:
        prefix = "" if key.value == "set" else key.value
        found.extend(_leaves(prefix, value, params.name))
    return found


def _leaves(prefix: str, node: yaml.Node, file: str) -> Iterator[Override]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _leaves(f"{prefix}.{key.value}".lstrip("."), value, file)
    else:
        text = _in_grammar(node)
        if text is not None:
            yield Override(f"{prefix}={text}", f"{file} line {node.start_mark.line + 1}")


def _in_grammar(node: yaml.Node) -> str | None:
    """A YAML value in Hydra's override grammar, never read as a sweep; None for null."""
    if isinstance(node, yaml.SequenceNode):
        return f"[{','.join(_in_grammar(n) or 'null' for n in node.value)}]"
    if node.tag.endswith(":null"):
        return None
    plain = getattr(node, "style", None) is None and (not node.tag.endswith(":str") or _WORD.fullmatch(node.value))
    return str(node.value) if plain else _quoted(node.value)


def written(key: str, value: Any) -> str:
    """The override that sets a key to a plain value."""
    return f"{key}={_quoted(value) if isinstance(value, str) else json.dumps(value)}"


def _quoted(text: str) -> str:
    """Hydra unescapes quotes, and backslashes that stand before one."""
    escaped = re.sub(r"(\\*)'", r"\1\1\'", text)
    trailing = len(escaped) - len(escaped.rstrip("\\"))
    return f"'{escaped}{chr(92) * trailing}'"


def overrides(typed: Iterable[str], params: Path | None = None) -> list[Override]:
    """Standing overrides, then the typed ones; of equal keys the last counts.

    An experiment that is typed also wins over what params.yaml says of the keys that it sets.

    Raises:
        ConfigError: an override cannot be parsed.
    """
    given = merged(Override(text, "the command line") for text in typed)
    set_there = overlaid(given)
    standing = standing_overrides(params or Paths.here().params)
    return merged([*(o for o in standing if o.key not in set_there), *given])


def overlaid(given: Iterable[Override]) -> set[str]:
    """Config groups and dotted keys that an experiment among these sets."""
    return {key for o in given if o.key == "experiment" and not o.swept for key in _overlaid(o)}


def _overlaid(experiment: Override) -> set[str]:
    """Config groups and dotted keys that an overlay of conf/experiment sets; none if it can't be read."""
    file = Paths.here().conf / "experiment" / f"{experiment.parsed.value()}.yaml"
    try:
        overlay = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        overlay = None
    if not isinstance(overlay, dict):
        return set()  # said where it is composed, with the options that there are
    chosen = {
        key.removeprefix("override").strip().lstrip("/")
        for entry in overlay.pop("defaults", [])
        if isinstance(entry, dict)
        for key in entry
    }
    return chosen | set(_dotted("", overlay))


def _dotted(prefix: str, node: dict[str, Any]) -> Iterator[str]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _dotted(f"{prefix}{key}.", value)
        else:
            yield f"{prefix}{key}"


def leaves(cfg: DictConfig, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted path and unresolved node of every leaf of the task's configuration."""
    for key in cfg:
        node = cfg._get_node(key)
        path = prefix + str(key)
        if path == "hydra":
            continue
        if isinstance(node, DictConfig) and not node._is_missing() and not node._is_none():
            yield from leaves(node, f"{path}.")
        else:
            yield path, node


def given_overrides(hydra: Any = None) -> list[Override]:
    """What a configuration was composed from, by its `hydra` node; that of the running application if left out."""
    task = (HydraConfig.get() if hydra is None else hydra).overrides.task
    return [Override(text, "params.yaml or the command line") for text in task]


def merged(written: Iterable[Override]) -> list[Override]:
    """Of equal keys the last counts, swept or not.

    Raises:
        ConfigError: an override cannot be parsed.
    """
    last: dict[str, Override] = {}
    for override in written:
        try:
            key = override.key
        except HydraException as e:
            said = f"cannot read '{override.text}' ({override.origin}): {first_line(e)}"
            raise ConfigError(said + _way_out(override)) from e
        last.pop(key, None)
        last[key] = override
    return list(last.values())


def _way_out(override: Override) -> str:
    """What to type instead, where quotes are all that is missing: bare text knows ASCII and a few signs."""
    key, _, value = override.text.partition("=")
    mended = f"{key}={_PART.sub(lambda part: _legible(part[0]), value)}"
    if not _is_legible(mended):
        return ""
    return (
        f'; such text needs quotes that reach Hydra: type "{mended}" with both kinds of quotes, '
        "or write it under `set:` in params.yaml, where it needs none"
    )


def _legible(part: str) -> str:
    bare = part.strip()
    return part if _is_legible(f"key={bare}") else part.replace(bare, _quoted(bare))


def _is_legible(text: str) -> bool:
    try:
        OverridesParser.create().parse_override(text)
    except HydraException:
        return False
    return True
