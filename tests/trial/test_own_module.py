"""A user's own LightningModule as the model of a recipe."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trimtab.errors import ConfigError, Diverged
from trimtab.trial import seeds
from trimtab.trial.session import threads
from trimtab.trial.train import Device, check, predict, refit

CPU = Device("cpu")


class Own(pl.LightningModule):
    """One hidden layer with its own optimizer and schedule, validation step and log."""

    def __init__(self, shape: tuple[int, ...], outputs: int, lr: float = 0.1) -> None:
        super().__init__()
        self.lr = lr
        self.network = nn.Sequential(nn.Linear(shape[0], 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, outputs))

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.network(x)
        return outputs

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        raise AssertionError("validation is by forward")

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)]  # by the epoch


class ByHand(Own):
    """Manual optimisation."""

    def __init__(self, shape: tuple[int, ...], outputs: int) -> None:
        super().__init__(shape, outputs)
        self.automatic_optimization = False

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        optimizer = self.optimizers()
        loss = F.cross_entropy(self(batch[0]), batch[1])
        optimizer.zero_grad()  # type: ignore[union-attr]
        self.manual_backward(loss)
        optimizer.step()  # type: ignore[union-attr]
        return loss


class Mute(Own):
    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Any:
        return None


@pytest.fixture
def case(digits: Any) -> Any:
    return digits.change(model=Own)


def test_it_follows_a_plain_loop(case: Any) -> None:
    """Same batches, initial weights and dropout as a network of ours would have."""
    found = refit(case.recipe, case.train, case.problem, 5, CPU)
    assert isinstance(found, Own)
    x, y = torch.tensor(case.train.x), torch.tensor(case.train.y)
    order = seeds.generator(5, "batches")
    with torch.random.fork_rng(), threads(1):
        torch.manual_seed(seeds.derive(5, "weights"))
        model = Own(case.problem.shape, case.problem.outputs)
        torch.manual_seed(seeds.derive(5, "noise"))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for epoch in range(3):
            optimizer.param_groups[0]["lr"] = 0.1 * 0.9**epoch
            for chosen in torch.split(torch.randperm(len(x), generator=order), 32):
                optimizer.zero_grad()
                F.cross_entropy(model(x[chosen]), y[chosen]).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_curves_best_weights_and_early_stopping(case: Any) -> None:
    result = case.change(epochs=40, patience_epochs=2, horizon_epochs=40).run(seed=1)
    losses = [row["val/loss"] for row in result.curves]
    assert result.best_epoch == losses.index(min(losses)) + 1
    assert result.epochs == result.best_epoch + 2 < 40
    assert [row["lr"] for row in result.curves][:2] == pytest.approx([0.1, 0.09])
    assert result.curves[1]["train/loss"] < result.curves[0]["train/loss"]
    served = Own(case.problem.shape, case.problem.outputs)
    served.load_state_dict(result.weights)
    probabilities = predict(served, case.val.x, case.problem, CPU)
    assert -np.log(probabilities[np.arange(90), case.val.y]).mean() == pytest.approx(result.value, rel=1e-4)


def test_refit_follows_train_and_lets_the_trainer_go(case: Any) -> None:
    result = case.change(epochs=5).run(seed=3)
    model = refit(replace(case.recipe, epochs=result.best_epoch), case.train, case.problem, 3, CPU)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in result.weights.items())
    assert not model.training
    assert model._trainer is None


def test_settings_of_the_recipe_do_not_apply(case: Any, digits: Any) -> None:
    assert check(digits.recipe, digits.problem, CPU)
    assert not check(case.recipe, case.problem, CPU)
    other = case.change(optimizer=None, schedule=None, lr_scaling="linear")
    assert other.run().curves == case.run().curves


def test_manual_optimisation(case: Any) -> None:
    result = case.change(model=ByHand).run()
    assert result.steps == 15
    assert result.curves[2]["train/loss"] < result.curves[0]["train/loss"]


def test_batch_size_is_searched_for_it_too(case: Any) -> None:
    assert case.change(batch_size="auto").run().batch_size == 150


def test_divergence_ends_it(case: Any) -> None:
    with pytest.raises(Diverged, match=r"train/loss must stay finite but is nan"):
        case.change(model=lambda shape, outputs: Own(shape, outputs, lr=float("inf"))).run()


def test_training_step_must_return_its_loss(case: Any) -> None:
    with pytest.raises(ConfigError, match=r"Mute.training_step must return its loss.* returned None"):
        case.change(model=Mute).run()
