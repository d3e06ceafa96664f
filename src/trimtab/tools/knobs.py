"""docs/knobs.md from conf/ and docs/knobs.yaml: `python -m trimtab.tools.knobs`; `--check` ends with 2 if it is old.

A knob is a setting of conf/ whose trailing comment opens with its tags, `# [speed, stability] up: …`.
"""

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from trimtab import config
from trimtab.errors import ConfigError
from trimtab.paths import Paths, write_text
from trimtab.stages.closing import closing
from trimtab.sweep.space.grammar import parse
from trimtab.sweep.space.knobs import Space, nearest

TAGS = ("capacity", "speed", "generalisation", "stability")
EVERYTHING = "all"
"""The search space in which every knob has its place; its ranges are the ones shown."""
PARTS = ("too_low", "too_high", "with", "source")
_TAGGED = re.compile(r"#\s*\[([\w, ]*)\]\s*(.*)")
_COLUMNS = (
    *("knob", "acts on", "default", "start with", "turning it up, or what it is"),
    *("too low", "too high", "turn along", "source"),
)


@dataclass(frozen=True)
class Setting:
    """A knob as one file has it.

    Attributes:
        option: the file, without its ending.
        effect: what turning it up does.
    """

    option: str
    value: str
    tags: tuple[str, ...]
    effect: str


@dataclass(frozen=True)
class Book:
    """All that the page is made of.

    Attributes:
        groups: config group → option → what the option's first line says.
        settings: knob → as each file has it; a group to choose from is a knob too.
        ranges: knob → as `Space.describe` has it.
        spaces: knob → search spaces that have it.
        notes: docs/knobs.yaml.
    """

    groups: Mapping[str, Mapping[str, str]]
    settings: Mapping[str, Sequence[Setting]]
    ranges: Mapping[str, Mapping[str, Any]]
    spaces: Mapping[str, Sequence[str]]
    notes: Mapping[str, Any]


def main(argv: list[str] | None = None) -> None:
    """Writes the page, or compares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; end with 2 if docs/knobs.md is not current"
    )
    checking = parser.parse_args(argv).check
    with config.user_errors():
        root = Paths.here().workspace
        book = read(root / "conf", root / "docs" / "knobs.yaml")
        for complaint in complaints(book):
            raise ConfigError(complaint)
        page = root / "docs" / "knobs.md"
        text = render(book)
        if checking and not (page.exists() and page.read_text(encoding="utf-8") == text):
            raise ConfigError(
                "docs/knobs.md is not what conf/ and docs/knobs.yaml say; run `python -m trimtab.tools.knobs`"
            )
        if not checking:
            write_text(page, text)
        closing(f"{len(book.settings)} knobs", page, "git diff docs/knobs.md")


# ---------------------------------------------------------------------------------------------------------------------
# What there is.


def read(conf: Path, notes: Path) -> Book:
    """The configuration's knobs with their comments, their ranges, and what is written about them."""
    yaml = YAML()
    spaces = {f.stem: _space(conf, yaml.load(f)["knobs"]) for f in sorted((conf / "search").glob("*.yaml"))}
    ranges = _ranges(spaces)
    groups: dict[str, dict[str, str]] = {}
    settings = {group: [setting] for group, setting in _choices(yaml.load(conf / "config.yaml"))}
    for file in sorted(conf.glob("*/*.yaml"), key=lambda f: _place(f, ranges)):
        group, content = file.parent.name, yaml.load(file)
        found = dict(_settings(file.stem, content))
        if found or group in settings:
            groups.setdefault(group, {})[file.stem] = _headline(content)
        for key, setting_of in found.items():
            settings.setdefault(f"{group}.{key}", []).append(setting_of)
    return Book(groups, settings, ranges, _places(spaces), yaml.load(notes))


def _place(file: Path, ranges: Mapping[str, Mapping[str, Any]]) -> tuple[str, int, str]:
    """Options in the order in which the search space has them, the others by name."""
    options = ranges.get(file.parent.name, {}).get("choices") or []
    return file.parent.name, options.index(file.stem) if file.stem in options else len(options), file.stem


def _choices(root: CommentedMap) -> Iterator[tuple[str, Setting]]:
    """The groups in the defaults list whose comment has tags."""
    for entry in root["defaults"]:
        if isinstance(entry, CommentedMap):
            yield from _settings("", entry)


def _settings(option: str, content: CommentedMap) -> Iterator[tuple[str, Setting]]:
    for key, value in content.items():
        match = _TAGGED.match(_comment(content, key))
        if match:
            tags = tuple(tag.strip() for tag in match[1].split(","))
            yield str(key), Setting(option, _text(value), tags, match[2].strip())


def _comment(content: CommentedMap, key: Any) -> str:
    """The comment behind a value, on its own line."""
    tokens = content.ca.items.get(key)
    return str(tokens[2].value).splitlines()[0] if tokens and tokens[2] else ""


def _headline(content: CommentedMap) -> str:
    lines = content.ca.comment[1] if content.ca.comment else []
    return str(lines[0].value).lstrip("# ").strip() if lines else ""


def _text(value: Any) -> str:
    """As YAML writes it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _space(conf: Path, knobs: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    with initialize_config_dir(str(conf), version_base="1.3"):
        wishes = parse(_plain(knobs), (), GlobalHydra.instance().config_loader())
    return Space.of(wishes.knobs).describe()


def _plain(node: Any) -> Any:
    """Without ruamel's own kinds of list and mapping, which Hydra does not know."""
    if isinstance(node, Mapping):
        return {str(k): _plain(v) for k, v in node.items()}
    return [_plain(v) for v in node] if isinstance(node, list) else node


def _ranges(spaces: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    ordered = sorted(spaces, key=lambda name: name == EVERYTHING)
    return {knob: described for name in ordered for knob, described in spaces[name].items()}


def _places(spaces: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    knobs = {knob for space in spaces.values() for knob in space}
    return {knob: [name for name, space in spaces.items() if knob in space] for knob in knobs}


# ---------------------------------------------------------------------------------------------------------------------
# What is missing.


def complaints(book: Book) -> Iterator[str]:
    """What a knob lacks, and what is written about knobs that there are not."""
    notes = book.notes["knobs"]
    for knob, settings in book.settings.items():
        yield from _lacks(knob, settings, book)
    for knob in [k for k in book.ranges if k not in book.settings]:
        yield f"conf/search has {knob!r}, whose line in conf/ has no tags ({', '.join(TAGS)}); write `# [speed] up: …`"
    for knob in [k for k in notes if k not in book.settings]:
        yield f"docs/knobs.yaml describes {knob!r}, which conf/ does not have{nearest(knob, book.settings)}"
    entries = [*notes.values(), *book.notes["interactions"]]
    for named in [n for e in entries for n in (*e.get("with", ()), *e.get("knobs", ())) if n not in book.settings]:
        yield f"docs/knobs.yaml names {named!r}, which conf/ does not have{nearest(named, book.settings)}"
    sources, cited = book.notes["sources"], {s for e in entries for s in e.get("source", ())}
    for source in sorted(cited - set(sources)):
        yield f"docs/knobs.yaml cites {source!r}, which its `sources` lack{nearest(source, sources)}"
    for source in [s for s in sources if s not in cited]:
        yield f"docs/knobs.yaml lists the source {source!r}, which nothing cites; cite it or remove it"


def _lacks(knob: str, settings: Sequence[Setting], book: Book) -> Iterator[str]:
    for setting in settings:
        where = f"{knob!r} of {setting.option}" if setting.option else f"{knob!r} in conf/config.yaml"
        for tag in [t for t in setting.tags if t not in TAGS]:
            yield f"{where} has the tag {tag!r}; there are {', '.join(TAGS)}{nearest(tag, TAGS)}"
        if not setting.effect:
            yield f"{where} has tags and no words; say what turning it up does"
    if knob not in book.ranges:
        yield f"no space in conf/search has {knob!r}; give it a range and a role in conf/search/{EVERYTHING}.yaml"
    elif not book.ranges[knob]["role"]:
        yield f"{knob!r} has no role in conf/search/{book.spaces[knob][-1]}.yaml; write role: nuisance or scientific"
    note = book.notes["knobs"].get(knob, {})
    for part in [p for p in PARTS if not note.get(p)]:
        yield f"docs/knobs.yaml gives {knob!r} no {part!r}; write it there"


# ---------------------------------------------------------------------------------------------------------------------
# The page.


def render(book: Book) -> str:
    """The whole page."""
    notes = book.notes
    lines = ["# Knobs", "", notes["opening"].strip(), ""]
    chosen = [k for k in book.settings if "." not in k]
    lines += ["## Groups to choose from", "", *_table(chosen, book), ""]
    for group in [*notes["groups"], *(g for g in book.groups if g not in notes["groups"])]:
        lines += [f"## {group}", "", *_group(group, book), ""]
    lines += ["## What to turn together", ""]
    for entry in notes["interactions"]:
        named = ", ".join(f"`{k}`" for k in entry["knobs"])
        lines += [f"**{entry['title']}** ({named}). {entry['text'].strip()} {_cited(entry['source'])}", ""]
    lines += ["## Sources", "", *(f"[^{key}]: {text}" for key, text in sorted(notes["sources"].items()))]
    return "\n".join(lines) + "\n"


def _group(group: str, book: Book) -> list[str]:
    knobs = [k for k in book.settings if k.startswith(f"{group}.")]
    options = book.groups[group]
    listed = [f"* `{group}={option}`: {headline}" for option, headline in options.items() if headline]
    return [*(listed if len(options) > 1 else []), *([""] if len(options) > 1 else []), *_table(knobs, book)]


def _table(knobs: Sequence[str], book: Book) -> list[str]:
    rows = [_COLUMNS, ("---",) * len(_COLUMNS), *(_row(knob, book) for knob in knobs)]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]


def _row(knob: str, book: Book) -> tuple[str, ...]:
    settings, note = book.settings[knob], book.notes["knobs"][knob]
    group, _, key = knob.partition(".")
    options = [s.option for s in settings]
    only = f" ({', '.join(options)})" if key and len(options) < len(book.groups[group]) else ""
    return (
        f"`{knob}`{only}",
        ", ".join(dict.fromkeys(tag for s in settings for tag in s.tags)),
        _by_option([(s.option, f"`{s.value}`") for s in settings]),
        _start(knob, book),
        _by_option([(s.option, _said(s.effect)) for s in settings]),
        note["too_low"],
        note["too_high"],
        ", ".join(f"`{other}`" for other in note["with"]),
        _cited(note["source"]),
    )


def _said(effect: str) -> str:
    """Without the options in front, `relu, tanh: …`, which the range has too."""
    before, _, after = effect.partition(": ")
    return after if after and before != "up" else effect


def _by_option(said: Sequence[tuple[str, str]]) -> str:
    """What all options say once; what they say differently with their names."""
    options: dict[str, list[str]] = {}
    for option, text in said:
        options.setdefault(text, []).append(option)
    if len(options) == 1:
        return next(iter(options))
    return "; ".join(f"{', '.join(names)}: {text}" for text, names in options.items())


def _start(knob: str, book: Book) -> str:
    """Range, scale, role, condition, and the families that search it first."""
    found = book.ranges[knob]
    values = ", ".join(map(_text, found["choices"])) if found["choices"] else f"{found['low']:g} … {found['high']:g}"
    scale = ", log" if found["log"] else f", step {found['step']}" if found["step"] not in (None, 1) else ""
    group = knob.partition(".")[0]
    when = [f"{k} = {_either(v)}" for k, v in (found["when"] or {}).items() if k != group]
    first = [f"`{name}`" for name in book.spaces[knob] if name != EVERYTHING]
    parts = [f"{values}{scale}", found["role"], *(["when " + ", ".join(when)] if when else [])]
    return "; ".join([*parts, *([f"in {', '.join(first)}"] if first else [])])


def _either(value: Any) -> str:
    return " or ".join(map(_text, value)) if isinstance(value, list) else _text(value)


def _cited(keys: Sequence[str]) -> str:
    return "".join(f"[^{key}]" for key in keys)


if __name__ == "__main__":
    main()
