import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trimtab.errors import ConfigError
from trimtab.trial.train import Device, refit

CPU = Device("cpu")


class Small(nn.Module):
    """As if memory ended at 70 rows, with torch's own message."""

    def __init__(self, shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(shape[0], outputs)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and len(x) > 70:
            raise RuntimeError("CUDA out of memory. Tried to allocate 1 TiB")
        outputs: Tensor = self.layer(x)
        return outputs


@pytest.mark.parametrize(
    ("asked", "found", "steps"), [("all", 150, 1), (1000, 150, 1), ("auto", 150, 1), (64, 64, 3), (1, 1, 150)]
)
def test_batch_size_comes_to_a_number(digits: Any, asked: int | str, found: int, steps: int) -> None:
    result = digits.change(batch_size=asked, epochs=1).run()
    assert (result.batch_size, result.steps) == (found, steps)


def test_all_is_full_batch_descent(digits: Any) -> None:
    assert digits.change(batch_size="all").run().curves == digits.change(batch_size=150).run().curves


def test_auto_is_the_most_that_memory_holds(digits: Any) -> None:
    result = digits.change(model=Small, batch_size="auto").run()
    assert result.batch_size == 64
    assert result.curves == digits.change(model=Small, batch_size=64).run().curves  # the search left no trace


def test_the_search_is_silent_and_leaves_no_file(
    digits: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO)
    before = torch.get_rng_state()
    refit(digits.change(batch_size="auto").recipe, digits.train, digits.problem, 0, CPU)
    assert torch.equal(before, torch.get_rng_state())
    assert (list(tmp_path.iterdir()), caplog.messages, *capfd.readouterr()) == ([], [], "", "")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": "most"}, "training.batch_size must be a whole number, all or auto but is 'most'"),
        ({"lr_scaling": "log"}, "training.lr_scaling must be one of none, linear, sqrt but is 'log'"),
    ],
)
def test_bad_setting_names_knob_value_and_rule(digits: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as e:
        digits.change(**changes).run()
    assert message in str(e.value)
