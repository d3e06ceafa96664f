"""params.yaml, overrides, and the messages of what cannot be composed."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.utils import instantiate

from projects import Project
from trimtab import config
from trimtab.data.arrays import Arrays, Problem
from trimtab.errors import ConfigError
from trimtab.overrides import overrides, standing_overrides
from trimtab.stages import unpack
from trimtab.stages.train import task
from trimtab.trial.train import Device, train

CONF = Path(__file__).parents[1] / "conf"


def texts(written: str, tmp_path: Path) -> list[str]:
    file = tmp_path / "params.yaml"
    file.write_text(written)
    return [o.text for o in standing_overrides(file)]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("", []),
        ("model: mlp", ["model=mlp"]),
        ("seed: 3", ["seed=3"]),
        ("set: {optimizer: {lr: 1e-3}}", ["optimizer.lr=1e-3"]),
        ("tracking.uri: null", []),
        ("budget: {trials: 8}", ["budget.trials=8"]),
        ("set: {optimizer: {lr: 0.003}}", ["optimizer.lr=0.003"]),
        ("set: {optimizer: {lr: null}}", []),
        ("set: {data: {path: 'my file, v2.csv'}}", ["data.path='my file, v2.csv'"]),
        ('set: {data: {path: "it\'s.csv"}}', ["data.path='it\\'s.csv'"]),
        ("set: {data: {target: Größe}}", ["data.target='Größe'"]),
        ("set: {data: {numeric: [größe, alter]}}", ["data.numeric=['größe',alter]"]),
        ("set: {optimizer: {betas: [0.8, 0.99]}}", ["optimizer.betas=[0.8,0.99]"]),
        ("sweep: {dry_run: true}", ["sweep.dry_run=true"]),
        ("hydra/sweeper/sampler: random", ["hydra/sweeper/sampler=random"]),
    ],
)
def test_params_become_overrides(written: str, expected: list[str], tmp_path: Path) -> None:
    assert texts(written, tmp_path) == expected


@pytest.mark.parametrize(
    "value",
    [
        "plain",
        "with space",
        "it's",
        'quote"',
        "a,b",
        "x=y",
        "[1]",
        "true",
        "1e3",
        "~",
        "",
        "a\\b",
        "\\",
        "\\'",
        "C:\\x\\",
    ],
)
def test_text_survives_the_override_grammar(value: str, tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(f"set: {{data: {{target: {json.dumps(value)}}}}}")
    (override,) = overrides([], file)
    assert not override.swept
    assert override.parsed.value() == value


def test_last_value_of_a_key_counts_swept_or_not(project: Project) -> None:
    given = overrides(["optimizer.lr=0.1", "model=linear", "optimizer.lr=0.2,0.3"])
    assert [o.text for o in given if o.key == "optimizer.lr"] == ["optimizer.lr=0.2,0.3"]
    assert [o.text for o in given if o.key == "model"] == ["model=linear"]
    assert config.compose(given).optimizer.lr == 0.001  # swept ones are left to the sweeper


def test_a_typed_experiment_wins_over_params(project: Project) -> None:
    project.set_params(data="digits", model="mlp", set={"optimizer": {"lr": 0.3}, "model": {"activation": "tanh"}})
    cfg = config.compose(overrides(["experiment=exam_first_net", "training.epochs=2"]))
    assert (cfg.data.name, cfg.optimizer.lr, cfg.training.epochs) == ("exam", 0.5, 2)
    assert cfg.model.activation == "tanh"
    project.set_params(experiment="exam_first_net", data="digits")
    assert config.compose(overrides([])).data.name == "digits"


def test_command_line_wins_over_params(project: Project) -> None:
    project.set_params(set={"optimizer": {"lr": 0.5}})
    assert config.compose(overrides([])).optimizer.lr == 0.5
    assert config.compose(overrides(["optimizer.lr=0.25"])).optimizer.lr == 0.25


@pytest.mark.parametrize(
    ("typed", "fragments"),
    [
        (["model=mpl"], ["model=mpl", "command line", "no option 'mpl'", "did you mean 'mlp'? There are: cnn,"]),
        (["data=r2"], ["conf/data has no option 'r2'; there are: breast_cancer, csv,"]),
        (["model.widht=3"], ["model.widht", "no key", "did you mean 'model.width'"]),
        (["model.depth=deep"], ["model.depth=deep", "could not be converted to Integer"]),
        (["training.epochs=1.5"], ["training.epochs=1.5", "Integer"]),
        (
            ["optimizer.momentum=0.9"],
            ["no key 'optimizer.momentum'; there is one with optimizer=sgd, which must be set"],
        ),
        (["model.blocks=2"], ["no key 'model.blocks'; there is one with model=cnn, which must be set, too"]),
        (["modle=mlp"], ["modle=mlp", "did you mean 'model"]),
        (["data=csv"], ["data.path", "needs one"]),
        (["optimizer.lr="], ["optimizer.lr"]),
        (["model=mlp,"], ["model=mlp,"]),
        (["model=linear", "model.width=3"], ["model.width", "no key"]),
        (["optimizer=adamw", "optimizer.momentum=0.5"], ["optimizer.momentum", "no key"]),
        (["budget.trials=0"], ["budget.trials must be at least 1 but is 0 (the command line)"]),
        (["sweep.workers=-2"], ["sweep.workers must be at least 1 but is -2"]),
        (["select.seeds=0"], ["select.seeds must be at least 1"]),
        (["evaluate.resamples=0"], ["evaluate.resamples must be at least 1"]),
        (["seed=-1"], ["seed must be at least 0"]),
        (["tracking.trials=some"], ["tracking.trials must be 'all' or a positive number but is 'some'"]),
        (["hydra/sweeper/sampler=tpee"], ["hydra/sweeper/sampler", "did you mean 'tpe'"]),
    ],
)
def test_bad_overrides_name_the_culprit(typed: list[str], fragments: list[str], project: Project) -> None:
    with pytest.raises(ConfigError) as error:
        config.compose(overrides(typed))
    assert all(fragment in str(error.value) for fragment in fragments), str(error.value)


@pytest.mark.parametrize(
    ("typed", "quoted"),
    [
        ("data.path=../data/Größe.csv", "data.path='../data/Größe.csv'"),
        ("data.target=Größe in cm", "data.target='Größe in cm'"),
        ("data.numeric=[alter, größe]", "data.numeric=[alter, 'größe']"),
        ("data.target=choice(größe,y)", "data.target=choice('größe',y)"),
        ("data.path=a&b.csv", "data.path='a&b.csv'"),
    ],
)
def test_text_that_needs_quotes_is_shown_in_quotes(typed: str, quoted: str, project: Project) -> None:
    with pytest.raises(ConfigError) as error:
        overrides([typed])
    assert f"cannot read '{typed}' (the command line)" in str(error.value)
    assert f'type "{quoted}"' in str(error.value)
    assert overrides([quoted])


@pytest.mark.parametrize("typed", ["data.größe=3", "data.path='a.csv", "data.numeric=[a,b", "größe"])
def test_no_quotes_are_shown_where_they_do_not_help(typed: str, project: Project) -> None:
    with pytest.raises(ConfigError, match="cannot read") as error:
        overrides([typed])
    assert "quotes" not in str(error.value)


def test_errors_of_params_name_the_line(project: Project) -> None:
    (project.root / "params.yaml").write_text("data: digits\nset:\n  model:\n    widht: 3\n")
    with pytest.raises(ConfigError, match=r"params.yaml line 4.*did you mean 'model.width'"):
        config.compose(overrides([]))


@pytest.mark.parametrize("text", ["model: [", "- a\n- b\n"])
def test_damaged_params(text: str, project: Project) -> None:
    (project.root / "params.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"params.yaml"):
        overrides([])


@pytest.mark.parametrize(
    ("file", "content", "typed", "said"),
    [
        (
            "training/default.yaml",
            "epochz: 4\n",
            [],
            "conf/training/default.yaml: training.epochz: Key 'epochz' not in",
        ),
        ("model/mlp.yaml", "a: [1,\nb: 2\n", [], "conf/model/mlp.yaml, line 3: expected ',' or ']'"),
        ("model/mlp.yaml", "depth: 2\ndepth: 3\n", [], "conf/model/mlp.yaml, line 2: found duplicate key depth"),
        (
            "model/mine.yaml",
            "depth: [1\n",
            ["model=mine"],
            "'model=mine' (the command line): conf/model/mine.yaml, line 2",
        ),
        (
            "model/mine.yaml",
            "defaults: [schema]\n",
            ["model=mine"],
            "conf/model/mine.yaml: conf/model has no option 'schema'",
        ),
        (
            "model/mine.yaml",
            "a: ${no.where}\n",
            ["model=mine"],
            "model.a is ${no.where}: Interpolation key 'no.where' not",
        ),
        ("model/mine.yaml", "a: ${no:3}\n", ["model=mine"], "model.a is ${no:3}: Unsupported interpolation type no"),
        ("experiment/mine.yaml", "a: [1\n", ["experiment=mine"], "conf/experiment/mine.yaml, line 2: expected"),
        (
            "search/mlp.yaml",
            "knobs:\n  - model.depth\n",
            [],
            "conf/search/mlp.yaml: Cannot merge DictConfig with ListConfig",
        ),
        ("config.yaml", "seed: [1\n", [], "conf/config.yaml, line 2: expected"),
        ("config.yaml", None, [], "there is no conf/config.yaml"),
        ("training/default.yaml", None, [], "conf/config.yaml: conf/training has no option 'default'"),
    ],
)
def test_bad_files_are_named(file: str, content: str | None, typed: list[str], said: str, project: Project) -> None:
    path = project.root / "conf" / file
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    with pytest.raises(ConfigError) as error:
        config.compose(overrides(typed))
    assert said in str(error.value)


def test_a_file_that_is_no_text_is_named(project: Project) -> None:
    (project.root / "conf" / "model" / "mlp.yaml").write_bytes(b"\xff\xfe\0")
    with pytest.raises(ConfigError, match=r"conf/model/mlp.yaml: no text in UTF-8"):
        config.compose(overrides([]))


def test_a_key_of_the_sweeper_that_a_file_mistypes_is_named(project: Project) -> None:
    path = project.root / "conf" / "config.yaml"
    path.write_text(path.read_text().replace("    n_trials:", "    n_trails: 3\n    n_trials:"))
    for flags in ((), ("--cfg", "job")):
        done = project.python("trimtab.stages.sweep", *flags)
        assert done.returncode == 2
        assert "conf/config.yaml: hydra.sweeper.n_trails: Key 'n_trails' not in" in done.stderr
        assert "Traceback" not in done.stderr


def test_what_has_meaning_in_a_running_job_only_is_no_mistake(project: Project) -> None:
    (project.root / "conf" / "model" / "mine.yaml").write_text("a: ${hydra:job.num}\nb: ${model.a}\n")
    assert config.compose(overrides(["model=mine"])).hydra.runtime.choices.model == "mine"


def test_a_model_that_says_nowhere_what_builds_it(project: Project) -> None:
    (project.root / "conf" / "model" / "mine.yaml").write_text("depth: 2\n")
    with pytest.raises(ConfigError, match=r"model says nowhere what builds it; write `_target_: module.name`"):
        unpack.recipe(config.compose(overrides(["model=mine"])))


@pytest.mark.parametrize("target", ["trimtab.models.linear.Linear", "torch.nn.Linear"])
def test_a_model_that_is_to_be_built_before_there_are_data(project: Project, target: str) -> None:
    (project.root / "conf" / "model" / "mine.yaml").write_text(f"_target_: {target}\n")
    with pytest.raises(ConfigError, match=r"missing 2 required .*write `_partial_: true` into its file of conf/model"):
        unpack.recipe(config.compose(overrides(["model=mine"])))


@pytest.mark.parametrize("door", ["prepare", "train", "sweep", "select", "evaluate", "report"])
def test_doors_exit_2_without_traceback(door: str, project: Project) -> None:
    done = project.python(f"trimtab.stages.{door}", "model.widht=3")
    assert done.returncode == 2
    assert "did you mean 'model.width'" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert not (project.root / "results").exists()


def test_several_values_need_a_sweep(project: Project) -> None:
    project.stage("prepare", "optimizer.lr=0.1,0.01")  # what `make sweep ARGS=…` tells it
    assert project.python("trimtab.stages.prepare", "data=digits,wine").returncode == 2
    done = project.python("trimtab.stages.train", "optimizer.lr=0.1,0.01")
    assert done.returncode == 2
    assert "'optimizer.lr=0.1,0.01' (the command line) names several values" in done.stderr


@pytest.mark.slow
def test_a_study_typed_by_hand(project: Project) -> None:
    project.stage("prepare")
    typed = ["--multirun", "optimizer.lr=0.1,0.01", "hydra/sweeper/sampler=grid", "hydra/sweeper/executor=inline"]
    done = project.stage("train", *typed, "tracking=none", "training.epochs=1")
    assert "best" in done.stdout
    (table,) = (project.root / "runs").glob("*/trials.csv")
    assert sorted(line.split(",")[-1] for line in table.read_text().splitlines()[1:]) == ["0.001", "0.01", "0.1"]


def test_hydras_own_flags(project: Project) -> None:
    for door in ("sweep", "train", "prepare"):
        shown = project.stage(door, "--cfg", "job", "-p", "budget", "budget.trials=7")
        assert "trials: 7" in shown.stdout


OPTIONS = [
    f"{group}={path.stem}"
    for group in sorted(
        path.name for path in CONF.iterdir() if path.is_dir() and path.name not in ("defaults", "hydra")
    )
    for path in sorted((CONF / group).glob("*.yaml"))
]


# Nine examples of three classes, each a sequence: what every family takes.
SEQUENCES = Problem("classification", (1, 16), 3, ("a", "b", "c"), 0.0, 1.0, None)
NINE = Arrays(np.random.default_rng(0).standard_normal((9, 1, 16)).astype(np.float32), np.arange(9) % 3)


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_composes_and_trains_a_step(option: str, project: Project) -> None:
    (project.root / "params.yaml").write_text("")
    more = ["data.path=x.csv", "data.target=y"] if option in ("data=csv", "data=parquet", "data=image_folder") else []
    cfg = config.compose(overrides([option, *more]))
    assert callable(instantiate(cfg.data.source))
    recipe = replace(unpack.recipe(cfg), epochs=1, batch_size="all", patience_epochs=None)
    result = train(recipe, NINE, NINE, SEQUENCES, 0, Device("cpu"))
    assert (result.steps, result.batch_size) == (1, 9)
    assert result.parameters > 0


def test_every_value_in_conf_says_what_turning_it_does() -> None:
    """A knob without a trailing comment is a knob that nobody can turn with reason."""
    bare = []
    for group in ("augmentation", "model", "optimizer", "regularisation", "schedule", "training", "engine"):
        for path in sorted((CONF / group).glob("*.yaml")):
            for line in path.read_text().splitlines():
                key = line.partition(":")[0]
                if line and line[0].isalpha() and not key.startswith("defaults") and "#" not in line:
                    bare.append(f"{path.name}: {line}")
    assert not bare


def test_what_was_rehearsed_is_not_composed_again(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["sweep.dry_run=true", "engine=population"]
    with config.application(task) as app:
        config.rehearse(app, argv)
        monkeypatch.setattr(ConfigLoaderImpl, "load_sweep_config", None)
        config.run(task, argv, multirun=True, app=app)
    assert "model.width" in capsys.readouterr().out


def test_what_is_wrong_is_left_to_the_run(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["sweep.dry_run=true", "model.widht=1,2"]
    with config.application(task) as app:
        config.rehearse(app, argv)
        with pytest.raises(SystemExit):
            config.run(task, argv, multirun=True, app=app)
    assert "did you mean 'model.width'" in capsys.readouterr().err
