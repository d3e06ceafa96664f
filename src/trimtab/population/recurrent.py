"""torch's GRU, written out step by step: its fused kernel can't be mapped over members."""

import torch
from torch import Tensor, nn


class Unrolled(nn.Module):
    """What one layer of `nn.GRU` computes, with parameters of the same names.

    One matrix product serves the inputs of all steps; what is left per step is one product with the state.

    Args:
        layer: of one layer, batch first; its parameters are shared.
    """

    def __init__(self, layer: nn.GRU) -> None:
        super().__init__()
        self._directions = ["", "_reverse"] if layer.bidirectional else [""]
        for name, parameter in layer.named_parameters():
            self.register_parameter(name, parameter)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, length, channels) → (batch, length, directions · width), last (directions, batch, width)."""
        read = [self._read(x.flip(1) if suffix else x, suffix) for suffix in self._directions]
        outputs = [states.flip(1) if suffix else states for suffix, states in zip(self._directions, read, strict=True)]
        return torch.cat(outputs, 2), torch.stack([states[:, -1] for states in read])

    def _read(self, x: Tensor, suffix: str) -> Tensor:
        """(batch, length, width) states, in the order of reading (the formulas of torch's documentation of GRU)."""
        given = nn.functional.linear(x, getattr(self, f"weight_ih_l0{suffix}"), getattr(self, f"bias_ih_l0{suffix}"))
        weight, bias = (getattr(self, f"{kind}_hh_l0{suffix}") for kind in ("weight", "bias"))
        width = weight.shape[1]
        state, states = x.new_zeros(len(x), width), []
        for step in given.unbind(1):
            old = nn.functional.linear(state, weight, bias)
            reset, update = (step[:, : 2 * width] + old[:, : 2 * width]).sigmoid().chunk(2, 1)
            new = torch.tanh(step[:, 2 * width :] + reset * old[:, 2 * width :])
            state = torch.lerp(new, state, update)
            states.append(state)
        return torch.stack(states, 1)


def unroll(module: nn.Module) -> None:
    """Replaces each GRU inside `module` that can be: of one layer, batch first."""
    for path, layer in list(module.named_modules()):
        if isinstance(layer, nn.GRU) and layer.num_layers == 1 and layer.batch_first and layer.bias:
            parent, _, name = path.rpartition(".")
            setattr(module.get_submodule(parent), name, Unrolled(layer))
