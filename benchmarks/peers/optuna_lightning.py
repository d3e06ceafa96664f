"""Optuna + Lightning + MLFlowLogger in two processes of one thread each, which share a study and a tracking database.

As a careful user has it: TPE with its default settings (random search for works whose sampler that is) on a journal
file, the quickest of Optuna's storages for processes of one machine; the default configuration tried first; MLflow on
sqlite, initialised beforehand; one metric of each kind per epoch; the best epoch checkpointed, weights only; early
stopping that only ends a loss that is no number any more, so that all train equally long; no progress bar or summary.
https://optuna.readthedocs.io/en/stable/tutorial/10_key_features/004_distributed.html
"""

import math
import warnings
from collections.abc import Sequence
from functools import partial
from multiprocessing import get_context

import mlflow
import optuna
import pytorch_lightning as pl
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import MaxTrialsCallback
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import MLFlowLogger

from benchmarks.peers.classifier import Classifier, loaders
from benchmarks.peers.command import Ended, Job, command
from benchmarks.works import Range, Settings, Work

STUDY = "peer"


def suggest(trial: optuna.Trial, work: Work) -> Settings:
    """The trial's settings; momentum exists for SGD only."""
    settings = dict(work.first)
    for name, knob in work.knobs.items():
        if name == "optimizer.momentum" and settings["optimizer"] != "sgd":
            continue
        if isinstance(knob, Range) and knob.whole:
            settings[name] = trial.suggest_int(name, int(knob.low), int(knob.high), log=knob.log)
        elif isinstance(knob, Range):
            settings[name] = trial.suggest_float(name, knob.low, knob.high, log=knob.log)
        else:
            settings[name] = trial.suggest_categorical(name, knob.options)
    return settings


def objective(trial: optuna.Trial, job: Job) -> float:
    settings = suggest(trial, job.work)
    pl.seed_everything(trial.number, verbose=False)
    folder = job.folder / "checkpoints" / str(trial.number)
    best = ModelCheckpoint(folder, monitor="val_loss", save_weights_only=True)
    finite = EarlyStopping("val_loss", patience=job.epochs)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=job.epochs,
        logger=MLFlowLogger(STUDY, run_name=f"trial {trial.number}", tracking_uri=tracking_uri(job)),
        callbacks=[best, finite],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    model = Classifier(job.work, settings, tuple(job.data.x.shape[1:]))
    trainer.fit(model, *loaders(job.data, settings))
    return math.nan if best.best_model_score is None else best.best_model_score.item()


def tracking_uri(job: Job) -> str:
    return f"sqlite:///{job.folder}/mlflow.db"


def storage(job: Job) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(job.folder / "journal.log")))


def sampler(work: Work) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler() if work.sampler == "tpe" else optuna.samplers.RandomSampler()


def create(job: Job) -> None:
    """Study and tracking database, before two processes would create them at once."""
    study = optuna.create_study(storage=storage(job), study_name=STUDY, sampler=sampler(job.work))
    first = {name: job.work.first[name] for name in job.work.knobs if name in job.work.first}
    for settings in job.settings or [first]:
        study.enqueue_trial(dict(settings))
    mlflow.MlflowClient(tracking_uri(job)).create_experiment(STUDY, f"{job.folder}/artifacts")


def optimise(job: Job, _: int) -> None:
    """One process: goes on until both have run all trials of the study."""
    torch.set_num_threads(1)
    quiet()
    study = optuna.load_study(storage=storage(job), study_name=STUDY, sampler=sampler(job.work))
    study.optimize(partial(objective, job=job), callbacks=[MaxTrialsCallback(job.trials, states=None)])


def quiet() -> None:
    """Nobody reads what is printed here; what is not said takes no time."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric|torch|optuna")


def run(job: Job) -> Sequence[Ended]:
    # Forked: the processes share what the parent imported. The database is made in a process of its own, because
    # connections to sqlite must not be inherited.
    processes = get_context("fork")
    with processes.Pool(1) as pool:
        pool.apply(create, (job,))
    with processes.Pool(2) as pool:
        pool.map(partial(optimise, job), range(2), chunksize=1)
    trials = optuna.load_study(storage=storage(job), study_name=STUDY).trials
    done = [(t.datetime_complete, t.value, t.params) for t in trials]
    return [Ended(at.timestamp(), math.nan if v is None else v, params) for at, v, params in done if at is not None]


if __name__ == "__main__":
    command(run, repeats=True)
