import logging
import math
import random
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from same_results import equal
from trimtab.data.arrays import Arrays
from trimtab.errors import ConfigError, DataError, Diverged
from trimtab.models.dropout import keys
from trimtab.models.dropout import replace as replace_dropout
from trimtab.models.mlp import MLP
from trimtab.trial import seeds
from trimtab.trial.augmentation import Augmentation
from trimtab.trial.metrics import METRICS, data_loss, score
from trimtab.trial.schedules import Cosine, Lull, Plateau
from trimtab.trial.session import threads
from trimtab.trial.train import Device, TrialResult, check, predict, refit

CPU = Device("cpu")
SGD = partial(torch.optim.SGD, lr=0.003, momentum=0.9, weight_decay=1e-4)
ADAMW = partial(torch.optim.AdamW, lr=0.01)


def rescored(case: Any, result: TrialResult) -> dict[str, float]:
    """Validation scores of the returned weights."""
    model = case.recipe.model(case.problem.shape, case.problem.outputs)
    model.load_state_dict(result.weights)
    return score(predict(model, case.val.x, case.problem, CPU), case.val.y, case.problem)


@pytest.mark.parametrize(
    ("name", "losses", "value"),
    [
        ("digits", [2.408724, 1.897020, 1.599581], 1.605710),
        ("diabetes", [1.958899, 1.142085, 0.802936], 0.640738),
    ],
)
def test_golden(name: str, losses: list[float], value: float, request: pytest.FixtureRequest) -> None:
    result = request.getfixturevalue(name).change(epochs=3).run(seed=7)
    assert [row["train/loss"] for row in result.curves] == pytest.approx(losses, rel=1e-4)
    assert result.value == pytest.approx(value, rel=1e-4)


def test_result_follows_from_seed_alone(digits: Any) -> None:
    first = digits.run(seed=1)
    other = digits.change(model=partial(MLP, depth=2, width=5), optimizer=SGD, batch_size=7).run(seed=2)
    torch.manual_seed(123)
    assert equal(first, digits.run(seed=1))
    assert not equal(first, other)
    assert not equal(first, digits.run(seed=3))


def test_process_is_left_as_it_was(digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = (torch.get_rng_state(), random.getstate(), signal.getsignal(signal.SIGINT))
    digits.run()
    after = (torch.get_rng_state(), random.getstate(), signal.getsignal(signal.SIGINT))
    assert torch.equal(after[0], before[0])
    assert after[1:] == before[1:]
    assert list(tmp_path.iterdir()) == []


def test_threads_hold_while_it_runs(digits: Any) -> None:
    seen: list[int] = []
    with threads(2):
        digits.change(epochs=1).run(on_epoch=lambda *_: seen.append(torch.get_num_threads()))
        assert (seen, torch.get_num_threads()) == ([1], 2)


def test_it_is_silent(digits: Any, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    digits.run()
    assert capfd.readouterr() == ("", "")
    assert caplog.messages == []


@pytest.mark.parametrize("metric", ["val/loss", "val/accuracy", "val/balanced_accuracy", "val/f1", "val/auroc"])
def test_best_epoch_is_the_first_best_and_its_weights_return(digits: Any, metric: str) -> None:
    case = digits.change(metric=metric, optimizer=partial(torch.optim.AdamW, lr=0.1), epochs=12, patience_epochs=2)
    result = case.run()
    values = [row[metric] for row in result.curves]
    best = min(values) if METRICS[metric].direction == "minimize" else max(values)
    assert result.value == best == result.best[metric]
    assert result.best_epoch == values.index(best) + 1 < result.epochs
    assert result.epochs in (12, result.best_epoch + 2)
    assert rescored(case, result) == pytest.approx(
        {name.removeprefix("val/"): value for name, value in result.best.items()}, abs=1e-5
    )


def test_patience_stops_and_ties_keep_the_earlier_epoch(digits: Any) -> None:
    frozen = digits.change(optimizer=partial(torch.optim.SGD, lr=1e-30), epochs=9, patience_epochs=3)
    result = frozen.run()
    assert (result.best_epoch, result.epochs, result.steps) == (1, 4, 4 * 5)
    assert frozen.change(patience_epochs=None).run().epochs == 9


def test_curves_and_per_example_results_agree(digits: Any, diabetes: Any) -> None:
    result = digits.run()
    hits = np.unpackbits(result.per_example, axis=1, count=len(digits.val.y))
    assert hits.mean(axis=1) == pytest.approx([row["val/accuracy"] for row in result.curves])
    assert [row["epoch"] for row in result.curves] == [1, 2, 3]
    result = diabetes.run()
    assert result.per_example.dtype == np.float16
    losses = result.per_example.astype(np.float64).mean(axis=1)
    assert losses == pytest.approx([row["val/loss"] for row in result.curves], rel=1e-3)


def test_cosine_rate_in_the_curves(digits: Any) -> None:
    curves = digits.change(schedule=Cosine(), epochs=4, horizon_epochs=8).run().curves
    assert [row["lr"] for row in curves] == pytest.approx([0.01 * Cosine()(epoch / 8) for epoch in range(4)])


def test_rate_scales_with_the_batch(digits: Any) -> None:
    """The batch that counts is the one that there is: 150 rows of 1000 asked for."""
    for asked, rows in ((32, 32), (1000, 150), ("all", 150)):
        curves = digits.change(lr_scaling="linear", batch_size=asked, epochs=1).run().curves
        assert curves[0]["lr"] == pytest.approx(0.01 * rows / 256)


def test_plateau_watches_the_training_loss(digits: Any) -> None:
    """Rates fall where torch's ReduceLROnPlateau would lower them, and a refit follows."""
    case = digits.change(schedule=Plateau(factor=0.5, patience_epochs=1), optimizer=SGD, epochs=24)
    case = case.change(model=partial(MLP, depth=1, width=4, dropout=0.8), batch_size=4, horizon_epochs=24)
    result = case.run()
    lull, expected = Lull(), []
    for row in result.curves:
        expected.append(0.003 * lull.factor)
        lull = case.recipe.schedule.after_epoch(lull, row["train/loss"])
    assert expected[-1] < expected[0]
    assert [row["lr"] for row in result.curves] == pytest.approx(expected)
    model = refit(replace(case.recipe, epochs=result.best_epoch), case.train, case.problem, 0, CPU)
    assert same_weights(model.state_dict(), result.weights)


def test_augmentation_acts_on_training_batches_alone(digits: Any) -> None:
    frozen = digits.change(optimizer=partial(torch.optim.SGD, lr=1e-30))
    plain, noisy = (frozen.change(augmentation=Augmentation(noise=sd)).run() for sd in (0.0, 2.0))
    assert noisy.value == plain.value
    assert noisy.curves[0]["train/loss"] != pytest.approx(plain.curves[0]["train/loss"], rel=1e-3)
    learnt = [digits.change(augmentation=Augmentation(noise=0.5)).run(seed=s) for s in (0, 0, 1)]
    assert equal(learnt[0], learnt[1])
    assert not equal(learnt[0], learnt[2])
    with pytest.raises(ConfigError, match=r"augmentation.flip needs sequences or images"):
        digits.change(augmentation=Augmentation(flip=0.5)).run()


def plain_loop(case: Any, seed: int) -> nn.Module:
    """What everybody would write, with the trial's streams and torch's optimizer and no Lightning."""
    recipe, problem = case.recipe, case.problem
    x, y = torch.tensor(case.train.x), torch.tensor(case.train.y)
    shares = None if problem.class_weights is None else torch.tensor(problem.class_weights)
    order = seeds.generator(seed, "batches")
    with torch.random.fork_rng(), threads(1):
        torch.manual_seed(seeds.derive(seed, "weights"))
        model: nn.Module = recipe.model(problem.shape, problem.outputs)
        drops, noise = replace_dropout(model), torch.tensor(seeds.signed(seed, "noise"))
        sides = [[p for p in model.parameters() if (p.ndim > 1) is weights] for weights in (True, False)]
        optimizer = recipe.optimizer([{"params": sides[0]}, {"params": sides[1], "weight_decay": 0.0}])
        base, step = optimizer.param_groups[0]["lr"], 0
        batches = -(-len(x) // recipe.batch_size)
        for _ in range(recipe.epochs):
            for chosen in torch.split(torch.randperm(len(x), generator=order), recipe.batch_size):
                for group in optimizer.param_groups:
                    group["lr"] = base * recipe.schedule(step / (batches * recipe.horizon_epochs))
                optimizer.zero_grad()
                for drop in drops:
                    drop.key.copy_(keys(noise, step, drop.place + 1)[drop.place])
                data_loss(model(x[chosen]), y[chosen], problem, shares).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                step += 1
    return model


def same_weights(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("optimizer", [SGD, ADAMW])
@pytest.mark.parametrize("changes", [{}, {"schedule": Cosine()}, {"batch_size": 1000}, {"batch_size": 1, "epochs": 1}])
@pytest.mark.parametrize("name", ["digits", "diabetes"])
def test_refit_is_a_plain_torch_loop(
    name: str, changes: dict[str, Any], optimizer: Any, request: pytest.FixtureRequest
) -> None:
    case = request.getfixturevalue(name).change(**{"epochs": 3, "optimizer": optimizer, **changes})
    model = refit(case.recipe, case.train, case.problem, 5, CPU)
    assert not model.training
    assert same_weights(model.state_dict(), plain_loop(case, 5).state_dict())


def test_class_weights_are_trained_on_but_not_scored(digits: Any) -> None:
    weights = tuple(float(c + 1) for c in range(10))
    weighted = replace(digits, problem=replace(digits.problem, class_weights=weights))
    model = refit(weighted.recipe, weighted.train, weighted.problem, 0, CPU)
    assert same_weights(model.state_dict(), plain_loop(weighted, 0).state_dict())
    result = weighted.run()
    assert "class_weights" not in result.weights
    assert rescored(digits, result)["loss"] == pytest.approx(result.value, rel=1e-5)


@pytest.mark.parametrize("name", ["digits", "diabetes"])
def test_refit_follows_train(name: str, request: pytest.FixtureRequest) -> None:
    case = request.getfixturevalue(name).change(schedule=Cosine(), epochs=10, horizon_epochs=10)
    result = case.run(seed=3)
    shorter = replace(case.recipe, epochs=result.best_epoch)
    model = refit(shorter, case.train, case.problem, 3, CPU)
    assert same_weights(model.state_dict(), result.weights)


def test_digits_are_learnt(all_digits: Any) -> None:
    result = all_digits.change(optimizer=partial(torch.optim.AdamW, lr=0.003)).run()
    assert result.best["val/accuracy"] > 0.95
    assert result.parameters == 64 * 64 + 64 + 64 * 64 + 64 + 64 * 10 + 10
    assert result.steps == 15 * 34
    assert result.seconds > 0
    assert 50 < result.peak_memory_mb < 20_000


def test_diabetes_is_learnt(diabetes: Any) -> None:
    result = diabetes.run()
    assert result.best["val/r2"] > 0.3
    assert 30 < result.best["val/mae"] < 60


def test_divergence_names_epoch_and_rate(diabetes: Any) -> None:
    wild = diabetes.change(optimizer=partial(torch.optim.SGD, lr=1e6))
    message = r"/loss must stay finite but is (nan|inf) in epoch \d+.* at learning rate 1e\+06; lower optimizer\.lr"
    with pytest.raises(Diverged, match=message):
        wild.run()
    with pytest.raises(Diverged, match=r"train/loss .* in epoch \d+, step \d+ at"):
        refit(wild.recipe, wild.train, wild.problem, 0, CPU)


def test_divergence_in_the_last_step_shows_in_validation(digits: Any) -> None:
    with pytest.raises(Diverged, match=r"val/loss must stay finite but is nan in epoch 1 at"):
        digits.change(optimizer=partial(torch.optim.SGD, lr=float("inf")), batch_size=150).run()


def test_huge_errors_are_cut_off_at_float16(diabetes: Any) -> None:
    far = replace(diabetes, val=Arrays(diabetes.val.x, diabetes.val.y + np.float32(1000)))
    assert far.change(epochs=1).run().per_example.max() == np.finfo(np.float16).max


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "training.epochs must be at least 1 but is 0"),
        ({"epochs": 1.5}, "training.epochs must be a whole number but is 1.5"),
        ({"batch_size": 0}, "training.batch_size must be at least 1 but is 0"),
        ({"batch_size": True}, "training.batch_size must be a whole number but is True"),
        ({"patience_epochs": 0}, "training.patience_epochs must be at least 1 but is 0"),
        ({"horizon_epochs": 0}, "horizon_epochs must be at least 1 but is 0"),
        ({"metric": "val/acuracy"}, "did you mean 'val/accuracy'?"),
        ({"metric": "val/r2"}, "objective.metric=val/r2 is not defined for classification"),
        ({"optimizer": partial(torch.optim.SGD, lr=-1.0)}, "settings: Invalid learning rate: -1.0; mend optimizer.*"),
        (
            {
                "optimizer": lambda p: torch.optim.SGD(p, beta=1)  # type: ignore[call-arg]
            },
            "unexpected keyword argument 'beta'",
        ),
        ({"model": partial(MLP, depth=1, width=0)}, "model.width must be at least 1 but is 0"),
    ],
)
def test_bad_recipe_names_knob_value_and_rule(digits: Any, changes: dict[str, Any], message: str) -> None:
    case = digits.change(**changes)
    for run in (case.run, lambda: refit(case.recipe, case.train, case.problem, 0, CPU)):
        with pytest.raises(ConfigError) as e:
            run()
        assert message in str(e.value)


@pytest.mark.parametrize(
    ("device", "message"),
    [
        (Device("cpu", threads=0), "engine.threads must be at least 1 but is 0"),
        (Device("cpu", devices=2), "engine.devices must be 1 but is 2: a trial runs on one device"),
        (Device("toaster"), "engine.accelerator=toaster with engine.precision=32-true does not work here"),
        (Device("cpu", precision="31-true"), "engine.precision=31-true does not work here"),
    ],
)
def test_bad_device_names_knob_value_and_rule(digits: Any, device: Device, message: str) -> None:
    with pytest.raises(ConfigError) as e:
        refit(digits.recipe, digits.train, digits.problem, 0, device)
    assert message in str(e.value)


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("train", lambda a: Arrays(a.x[:0], a.y[:0]), "the training part must have at least 1 rows but has 0"),
        ("val", lambda a: Arrays(a.x[:1], a.y[:1]), "the validation part must have at least 2 rows but has 1"),
        ("val", lambda a: Arrays(a.x, a.y[:5]), "the validation part has 90 rows of x but 5 of y"),
        ("train", lambda a: Arrays(a.x[:, :9], a.y), "the training part must be (rows, 64) but is (150, 9)"),
    ],
)
def test_arrays_that_do_not_fit(digits: Any, part: str, change: Callable[[Arrays], Arrays], message: str) -> None:
    with pytest.raises(DataError) as e:
        replace(digits, **{part: change(getattr(digits, part))}).run()
    assert str(e.value) == message


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_other_precisions_train_and_predict(diabetes: Any, precision: str) -> None:
    device = Device("cpu", precision=precision)
    model = refit(diabetes.recipe, diabetes.train, diabetes.problem, 0, device)
    outputs = predict(model, diabetes.val.x, diabetes.problem)
    assert score(outputs, diabetes.val.y, diabetes.problem)["r2"] > 0.3


def test_on_epoch_hears_each_row_and_may_end_the_trial(digits: Any) -> None:
    class Enough(Exception):
        pass

    heard: list[tuple[int, dict[str, float]]] = []

    def hear(epoch: int, row: dict[str, float]) -> None:
        heard.append((epoch, row))
        if len(heard) == 5:
            raise Enough

    curves = digits.run(on_epoch=hear).curves
    assert heard == list(enumerate(curves, start=1))
    with pytest.raises(Enough):
        digits.run(on_epoch=hear)


def test_ctrl_c_stays_an_interrupt(digits: Any) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever ran here before

    def interrupt(*_: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        digits.run(on_epoch=interrupt)
    assert signal.getsignal(signal.SIGINT) is handler


def test_it_runs_in_a_thread(digits: Any) -> None:
    results: list[TrialResult] = []
    worker = threading.Thread(target=lambda: results.append(digits.run()))
    worker.start()
    worker.join()
    assert equal(results[0], digits.run())


def test_predict_gives_probabilities(digits: Any) -> None:
    model = refit(digits.recipe, digits.train, digits.problem, 0, CPU)
    probabilities = predict(model, digits.val.x.astype(np.float64), digits.problem)
    assert probabilities.shape == (90, 10)
    assert probabilities.sum(axis=1) == pytest.approx(1)
    assert (probabilities > 0).all()


class Wide(nn.Sequential):
    """Somebody's, with an output too many."""

    def __init__(self, shape: tuple[int, ...], outputs: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(math.prod(shape), outputs + 1))


class Narrow(nn.Sequential):
    """Somebody's, which takes another number of features."""

    def __init__(self, shape: tuple[int, ...], outputs: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(math.prod(shape) + 1, outputs))


class Silent(Wide):
    """Somebody's, with an error that says nothing."""

    def forward(self, x: Tensor) -> Tensor:
        raise AssertionError


def test_a_recipe_is_checked_before_anything_is_trained(digits: Any) -> None:
    changes: list[tuple[dict[str, Any], str]] = [
        ({"optimizer": partial(torch.optim.SGD, lr=0.0)}, "optimizer.lr must be above 0"),
        ({"optimizer": partial(torch.optim.SGD, lr=-1.0)}, "Invalid learning rate"),
        ({"epochs": 0}, "training.epochs must be at least 1"),
        ({"model": Wide}, r"model \(Wide\) must make \(2, 10\) of a batch of shape \(2, 64\).*makes \(2, 11\)"),
        ({"model": Narrow}, r"model \(Narrow\) must make \(2, 10\).*but fails: .*; mend its forward"),
        ({"model": Silent}, r"model \(Silent\) must make .*but fails: AssertionError; mend its forward"),
    ]
    for change, fragment in changes:
        with pytest.raises(ConfigError, match=fragment):
            check(digits.change(**change).recipe, digits.problem)
    with pytest.raises(ConfigError, match=r"engine.precision=banana"):
        check(digits.recipe, digits.problem, Device(precision="banana"))
    check(digits.recipe, digits.problem)
