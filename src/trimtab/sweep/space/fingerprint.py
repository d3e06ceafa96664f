"""What makes a study this study and no other: its fingerprint, and the pieces it is made of."""

import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from trimtab.errors import SweepError
from trimtab.sweep.space.check import Plan, completed, plan
from trimtab.sweep.space.compose import Composer, plain, written
from trimtab.sweep.space.custom import source
from trimtab.sweep.space.grammar import parse

Pieces = dict[str, dict[str, Any]]


def fingerprint(cfg: DictConfig) -> str:
    """Twelve hex digits that name the study of a composed multirun configuration.

    It reads `hydra.sweeper`, the overrides and the task's configuration, never `hydra.sweep`, so
    that `hydra.sweep.dir` can contain it. Budget, workers and executor do not count. Hydra must be
    initialised, since the options of swept config groups count as well: one composition for each.
    A resolver calls it as `lambda *, _root_: fingerprint(_root_)`.
    """
    loader = GlobalHydra.instance().config_loader()
    sweeper = plain(cfg.hydra.sweeper)
    wishes = parse(sweeper["params"], written(cfg.hydra.overrides.task), loader)
    planned = plan(
        wishes,
        Composer(loader, cfg),
        sweeper["try_first"],
        sweeper["custom_search_space"],
        baseline=sweeper["baseline"],
    )
    return digest(pieces(planned, sweeper))


def digest(pieces: Pieces) -> str:
    """First twelve hex digits of sha256 over canonical JSON."""
    text = json.dumps(pieces, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()[:12]


def pieces(plan: Plan, sweeper: Mapping[str, Any]) -> Pieces:
    """The parts of a fingerprint by section, flat, so that a difference can be named.

    Args:
        plan: the checked search space.
        sweeper: `hydra.sweeper` as plain values.
    """
    swept = plan.space.names
    ignored = tuple(sweeper["ignore"])
    config = _leaves(plan.baseline, ignored)
    return {
        "search space": _space(plan),
        "configuration": {k: v for k, v in config.items() if k not in swept},
        "options": dict(_options(plan, config, ignored)),
        "baseline": _baseline(plan) if sweeper["baseline"] else {"baseline": False},
        **_pruner(sweeper),
        "sampler": {f"sampler.{k}": v for k, v in sweeper["sampler"].items()},
        "points to try first": {f"try_first[{i}]": p.params for i, p in enumerate(plan.first)},
        "beyond the space": {
            "warm_start": sweeper["warm_start"],
            "custom_search_space": source(sweeper["custom_search_space"]),
        },
        "study": _study(sweeper),
    }


def difference(old: Pieces, new: Pieces) -> str:
    """What changed, as `training.epochs: 30 → 40`; the first five of it."""
    found = []
    for section in sorted({*old, *new}):
        before, after = old.get(section, {}), new.get(section, {})
        for key in sorted({*before, *after}):
            a, b = (json.dumps(s[key]) if key in s else "absent" for s in (before, after))
            if a != b:
                found.append(f"{key}: {a} → {b}")
    return ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")


def refuse_other(directory: str, old: Pieces, new: Pieces) -> None:
    """Refuses to mix two studies in one directory.

    Raises:
        SweepError: names what changed.
    """
    if digest(old) != digest(new):
        raise SweepError(
            f"{directory} holds a study of another configuration ({difference(old, new)}); give this "
            "one its own hydra.sweep.dir, or undo the change to go on with that one"
        )


def _space(plan: Plan) -> dict[str, Any]:
    """Ranges and conditions; the role of a knob changes no trial."""
    described = plan.space.describe()
    return {name: {k: v for k, v in d.items() if k != "role"} for name, d in described.items()}


def _pruner(sweeper: Mapping[str, Any]) -> Pieces:
    """No piece without pruning: it changes no trial then."""
    pruner = sweeper.get("pruner") or {}
    if str(pruner.get("_target_", "")).endswith(".Never") or not pruner:
        return {}
    return {"pruner": {f"pruner.{k}": v for k, v in pruner.items()} | {"prune_baseline": sweeper["prune_baseline"]}}


def _study(sweeper: Mapping[str, Any]) -> dict[str, Any]:
    """Under `async` there is no lag."""
    kept = {k: sweeper[k] for k in ("direction", "seed", "seed_key")}
    kept |= {"seeds": sweeper["seeds"]} if sweeper["seeds"] != 1 else {}
    kept |= {k: sweeper[k] for k in ("folds", "fold_key")} if sweeper["folds"] != 1 else {}
    if sweeper["population"]["size"] > 1:
        kept |= {f"population.{k}": v for k, v in sweeper["population"].items() if k != "_target_"}
    return kept | ({"schedule": "async"} if sweeper["schedule"] == "async" else {"lag": sweeper["lag"]})


def _baseline(plan: Plan) -> dict[str, Any]:
    return {f"baseline {name}": value for name, value in plan.default().params.items()}


def _options(plan: Plan, config: Mapping[str, Any], ignored: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Where an option of a swept group differs from the baseline's: an edit of its file counts."""
    for knob in plan.space.knobs:
        for text in knob.texts if plan.composer.options(knob.key) else ():
            line = f"{knob.prefix}{knob.key}={text}"
            other = _leaves(plan.composer.compose((*plan.fixed, *completed(plan.needed, [line]))), ignored)
            for key, value in other.items():
                if key not in plan.space.names and config.get(key, plan) != value:
                    yield f"{line} {key}", value


def _leaves(cfg: DictConfig, ignored: tuple[str, ...]) -> dict[str, Any]:
    """Resolved leaves of the task's configuration by dotted key.

    Interpolations of `hydra:` (directories, job numbers) are left as written, whether or not Hydra
    could resolve them at this moment.
    """
    state = HydraConfig.instance()
    kept, state.cfg = state.cfg, None
    try:
        return {k: v for k, v in _walk(cfg, "") if not _covered(k, ignored)}
    finally:
        state.cfg = kept


def _walk(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for key in node:
        if not prefix and key == "hydra":
            continue
        raw = node._get_node(key)
        yield from _leaf(node, key, raw, f"{prefix}{key}")


def _leaf(node: DictConfig, key: Any, raw: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(raw, DictConfig) and not raw._is_interpolation() and not raw._is_none():
        if raw._is_missing():
            yield path, "???"
        else:
            yield from _walk(raw, f"{path}.")
        return
    try:
        value = plain(node[key])
    except OmegaConfBaseException:
        value = str(raw._value())
    yield path, value if _is_json(value) else str(value)


def _covered(key: str, ignored: tuple[str, ...]) -> bool:
    return any(key == i or key.startswith(f"{i}.") for i in ignored)


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True
