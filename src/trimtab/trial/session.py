"""A silent Lightning Trainer that leaves the process as it was."""

import logging
import resource
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException

from trimtab.data.arrays import Arrays
from trimtab.errors import ConfigError
from trimtab.trial.batches import Rows
from trimtab.trial.recipe import Device

# What Lightning says about things that we do on purpose; any other warning comes through.
_EXPECTED_WARNINGS = (
    "Found `dataloader_iter` argument",
    "You are using the `dataloader_iter` step flavor",
    "(GPU|MPS|TPU) available but not used",
    "You defined a `validation_step` but have no `val_dataloader`",  # validation is ours, by forward
    "You passed in a `val_dataloader` but have no `validation_step`",
    "Total length of `list` across ranks is zero",
    "`training_step` returned `None`",  # an error of ours says what to do
    "`LightningModule.configure_optimizers` returned `None`",  # a population's optimizers are ours
    "grad and param do not obey the gradient layout contract",  # views of one matrix, see population/flat.py
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning 2.6 on torch 2.13
)
_CHATTY = (
    "pytorch_lightning.utilities.rank_zero",
    "lightning_fabric.utilities.rank_zero",
    "pytorch_lightning.tuner.batch_size_scaling",
    "pytorch_lightning.trainer.connectors.checkpoint_connector",
)


@contextmanager
def session(epochs: int, device: Device, folder: str | None = None) -> Iterator[pl.Trainer]:
    """Gives a Trainer that keeps no files, prints nothing and runs with the device's threads.

    On leaving, threads and random numbers of the process are what they were (on MPS: not the device's numbers).

    Args:
        epochs: the most that it trains.
        device: where.
        folder: for files that Lightning itself cannot do without.

    Raises:
        ConfigError: accelerator or precision are not to be had here.
    """
    with _quiet(), threads(device.threads), flushing():
        trainer = _trainer(epochs, device, folder)
        on_cuda = trainer.strategy.root_device.type == "cuda"
        devices = range(torch.cuda.device_count()) if on_cuda else []
        with torch.random.fork_rng(devices):
            yield trainer


def _trainer(epochs: int, device: Device, folder: str | None) -> pl.Trainer:
    try:
        return pl.Trainer(
            accelerator=device.accelerator,
            devices=device.devices,
            precision=device.precision,  # type: ignore[arg-type]  # Lightning checks the name
            max_epochs=epochs,
            default_root_dir=folder,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )
    except (ValueError, MisconfigurationException) as e:
        raise ConfigError(
            f"engine.accelerator={device.accelerator} with engine.precision={device.precision} does not work here: {e}"
        ) from e


def on_device(trainer: pl.Trainer, arrays: Arrays) -> Rows:
    """Moves arrays to where the Trainer trains, in the precision that it trains in, once."""
    plugin, place = trainer.precision_plugin, trainer.strategy.root_device
    x, y = (plugin.convert_input(torch.tensor(a).to(place)) for a in (arrays.x, arrays.y))
    return Rows(x, y)


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C stays a KeyboardInterrupt: Lightning would make it `exit(1)`."""
    try:
        yield
    except SystemExit as e:
        if isinstance(e.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from e
        raise


def peak_memory_mb(device: torch.device) -> float:
    """The most memory used so far: of a CUDA device by this trial, elsewhere by the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS, KiB on Linux
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Runs torch on so many CPU threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def flushing() -> Iterator[None]:
    """Rounds numbers below 1e-38 to 0 on a CPU, as GPUs do: with them it computes up to 200 times as slowly.

    A unit that is never active any more has moments in Adam that decay to such numbers, and stay there.
    """
    before = _flushes()
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def _flushes() -> bool:
    return (torch.tensor(1e-38) * 0.1).item() == 0.0


@contextmanager
def _quiet() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in _CHATTY]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for message in _EXPECTED_WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
