"""A trial alone that is paused or killed goes on exactly where it was."""

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from same_results import equal
from trimtab.errors import Diverged, Outage, Pruned
from trimtab.models.cnn import CNN
from trimtab.models.mlp import MLP
from trimtab.trial import checkpoint, optimizers
from trimtab.trial.augmentation import Augmentation
from trimtab.trial.checkpoint import Kept
from trimtab.trial.regularisation import Regularisation
from trimtab.trial.schedules import OneCycle, Plateau

EPOCHS, PAUSE = 5, 2


class Own(pl.LightningModule):
    """A user's: noise from torch's own generator, a schedule by the epoch, a counter as buffer."""

    def __init__(self, shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(shape[0], 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, outputs))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.network(x)
        return outputs

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        self.seen += len(batch[0])
        return F.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)]


def kind(name: str, lr: float = 3e-3) -> Any:
    return partial(getattr(optimizers, name), lr=lr, weight_decay=0.1)


RECIPES: dict[str, dict[str, Any]] = {
    **{name: {"optimizer": kind(name)} for name in ("rmsprop", "adam", "adamw", "nadam", "sgd")},
    "noise": {"regularisation": Regularisation(gradient_noise=0.01, weight_noise=0.02)},
    "augmented": {"augmentation": Augmentation(noise=0.3)},
    "plateau": {"optimizer": kind("sgd", lr=1e-6), "schedule": Plateau(patience_epochs=0, factor=0.3)},
    "one cycle": {"schedule": OneCycle()},
    "batch norm": {"model": partial(MLP, depth=2, width=8, normalisation="batch", dropout=0.1)},
    "own": {"model": Own},
    "patience": {"optimizer": kind("sgd", lr=0.3), "epochs": 12, "patience_epochs": 2},
}


@pytest.fixture(params=RECIPES)
def case(request: pytest.FixtureRequest, digits: Any) -> Any:
    return digits.change(**{"epochs": EPOCHS, "horizon_epochs": EPOCHS} | RECIPES[request.param])


class Told(list[int]):
    """Notes the epochs, and ends the trial after one of them."""

    def __init__(self, after: int | None = None, by: type[Exception] = Pruned) -> None:
        super().__init__()
        self._after, self._by = after, by

    def __call__(self, epoch: int, row: dict[str, float]) -> None:
        self.append(epoch)
        if epoch == self._after:
            raise self._by(f"after epoch {epoch}")


def test_a_paused_trial_goes_on_bit_for_bit(case: Any, tmp_path: Path) -> None:
    kept = Kept(paused=tmp_path / "trial.ckpt")
    for pause in (1, 3):  # paused twice
        with pytest.raises(Pruned):
            case.run(kept=kept, on_epoch=Told(pause))
    rest = Told()
    result = case.run(kept=kept, on_epoch=rest)
    whole = case.run()
    assert rest == list(range(4, whole.epochs + 1))
    assert equal(result, whole)
    assert result.seconds > 0


def test_a_convolution_goes_on_too(digits: Any, tmp_path: Path) -> None:
    images = digits.__class__(
        digits.recipe,
        *(type(a)(a.x.reshape(-1, 1, 8, 8), a.y) for a in (digits.train, digits.val)),
        digits.problem.__class__(**{**vars(digits.problem), "shape": (1, 8, 8)}),
    ).change(
        model=partial(CNN, blocks=1, channels=4, kernel=3, conv_dropout=0.2),
        augmentation=Augmentation(flip=0.5, shift=0.2),
    )
    kept = Kept(paused=tmp_path / "trial.ckpt")
    with pytest.raises(Pruned):
        images.run(kept=kept, on_epoch=Told(1))
    assert equal(images.run(kept=kept), images.run())


@pytest.mark.parametrize("case", ["adamw", "noise", "own"], indirect=True)
def test_what_was_cut_off_is_told_again(case: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "EVERY", 0.0)
    kept = Kept(tmp_path / "trial.ckpt", tmp_path / "going.ckpt")
    with pytest.raises(Pruned):
        case.run(kept=kept, on_epoch=Told(1))
    assert not (tmp_path / "going.ckpt").exists()
    with pytest.raises(Outage):  # the tracking server is away: cut off, not ended
        case.run(kept=kept, on_epoch=Told(3, Outage))
    again = Told()
    result = case.run(kept=kept, on_epoch=again)
    assert again == list(range(2, result.epochs + 1))  # the sweeper knows of the first, and has forgotten the second
    assert equal(result, case.run())
    assert [p.name for p in tmp_path.iterdir()] == ["trial.ckpt"]


@pytest.mark.parametrize("by", [Diverged, RuntimeError])
def test_what_ended_by_itself_is_begun_anew(
    digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: type[Exception]
) -> None:
    monkeypatch.setattr(checkpoint, "EVERY", 0.0)
    with pytest.raises(by):
        digits.run(kept=Kept(going=tmp_path / "going.ckpt"), on_epoch=Told(3, by))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("written", [b"", b"no checkpoint", "half"])
def test_a_damaged_checkpoint_is_passed_over(
    digits: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, written: bytes | str
) -> None:
    kept = Kept(tmp_path / "trial.ckpt", tmp_path / "going.ckpt")
    with pytest.raises(Pruned):
        digits.run(kept=kept, on_epoch=Told(1))
    whole = (tmp_path / "trial.ckpt").read_bytes()
    (tmp_path / "going.ckpt").write_bytes(whole[: len(whole) // 2] if isinstance(written, str) else written)
    rest = Told()
    assert equal(digits.run(kept=kept, on_epoch=rest), digits.run())
    assert rest == [2, 3]
    assert "going.ckpt is damaged" in caplog.text


KILLED = """
import sys, os, signal
from pathlib import Path
sys.path.insert(0, {tests!r})
from conftest import *
from trimtab.trial import checkpoint
checkpoint.EVERY = 0.0

def on_epoch(epoch, row):
    if epoch == 3:
        os.kill(os.getpid(), signal.SIGKILL)

case = digits.__wrapped__(all_digits.__wrapped__())
case.change(epochs=5, horizon_epochs=5).run(kept=checkpoint.Kept(going=Path({path!r})), on_epoch=on_epoch)
"""


@pytest.mark.slow
def test_a_killed_process_costs_no_more_than_what_came_after_the_last_checkpoint(digits: Any, tmp_path: Path) -> None:
    path, here = tmp_path / "going.ckpt", Path(__file__).parent
    script = KILLED.format(tests=str(here), path=str(path))
    done = subprocess.run([sys.executable, "-c", script], env=dict(os.environ), capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert path.exists()
    case, again = digits.change(epochs=EPOCHS, horizon_epochs=EPOCHS), Told()
    assert equal(case.run(kept=Kept(going=path), on_epoch=again), case.run())
    assert again == [1, 2, 3, 4, 5]
    assert not path.exists()
