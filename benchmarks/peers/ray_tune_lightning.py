"""Ray Tune + Lightning on two cores, one per trial, metrics reported after each validation; no MLflow.

Ray's defaults: a fresh process for each trial (`--reuse-actors` keeps them), Tune's own JSON and CSV files per trial,
no scheduler. TPE through `OptunaSearch` for works whose sampler that is, else Tune's own random search; the default
configuration first. Early stopping as in the other peer, only for a loss that is no number any more. Nothing is
checkpointed: Ray's documentation does, at each epoch, which would only be slower.
https://docs.ray.io/en/latest/tune/api/doc/ray.tune.integration.pytorch_lightning.TuneReportCheckpointCallback.html
"""

import logging
import math
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import ray
from pytorch_lightning.callbacks import EarlyStopping
from ray import tune
from ray.tune.integration.pytorch_lightning import TuneReportCheckpointCallback
from ray.tune.search import BasicVariantGenerator
from ray.tune.search.optuna import OptunaSearch

from benchmarks.peers.classifier import Classifier, loaders
from benchmarks.peers.command import Ended, Job, command
from benchmarks.works import Range, Settings, Work


def space(work: Work) -> dict[str, Any]:
    """The work's knobs as Tune's domains; Tune knows no conditions, so momentum is drawn for AdamW too."""
    return {
        name: _domain(knob) if isinstance(knob, Range) else tune.choice(list(knob.options))
        for name, knob in work.knobs.items()
    }


def _domain(knob: Range) -> Any:
    if knob.whole:
        make = tune.lograndint if knob.log else tune.randint
        return make(int(knob.low), int(knob.high) + 1)
    return (tune.loguniform if knob.log else tune.uniform)(knob.low, knob.high)


def train(config: Settings, job: Job) -> None:
    """One trial, in a process of Ray's."""
    settings = {**job.work.first, **config}
    report = TuneReportCheckpointCallback({"val_loss": "val_loss"}, save_checkpoints=False, on="validation_end")
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=job.epochs,
        logger=False,
        callbacks=[report, EarlyStopping("val_loss", patience=job.epochs)],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    model = Classifier(job.work, settings, tuple(job.data.x.shape[1:]))
    trainer.fit(model, *loaders(job.data, settings))


def run(job: Job) -> Sequence[Ended]:
    ray.init(num_cpus=2, logging_level=logging.ERROR)
    first = [{name: job.work.first.get(name, 0.0) for name in job.work.knobs}]
    search = (
        OptunaSearch(points_to_evaluate=first)
        if job.work.sampler == "tpe"
        else BasicVariantGenerator(points_to_evaluate=first)
    )
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(train, job=job), {"cpu": 1}),
        param_space=space(job.work),
        tune_config=tune.TuneConfig(
            metric="val_loss",
            mode="min",
            num_samples=job.trials,
            search_alg=search,
            reuse_actors="reuse-actors" in job.switches,
        ),
        run_config=tune.RunConfig(storage_path=str(job.folder), name="peer", verbose=0),
    )
    results = tuner.fit()
    ray.shutdown()
    return [_ended(results[i]) for i in range(len(results))]


def _ended(result: tune.Result) -> Ended:
    if result.error is not None or result.metrics is None or result.metrics_dataframe is None:
        raise SystemExit(f"a trial of Ray Tune failed: {result.error}")
    losses = result.metrics_dataframe["val_loss"].dropna().tolist()
    return Ended(result.metrics["timestamp"], min(losses, default=math.nan), result.config or {})


if __name__ == "__main__":
    command(run, switches=("reuse-actors",))
