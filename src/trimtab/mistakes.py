"""What is wrong with a configuration: which setting that somebody typed, or which file of conf/, and what to do."""

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError

from trimtab.errors import ConfigError, first_line
from trimtab.overrides import Override, leaves
from trimtab.paths import Paths

WRONG = (HydraException, OmegaConfBaseException, YAMLError, UnicodeDecodeError)
"""What composing raises of a configuration that is wrong."""

FEW = 12
"""So many names are listed where one is unknown."""


def explained(error: Exception, fixed: Sequence[Override], composed: Callable[[list[str]], DictConfig]) -> ConfigError:
    """Finds what a composition fails on: the files by themselves, or the override, by adding one at a time.

    Args:
        error: of the whole.
        fixed: the overrides, none of them swept.
        composed: composes the files and such overrides.
    """
    good: list[str] = []
    try:
        cfg = composed(good)
    except WRONG as e:
        return ConfigError(_of_files(e))
    for override in sorted(fixed, key=lambda o: "." in o.key):  # groups first
        try:
            cfg = composed([*good, override.text])
        except WRONG as e:
            return ConfigError(_of_override(override, e, cfg, lambda choice: composed([*good, choice])))
        good.append(override.text)
    return ConfigError(" ".join(str(error).split()))


def _of_override(
    override: Override, error: Exception, cfg: DictConfig, with_choice: Callable[[str], DictConfig]
) -> str:
    """What is wrong with the one that `cfg` was composed without.

    Args:
        override: the wrong one.
        error: of composing with it.
        cfg: what is composed without it.
        with_choice: the same with another option.
    """
    said = f"'{override.text}' ({override.origin})"
    value, options = str(override.parsed.value()), _options(override.key)
    if value in options:
        return f"{said}: {_of_files(error)}"
    if options:
        return f"{said}: conf/{override.key} has no option '{value}'{_nearest(value, options)}"
    known = {*(path for path, _ in leaves(cfg)), *(str(key) for key in cfg if key != "hydra")}
    known = {path for path in known if not path.startswith("search.")}
    if override.key not in known and not _has(cfg, override.key):
        unknown = f"{said}: the configuration has no key '{override.key}'"
        if choices := [
            choice for choice in _choices(override.key, cfg) if _has_with(with_choice, choice, override.key)
        ]:
            return f"{unknown}; there is one with {' or '.join(choices)}, which must be set, too"
        return unknown + _nearest(override.key, known)
    return f"{said}: {first_line(error.__cause__ or error)}"


def _choices(key: str, cfg: DictConfig) -> list[str]:
    """Overrides by other options of the group that a key is in."""
    group = key.partition(".")[0]
    chosen = cfg.hydra.runtime.choices.get(group)
    return [f"{group}={option}" for option in _options(group) if option != chosen] if "." in key else []


def _has(cfg: DictConfig, key: str) -> bool:
    return OmegaConf.select(cfg, key, throw_on_missing=False) is not None


def _has_with(composed: Callable[[str], DictConfig], choice: str, key: str) -> bool:
    """Whether a key is there under another option; one that can't be composed has none."""
    try:
        return _has(composed(choice), key)
    except WRONG:
        return False


def _of_files(error: Exception) -> str:
    """What is wrong with a file of conf/, named as far as the error says, and what to do."""
    conf = Paths.here().conf
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        place = error.problem_mark
        return f"{place.name.replace(str(conf), 'conf')}, line {place.line + 1}: {error.problem}; mend that file"
    if isinstance(error, UnicodeDecodeError):
        bad = [str(path.relative_to(conf.parent)) for path in sorted(conf.rglob("*.yaml")) if not _is_text(path)]
        return f"{', '.join(bad)}: no text in UTF-8; write it anew"
    found = re.match(r"In '([^']+)': ", str(error))
    named = conf / f"{found[1]}.yaml" if found else conf
    said = str(named.relative_to(conf.parent) if named.exists() else "conf")
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        among = f"conf/{group} has no option '{name}'" if group else f"there is no conf/{name}.yaml"
        return f"{said}: {among}{_nearest(name, error.options or ())}"
    cause = error.__context__ if isinstance(error.__context__, OmegaConfBaseException) else error
    key = getattr(cause, "full_key", None)
    return f"{said}: {key + ': ' if key else ''}{first_line(cause)}; mend that file"


def _is_text(path: Path) -> bool:
    try:
        path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _nearest(name: str, known: Iterable[str]) -> str:
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    among = f"{' There' if close else '; there'} are: {', '.join(known)}"
    return hint + (among if 0 < len(known) <= FEW else "")


def _options(group: str) -> list[str]:
    """The options of a config group in conf/, or of one that the sweeper brings; empty when there is no such group."""
    folder = Paths.here().conf / group
    ours = [p.stem for p in folder.glob("*.yaml")] if folder.is_dir() else []
    stored = ConfigStore.instance().repo
    for part in group.split("/"):
        stored = stored.get(part, {}) if isinstance(stored, dict) else {}
    return sorted({*ours, *(n.removesuffix(".yaml") for n in stored if n.endswith(".yaml"))})
