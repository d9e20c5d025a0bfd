"""examples/sampling.py: its effects are seen, its pictures are written, bad arguments are named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.pictures import colours

SCRIPT = Path(__file__).parents[1] / "examples" / "sampling.py"


@pytest.fixture(scope="module")
def run(example, tmp_path_factory):
    out = tmp_path_factory.mktemp("sampling")
    assert example.main(["--quick", "--out", str(out)]) == 0
    return out, json.loads((out / "sampling.json").read_text())


def series(found, title):
    panel, = [p for p in found["effects"] if p["title"][4:].startswith(title)]
    return {name: values for name, (_, values, _) in panel["series"].items()}


def test_pictures_and_numbers_are_written(run):
    out, found = run
    for name in ("estimators.png", "effects.png"):
        assert colours(out / name) > 20
    assert {row["estimator"] for row in found["estimators"]["a Bernoulli q"]} >= {
        "rebar", "gumbel-softmax", "straight-through"}
    assert sum(len({r["estimator"] for r in rows}) for rows in found["estimators"].values()) >= 10


def test_only_biased_estimators_are_flagged(run):
    flagged = {row["estimator"] for rows in run[1]["estimators"].values() for row in rows
               if row["biased"]}
    assert "straight-through" in flagged
    assert flagged <= {"straight-through", "gumbel-softmax", "score, mean"}


def test_variance_falls_as_one_over_the_number_of_draws(run):
    for values in series(run[1], "Variance falls").values():
        assert values[0] / values[-1] == pytest.approx(32, rel=0.35)


def test_the_scores_ratio_falls_with_the_dimension_and_the_paths_does_not(run):
    found = series(run[1], "The score function's noise")
    assert found["score function"][-1] < found["score function"][0] / 4
    assert found["pathwise"][-1] == pytest.approx(found["pathwise"][0], rel=0.3)


def test_iwae_drowns_and_dreg_does_not(run):
    found = series(run[1], "IWAE's encoder")
    assert found["IWAE"][-1] < found["IWAE"][1]
    assert found["DReG"][-1] > 2 * found["DReG"][1]


def test_sticking_the_landing_has_no_noise_at_the_posterior(run):
    found = series(run[1], "Sticking the landing")
    assert found["sticking the landing"][3] < 1e-20 < found["A: path and score"][3]
    assert found["sticking the landing"][0] > 1e-3


def test_neither_of_the_two_estimators_is_always_the_quieter(run):
    a, b = series(run[1], "The exact KL").values()
    assert a[0] > b[0] and a[5] < b[5]


def test_a_stopped_sample_keeps_the_decoders_gradient_alone(run):
    found = series(run[1], "A stopped sample")
    assert found["stopped"][0] == 0 < found["with the path"][0]
    assert found["stopped"][1] == found["with the path"][1]


def test_bad_arguments_are_named(example, tmp_path, capsys):
    assert example.main(["--repetitions", "7", "--out", str(tmp_path)]) == 2
    assert "at least 100" in capsys.readouterr().err
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert example.main(["--quick", "--out", str(blocked)]) == 2
    assert "can't be written" in capsys.readouterr().err
