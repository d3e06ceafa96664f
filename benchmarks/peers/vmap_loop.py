"""A hand-written `torch.func` loop in two processes of one thread each, as PyTorch's tutorial on model ensembling goes.

Stacked parameters, `vmap` over `grad`, an AdamW whose rate and decay are a column per member; no search, no tracking,
no files, and nobody leaves a stack. https://docs.pytorch.org/tutorials/intermediate/ensembling.html
"""

import copy
import time
from collections.abc import Sequence
from functools import partial
from multiprocessing import get_context

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, grad, stack_module_state, vmap

from benchmarks.peers.command import Ended, Job, command
from benchmarks.works import Settings, network

Tensors = dict[str, Tensor]


class AdamW:
    """torch's AdamW for stacked parameters, each of (members, …)."""

    def __init__(self, parameters: Tensors, lr: Tensor, weight_decay: Tensor) -> None:
        self.parameters = parameters
        self.lr = {name: _column(lr, p) for name, p in parameters.items()}
        self.kept = {name: _column(1 - lr * weight_decay, p) for name, p in parameters.items()}
        self.mean = {name: torch.zeros_like(p) for name, p in parameters.items()}
        self.square = {name: torch.zeros_like(p) for name, p in parameters.items()}
        self.steps = 0

    def step(self, gradients: Tensors) -> None:
        """Moves all members by one step, in place."""
        self.steps += 1
        first, second = 1 - 0.9**self.steps, 1 - 0.999**self.steps
        for name, p in self.parameters.items():
            g, mean, square = gradients[name], self.mean[name], self.square[name]
            mean.lerp_(g, 0.1)
            square.mul_(0.999).addcmul_(g, g, value=0.001)
            scale = square.sqrt().div_(second**0.5).add_(1e-8)
            p.mul_(self.kept[name]).sub_((mean / scale).mul_(self.lr[name] / first))


def _column(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.dim() - 1))


def train(job: Job, members: Sequence[Settings]) -> list[Ended]:
    x, y, val_x, val_y = job.data.tensors
    torch.manual_seed(0)
    models = [network(job.work, settings, tuple(x.shape[1:])) for settings in members]
    stacked, buffers = stack_module_state(models)
    parameters = {name: p.detach() for name, p in stacked.items()}
    base = copy.deepcopy(models[0]).to("meta")

    def outputs(parameters: Tensors, buffers: Tensors, x: Tensor) -> Tensor:
        found: Tensor = functional_call(base, (parameters, buffers), (x,))
        return found

    def loss(parameters: Tensors, buffers: Tensors, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(outputs(parameters, buffers, x), y)

    gradients, predictions = vmap(grad(loss)), vmap(outputs, in_dims=(0, 0, None))
    lr, decay = (torch.tensor([s[name] for s in members]) for name in ("optimizer.lr", "optimizer.weight_decay"))
    adamw = AdamW(parameters, lr, decay)
    size, best = members[0]["training.batch_size"], torch.full((len(members),), torch.inf)
    for _ in range(job.epochs):
        base.train()
        order = torch.stack([torch.randperm(len(x)) for _ in members])
        for xs, ys in zip(torch.split(x[order], size, 1), torch.split(y[order], size, 1), strict=True):
            adamw.step(gradients(parameters, buffers, xs, ys))
        base.eval()
        with torch.no_grad():
            found = predictions(parameters, buffers, val_x)
            losses = F.cross_entropy(found.transpose(1, 2), val_y.expand(len(members), -1), reduction="none").mean(1)
            (found.argmax(2) == val_y).float().mean(1)
        best = torch.fmin(best, losses)
    return [Ended(time.time(), value) for value in best.tolist()]


def run(job: Job) -> Sequence[Ended]:
    settings = list(job.work.draws(job.trials))
    stacks = max(2, -(-job.trials // job.at_once))
    with get_context("fork").Pool(2, torch.set_num_threads, (1,)) as pool:
        ended = pool.map(
            partial(train, job), [settings[i::stacks] for i in range(min(stacks, job.trials))], chunksize=1
        )
    return [end for stack in ended for end in stack]


if __name__ == "__main__":
    command(run, works="BCD")
