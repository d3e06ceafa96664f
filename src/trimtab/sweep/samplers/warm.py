"""Warm start: what an earlier study found, shown to the sampler before its first trial.

The trials that fit are copied into the new study's directory when it begins, so that a resume does not
depend on the earlier study still being there, or as it was.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from trimtab.errors import SweepError
from trimtab.paths import write_text
from trimtab.sweep.settings import Direction
from trimtab.sweep.space.check import Plan
from trimtab.sweep.space.compose import held
from trimtab.sweep.space.knobs import Knob, Value, params, same
from trimtab.sweep.store.study import Study, open_study

FILE = "warm_start.json"


def warm_trials(source: Path | None, directory: Path, plan: Plan, directions: Sequence[Direction]) -> list[FrozenTrial]:
    """The trials to learn from; those kept in `directory` if they are there already.

    Raises:
        SweepError: `source` holds no study of these objectives, or none of its trials fits the space.
    """
    if source is None:
        return []
    path = directory / FILE
    if not path.exists():
        write_text(path, json.dumps(_records(open_study(source), plan, directions), indent=1))
    return [_trial(record, plan) for record in json.loads(path.read_text())]


def _records(earlier: Study, plan: Plan, directions: Sequence[Direction]) -> list[dict[str, Any]]:
    if earlier.directions != tuple(directions):
        raise SweepError(
            f"hydra.sweeper.warm_start: the study in {earlier.directory} has the objectives "
            f"{', '.join(earlier.directions)}, this one {', '.join(directions)}; leave it out"
        )
    configured = earlier.attributes.get("pieces", {}).get("configuration", {})
    completed = [t for t in earlier.trials if t.state == TrialState.COMPLETE]
    found = [
        {"params": point, "values": list(t.values), "constraints": dict(t.constraints)}
        for t in completed
        if (point := _point({**configured, **params(t)}, params(t), plan)) is not None
    ]
    if not found:
        raise SweepError(
            f"hydra.sweeper.warm_start: none of the {len(completed)} completed trials in {earlier.directory} lies in "
            "this search space with the rest configured as here; leave it out"
        )
    print(f"warm start: {len(found)} of {len(completed)} trials of {earlier.directory} fit this search space")
    return found


def _point(old: Mapping[str, Any], swept: Mapping[str, Value], plan: Plan) -> dict[str, Value] | None:
    """The point of this space that an earlier trial was; None if it was none.

    Args:
        old: configuration and knobs of the earlier trial.
        swept: its knobs alone; those that are none here must be configured here as they were there.
        plan: this study's.
    """
    for key in swept.keys() - plan.space.names:
        try:
            if not same(held(plan.baseline, key), swept[key]):
                return None
        except LookupError:
            return None
    try:
        return plan.space.choose(lambda knob: _value(knob, old))
    except LookupError:
        return None


def _value(knob: Knob, old: Mapping[str, Any]) -> Value:
    """Raises LookupError if the earlier trial had no such value."""
    value = old[knob.key]
    choices = getattr(knob.distribution, "choices", ())
    # Choices that Optuna cannot hold stand as text in both studies.
    return next((c for c in choices if same(c, value)), None) or knob.find(value)


def _trial(record: Mapping[str, Any], plan: Plan) -> FrozenTrial:
    point = record["params"]
    return create_trial(
        state=TrialState.COMPLETE,
        values=record["values"],
        params=point,
        distributions={name: plan.space[name].distribution for name in point},
        constraints=record["constraints"] or None,
    )
