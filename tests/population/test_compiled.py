"""Compiled perceptrons against autograd, and against the tensor program that trains them on other devices."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sample_members import Rows, adamw, mlp, recipe, sgd
from trimtab.data.arrays import Parts, Problem
from trimtab.errors import Diverged, Pruned
from trimtab.models.activations import ACTIVATIONS
from trimtab.models.cnn import CNN
from trimtab.population import engine, stacks
from trimtab.population.compiled import loops
from trimtab.population.compiled.singles import Singles
from trimtab.population.members import Member
from trimtab.population.state import MemberState
from trimtab.population.tensors import Tensors
from trimtab.population.train import train_many
from trimtab.trial import optimizers
from trimtab.trial.batches import Rows as Placed
from trimtab.trial.metrics import data_loss
from trimtab.trial.recipe import Recipe
from trimtab.trial.regularisation import Regularisation
from trimtab.trial.result import TrialResult

FEATURES, CLASSES = (5,), 3
LR = 0.5


def data(
    rows: int, task: str, weights: tuple[float, ...] | None = None, shape: tuple[int, ...] = FEATURES
) -> Parts[Placed]:
    torch.manual_seed(1)
    x = torch.randn(rows, *shape)
    if task == "regression":
        problem = Problem("regression", shape, 1, (), 0.0, 1.0, None)
        return Parts(Placed(x, torch.randn(rows)), Placed(x[:7], torch.randn(7)), problem)
    labels = torch.arange(rows) % CLASSES
    problem = Problem("classification", shape, CLASSES, tuple("abc"), 0.0, 1.0, weights)
    return Parts(Placed(x, labels), Placed(x[:7], labels[:7]), problem)


def after_a_step(model: nn.Module, parts: Parts[Placed], **settings: Any) -> tuple[dict[str, Tensor], Tensor]:
    """What one step of plain gradient descent on all rows makes of a network, and its outputs of validation rows."""
    given = recipe(mlp(), sgd(lr=LR, momentum=0.0), batch_size="all", **settings)
    member = Member(0, Recipe(**{**vars(given), "batch_size": len(parts.train)}), 0)
    program = Singles([member], [model], [parts])  # type: ignore[list-item]
    program.begin([0], [[1.0]], [torch.arange(len(parts.train))])
    program.run(0, 64)
    return program.weights(0), program.outputs()[0]


@pytest.mark.parametrize("rows", [1, 12])
@pytest.mark.parametrize("normalisation", ["none", "batch", "layer"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_step_is_autograds(activation: str, normalisation: str, rows: int) -> None:
    torch.manual_seed(0)
    made = mlp(depth=3, width=7, taper=0.7, activation=activation, normalisation=normalisation)
    model = made(FEATURES, CLASSES)
    for p in model.parameters():
        nn.init.normal_(p, std=0.5)  # biases and scales too: equal ones would hide a mistake
    check_step(model, data(rows, "classification"))


def check_step(model: nn.Module, parts: Parts[Placed]) -> None:
    """Holds a step, and the outputs after it, to those of the module."""
    ours, outputs = after_a_step(model, parts)
    data_loss(model.train()(parts.train.x), parts.train.y, parts.problem).backward()
    with torch.no_grad():
        for p in model.parameters():
            p -= LR * p.grad
    assert ours.keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(ours[name], value, atol=1e-5, rtol=5e-5, msg=name)
    torch.testing.assert_close(outputs, model.eval()(parts.val.x).detach(), atol=1e-4, rtol=1e-4)


MAPS: dict[str, tuple[int, ...]] = {
    "an odd sequence": (2, 13),
    "sides that are not alike": (2, 7, 4),
    "pooled to a point": (1, 3),
}


def cnn(shape: tuple[int, ...], **settings: Any) -> CNN:
    torch.manual_seed(0)
    model = CNN(shape, CLASSES, **{"blocks": 3, "channels": 3, "kernel": 3, **settings})
    for p in model.parameters():
        nn.init.normal_(p, std=0.5)
    return model


@pytest.mark.parametrize("normalisation", ["none", "batch", "layer"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_a_convolving_step_is_autograds(activation: str, normalisation: str) -> None:
    shape = MAPS["an odd sequence"]
    model = cnn(shape, activation=activation, normalisation=normalisation)
    check_step(model, data(6, "classification", shape=shape))


@pytest.mark.parametrize("rows", [1, 6])
@pytest.mark.parametrize("settings", [{"kernel": 1}, {"kernel": 5}, {"dense": 4}, {"blocks": 1}], ids=str)
@pytest.mark.parametrize("kind", MAPS)
def test_maps_of_any_sides(kind: str, settings: dict[str, int], rows: int) -> None:
    check_step(cnn(MAPS[kind], **settings), data(rows, "classification", shape=MAPS[kind]))


def test_the_first_of_equal_neighbours_has_the_gradient() -> None:
    """As torch's pooling has it. Neighbours are equal, but what lies around them is not."""
    model, parts = (
        cnn((1, 8), blocks=1, normalisation="none", activation="identity"),
        data(6, "classification", shape=(1, 8)),
    )
    convolution = dict(model.named_parameters())["hidden.0.0.weight"]
    convolution.data[:, :, [0, 2]] = 0.0
    for rows in (parts.train, parts.val):
        rows.x[:] = rows.x[:, :, ::2].repeat_interleave(2, 2)
    check_step(model, parts)


@pytest.mark.parametrize(
    ("task", "weights", "smoothing"),
    [
        ("regression", None, 0.0),
        ("classification", (0.5, 1.0, 4.0), 0.0),
        ("classification", None, 0.3),
        ("classification", (0.5, 1.0, 4.0), 0.3),
    ],
)
def test_losses(task: str, weights: tuple[float, ...] | None, smoothing: float) -> None:
    torch.manual_seed(0)
    parts = data(12, task, weights)
    model = mlp(depth=1)(FEATURES, parts.problem.outputs)
    settings = Regularisation(label_smoothing=smoothing)
    ours, _ = after_a_step(model, parts, regularisation=settings)
    given = None if weights is None else torch.tensor(weights)
    data_loss(model(parts.train.x), parts.train.y, parts.problem, given, smoothing).backward()
    for name, p in model.named_parameters():
        assert p.grad is not None
        torch.testing.assert_close(ours[name], p.detach() - LR * p.grad, atol=2e-6, rtol=2e-5)


def test_functions_are_exact_to_what_a_float_holds() -> None:
    x = np.concatenate([np.linspace(-20, 20, 4001), [0.0, 1e-20, -1e-4, 80.0, -80.0]]).astype(np.float32)
    exact = torch.from_numpy(x).double()
    for ours, theirs, error in (
        (loops.exp, exact.exp(), 2e-7 * exact.exp()),
        (loops.tanh, exact.tanh(), 2e-7 * exact.tanh().abs() + 1e-30),
        (loops.sigmoid, exact.sigmoid(), 3e-7 * exact.sigmoid() + 1e-37),
        (loops.normal_cdf, torch.special.ndtr(exact), torch.tensor(3e-7)),
    ):
        found = torch.tensor([float(ours(value)) for value in x], dtype=torch.float64)
        assert bool(((found - theirs).abs() <= error).all()), ours.__name__


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_number_that_is_none_stays_so(activation: str) -> None:
    """A network that diverged must not look as if it had not."""
    z, a = np.full(40, np.nan, np.float32), np.zeros(40, np.float32)
    loops.bend(loops.ACTIVATIONS.index(activation), z, a)
    assert np.isnan(a).all()
    gradient = np.full(40, np.nan, np.float32)
    loops.clip(gradient, np.float32(0.1), np.float32(0.1))
    assert np.isnan(gradient).all()


def test_rows_may_lie_by_columns() -> None:
    """As those of a fold do, which are cut out of a table."""
    parts = data(12, "classification")
    lying = Parts(*(Placed(p.x.T.contiguous().T, p.y) for p in (parts.train, parts.val)), parts.problem)
    assert not lying.train.x.is_contiguous()
    torch.manual_seed(0)
    check_step(mlp(depth=1)(FEATURES, CLASSES), lying)


def test_divergence_is_seen(rows: Rows) -> None:
    given = recipe(mlp(activation="relu"), sgd(lr=1e6))
    ((_, ended),) = train_many([Member(0, given, 0)], rows.train, rows.val, rows.problem)
    assert isinstance(ended, Diverged)


RECIPES = {
    "sizes": recipe(mlp(width=13, depth=3, taper=0.5, dropout=0.2), adamw(weight_decay=0.1)),
    "inputs": recipe(mlp(input_dropout=0.3, activation="gelu"), sgd(nesterov=True)),
    "batch": recipe(mlp(normalisation="batch", dropout=0.1), partial(optimizers.nadam, lr=1e-3)),
    "layer": recipe(mlp(normalisation="layer", activation="tanh"), partial(optimizers.rmsprop, lr=1e-3)),
    "penalties": recipe(mlp(), adamw(), regularisation=Regularisation(l1_proximal=0.5, clip_norm=0.1, l1=1e-3)),
    "cnn": recipe(partial(CNN, blocks=2, channels=4, kernel=3, dropout=0.3, conv_dropout=0.2), adamw()),
    "dense cnn": recipe(partial(CNN, blocks=2, channels=3, kernel=5, dense=5, normalisation="layer"), sgd()),
    "noise": recipe(mlp(), sgd(), regularisation=Regularisation(gradient_noise=0.01, weight_noise=0.02)),
}


@pytest.fixture
def tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has perceptrons trained as on a GPU."""
    for room in (engine.singles, stacks):
        monkeypatch.setattr(room, "can_train", lambda *_: False)


def trained(rows: Rows, *members: Member) -> list[TrialResult]:
    found = dict(train_many(members, rows.train, rows.val, rows.problem))
    results = [found[m.number] for m in members]
    assert all(isinstance(r, TrialResult) for r in results), results
    return results  # type: ignore[return-value]


@pytest.mark.parametrize("name", RECIPES)
def test_the_tensor_program_agrees(name: str, rows: Rows, request: pytest.FixtureRequest) -> None:
    members = [Member(n, RECIPES[name], seed=n) for n in range(2)]
    ours = trained(rows, *members)
    request.getfixturevalue("tensors")
    for one, other in zip(ours, trained(rows, *members), strict=True):
        for row, same in zip(one.curves, other.curves, strict=True):
            assert row == pytest.approx(same, rel=2e-4)


@pytest.mark.parametrize("name", RECIPES)
def test_the_tensor_program_goes_on_from_a_compiled_state(
    name: str, rows: Rows, request: pytest.FixtureRequest
) -> None:
    """And so does a sweep that moves to a GPU."""
    states: list[MemberState] = []

    def pause(epoch: int, _: dict[str, float]) -> None:
        if epoch == 2:
            raise Pruned("paused")

    whole = trained(rows, Member(0, RECIPES[name], seed=7))[0]
    paused = Member(0, RECIPES[name], seed=7, on_epoch=pause, on_pruned=states.append)
    dict(train_many([paused], rows.train, rows.val, rows.problem))
    request.getfixturevalue("tensors")
    (resumed,) = trained(rows, Member(0, RECIPES[name], seed=7, start=states[0]))
    for row, same in zip(resumed.curves, whole.curves, strict=True):
        assert row == pytest.approx(same, rel=2e-4)


def test_who_trains_whom(rows: Rows, request: pytest.FixtureRequest) -> None:
    """Both tests above compare two programs, not one with itself."""

    def program() -> object:
        placed = Parts(*(Placed(torch.tensor(a.x), torch.tensor(a.y)) for a in (rows.train, rows.val)), rows.problem)
        model = mlp()(rows.problem.shape, rows.problem.outputs)
        return engine.Population([Member(0, recipe(mlp(), sgd()), 0)], [model], [placed], lambda *_: None).program

    assert isinstance(program(), Singles)
    request.getfixturevalue("tensors")
    assert isinstance(program(), Tensors)
