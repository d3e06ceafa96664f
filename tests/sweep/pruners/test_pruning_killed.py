"""Real SIGKILLs of the sweeper while it prunes, pauses and repeats: the table is that of the undisturbed sweep."""

import random
import time
from pathlib import Path

import pytest
from curves_app import STEPS, write_curves_app

from trimtab.sweep.store.study import open_study

KEY = "hydra.sweeper.pruner."
WAYS = {
    "median": ["hydra/sweeper/pruner=median", f"{KEY}startup_trials=2"],
    "asha": ["hydra/sweeper/pruner=asha", f"{KEY}max_step={STEPS}"],
    "hyperband that pauses": ["hydra/sweeper/pruner=hyperband", f"{KEY}max_step={STEPS}", f"{KEY}pause=true"],
    "seeds": ["hydra.sweeper.seeds=3"],
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_killed_at_random_moments_it_resumes_to_the_same_table(tmp_path: Path, way: str) -> None:
    plain, killed = write_curves_app(tmp_path / "plain"), write_curves_app(tmp_path / "killed")
    assert plain.run(*WAYS[way]).returncode == 0
    arguments = [*WAYS[way], "hydra/sweeper/executor=processes", "hydra.sweeper.n_jobs=3", "sleep=0.05"]
    arguments.append("hydra.sweeper.max_starts=1000")
    moments = random.Random(way)
    for _ in range(6):
        with killed.start(*arguments) as process:
            time.sleep(moments.uniform(1.5, 5.0))
            process.kill()
    done = killed.run(*arguments)
    assert done.returncode == 0, done.stderr
    assert killed.table() == plain.table()
    assert [t.number for t in open_study(killed.out).trials] == list(range(14))
