from functools import partial

import pytest

from trimtab.trial.schedules import Schedule, constant, cosine, is_constant


@pytest.mark.parametrize(
    ("schedule", "progress", "factor"),
    [
        (constant, 0.0, 1),
        (constant, 1.0, 1),
        (cosine, 0.0, 1),
        (cosine, 1 / 3, 0.75),
        (cosine, 0.5, 0.5),
        (cosine, 1.0, 0),
    ],
)
def test_factor(schedule: Schedule, progress: float, factor: float) -> None:
    assert schedule(progress) == pytest.approx(factor, abs=1e-12)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [(constant, True), (partial(constant), True), (cosine, False), (partial(cosine), False), (lambda _: 1.0, False)],
)
def test_is_constant_sees_through_hydra(schedule: Schedule, expected: bool) -> None:
    assert is_constant(schedule) is expected
