"""Trials that ran out of memory: how to know them, and what to say of them."""

from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

from trimtab.sweep.executors.machine import peak_memory

SAYINGS = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")
BATCH = ("batch_size", "batchsize", "batch", "per_device_train_batch_size")


def ran_out(error: BaseException) -> bool:
    """Whether an exception says so: Python's, or torch's, whose type differs by device and version."""
    name = type(error).__name__
    if isinstance(error, MemoryError) or name == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError | OSError) and any(saying in text for saying in SAYINGS)


def complaint(cfg: DictConfig) -> str:
    """The reason of a trial that ran out of memory: the peak, and the batch size if the configuration has one."""
    found = next(_batch_sizes("", OmegaConf.to_container(cfg, resolve=False)), None)
    with_what = f" with {found[0]}={found[1]}" if found else ""
    less = "take a smaller batch, or fewer workers" if found else "take a smaller model, or fewer workers"
    return f"out of memory at a peak of {peak_memory() / 2**30:.2f} GiB{with_what}; {less}"


def _batch_sizes(prefix: str, node: Any) -> Iterator[tuple[str, Any]]:
    """Leaves named so, by dotted key; not those below `hydra`."""
    for key, value in node.items() if isinstance(node, dict) else ():
        path = f"{prefix}{key}"
        if isinstance(value, dict):
            if path != "hydra":
                yield from _batch_sizes(f"{path}.", value)
        elif str(key).lower() in BATCH:
            yield path, value
