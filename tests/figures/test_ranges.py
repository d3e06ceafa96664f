"""A knob with a range of its own under each choice."""

from pathlib import Path

from trimtab.figures.table import Knob, read_trials

CSV = """number,state,value,epochs,seed,params.lr,params.opt
0,COMPLETE,1.0,3,1,0.5,sgd
1,COMPLETE,2.0,3,2,0.001,adam
2,COMPLETE,2.0,3,3,0.002,adam
"""


def test_each_range_has_the_rows_where_it_held(tmp_path: Path) -> None:
    (tmp_path / "trials.csv").write_text(CSV)
    knobs = [
        Knob.read("lr if opt=adam", {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True, "when": {"opt": "adam"}}),
        Knob.read("lr if opt=sgd|lamb", {"kind": "float", "low": 0.1, "high": 1.0, "when": {"opt": ["sgd", "lamb"]}}),
        Knob.read("opt", {"kind": "choice", "choices": ["adam", "sgd", "lamb"]}),
    ]
    trials = read_trials(tmp_path / "trials.csv", tuple(knobs))
    assert trials[knobs[0].column].dropna().tolist() == [0.001, 0.002]
    assert trials[knobs[1].column].dropna().tolist() == [0.5]
    assert trials[knobs[2].column].tolist() == ["sgd", "adam", "adam"]
