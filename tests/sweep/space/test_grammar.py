"""The grammar of search spaces, as a table."""

from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from trimtab.errors import SweepError
from trimtab.sweep.space.grammar import parse
from trimtab.sweep.space.knobs import Space

LOADER = ConfigLoaderImpl(create_config_search_path(None))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("choice(a, b)", CategoricalDistribution(("a", "b"))),
        ("a,b", CategoricalDistribution(("a", "b"))),
        ("choice(16, 32)", CategoricalDistribution((16, 32))),
        ("true,null,0.5", CategoricalDistribution((True, None, 0.5))),
        ("choice(true, 1)", CategoricalDistribution(("True", "1"))),
        ("choice([1,2], {a:1})", CategoricalDistribution(("[1,2]", "{a:1}"))),
        ("choice('a b', \"it's\")", CategoricalDistribution(("a b", "it's"))),
        ("range(1, 5)", IntDistribution(1, 4)),
        ("range(4)", IntDistribution(0, 3)),
        ("range(1, 8, 3)", IntDistribution(1, 7, step=3)),
        ("range(5, 1, -2)", IntDistribution(3, 5, step=2)),
        ("range(0, 1, 0.1)", FloatDistribution(0.0, 0.9, step=0.1)),
        ("tag(log, range(1, 65))", IntDistribution(1, 64, log=True)),
        ("interval(0, 1)", FloatDistribution(0.0, 1.0)),
        ("int(interval(16, 256))", IntDistribution(16, 256)),
        ("tag(log, int(interval(16, 256)))", IntDistribution(16, 256, log=True)),
        ("tag(log, interval(1e-4, 1))", FloatDistribution(1e-4, 1.0, log=True)),
        ("shuffle(range(1, 3))", IntDistribution(1, 2)),
        ("shuffle(choice(a, b))", CategoricalDistribution(("a", "b"))),
        ("range(start=1, stop=8, step=3)", IntDistribution(1, 7, step=3)),
        ("range(-5.5, 5.5, step=0.5)", FloatDistribution(-5.5, 5.0, step=0.5)),
        ("float(interval(1, 3))", FloatDistribution(1.0, 3.0)),
        ("float(range(1, 4))", FloatDistribution(1.0, 3.0, step=1.0)),
        ("int(tag(log, interval(1, 100)))", IntDistribution(1, 100, log=True)),
        ("str(choice(1, 2))", CategoricalDistribution(("1", "2"))),
    ],
)
def test_values_become_a_distribution(text: str, expected: BaseDistribution) -> None:
    wishes = parse({"key": text}, [], LOADER)
    assert wishes.knobs[0].distribution == expected


@pytest.mark.parametrize(
    ("text", "picked", "override"),
    [
        ("choice('a b', c)", "a b", "key=a\\ b"),
        ("null,1", None, "key=null"),
        ("choice(true, 1)", "True", "key=True"),
        ("choice([1,2], 3)", "[1,2]", "key=[1,2]"),
        ("interval(0, 1)", 1e-05, "key=1e-05"),
        ("range(1, 5)", 3, "key=3"),
    ],
)
def test_a_value_is_written_as_override(text: str, picked: Any, override: str) -> None:
    assert parse({"key": text}, [], LOADER).knobs[0].override(picked) == override


@pytest.mark.parametrize(
    ("params", "typed", "knobs", "fixed"),
    [
        ({"a": "1,2"}, [], ["a"], []),
        ({"a": "1,2", "b": 3}, [], ["a"], ["b=3"]),
        ({"a": "1,2"}, ["a=3"], [], ["a=3"]),
        ({"a": "1,2"}, ["a=3", "a=5,6"], ["a"], []),
        ({"a": "1,2"}, ["a=5,6", "a=3"], [], ["a=3"]),
        ({"a": 3}, ["a=1,2"], ["a"], []),
        ({"a": 3}, ["a=4"], [], ["a=4"]),
        ({"a": "1,2"}, ["~a"], [], ["~a"]),
        ({}, ["+a=1,2", "b=1"], ["a"], ["b=1"]),
        ({"+a": "1,2"}, [], ["a"], []),
    ],
)
def test_the_last_value_of_a_key_wins(
    params: dict[str, Any], typed: list[str], knobs: list[str], fixed: list[str]
) -> None:
    wishes = parse(params, typed, LOADER)
    assert [k.name for k in wishes.knobs] == knobs
    assert list(wishes.fixed) == fixed


def test_a_key_set_twice_in_params_is_refused() -> None:
    with pytest.raises(SweepError, match=r"sets 'a' twice"):
        parse({"a": "1,2", "+a": 3}, [], LOADER)


def test_params_may_be_null() -> None:
    assert parse(None, ["a=1,2"], LOADER).knobs[0].name == "a"


def test_the_command_line_changes_values_and_keeps_role_and_condition() -> None:
    entry = {"values": "1,2", "role": "nuisance", "when": {"b": ["x", "y"]}}
    knob = parse({"a": entry}, ["a=range(7, 9)"], LOADER).knobs[0]
    assert (knob.role, knob.distribution) == ("nuisance", IntDistribution(7, 8))
    assert knob.when[0].allowed == ("x", "y")


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("range(5, 5)", "holds no value"),
        ("range(5, 1)", "holds no value"),
        ("interval(2, 1)", "is empty"),
        ("interval(1, 1)", "is empty"),
        ("tag(log, interval(0, 1))", "log scale"),
        ("tag(log, range(0, 3))", "log scale"),
        ("tag(log, range(1, 9, 2))", "step 1"),
        ("tag(log, choice(1, 2))", "log scale"),
        ("choice(1, 1)", "twice"),
        ("choice(", "cannot read"),
        ({"values": "1,2", "rol": "nuisance"}, "did you mean 'role'"),
        ({"values": "1,2", "role": "nuisence"}, "did you mean 'nuisance'"),
        ({"role": "nuisance"}, "no `values`"),
        ({"values": "1,2", "when": "sgd"}, "when: {optimizer: sgd}"),
    ],
)
def test_what_cannot_be_searched_is_refused_by_name(entry: Any, said: str) -> None:
    with pytest.raises(SweepError, match=r"['\"]key") as e:
        parse({"key": entry}, [], LOADER)
    assert said in str(e.value)


def test_points_that_conditions_make_equal_come_once() -> None:
    params = {"a": "x,y", "b": {"values": "range(0, 3)", "when": {"a": "y"}}}
    space = Space.of(parse(params, [], LOADER).knobs)
    assert list(space.points()) == [{"a": "x"}, *({"a": "y", "b": b} for b in range(3))]


def test_a_circle_of_conditions_is_refused() -> None:
    params = {"a": {"values": "1,2", "when": {"b": 1}}, "b": {"values": "1,2", "when": {"a": 1}}}
    with pytest.raises(SweepError, match="circle"):
        Space.of(parse(params, [], LOADER).knobs)
