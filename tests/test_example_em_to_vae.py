"""examples/em_to_vae.py: what it prints and writes, and how it refuses."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

SCRIPT = Path(__file__).parents[1] / "examples" / "em_to_vae.py"
SMALL = ["--data", "60", "--steps", "12"]


@pytest.fixture(scope="module")
def ran(example, tmp_path_factory):
    """The code, the folder and what was printed, of one small run."""
    import contextlib
    import io
    out, text = tmp_path_factory.mktemp("em"), io.StringIO()
    with contextlib.redirect_stdout(text):
        code = example.main([*SMALL, "--out", str(out)])
    return code, out, text.getvalue()


def test_a_table_and_a_picture(ran, example):
    code, out, text = ran
    assert code == 0 and [p.name for p in out.iterdir()] == ["em_to_vae.png"]
    assert min(imread(out / "em_to_vae.png").shape[:2]) > 500
    assert str(out / "em_to_vae.png") in text and "nats per datum" in text.splitlines()[0]
    rows = re.findall(r"^  (.+?) +(-[\d.]+) -> *(-[\d.]+) +(-[\d.]+) +(\S+) +(\S+)$", text, re.M)
    assert [row[0] for row in rows] == [*2 * [example.EXACT, example.FREE, example.ENCODER],
                                        example.BOTH, example.NO_Q, example.NO_MODEL]
    for name, first, last, elbo, gap, largest in rows:
        first, last, elbo, gap, largest = map(float, (first, last, elbo, gap, largest))
        assert last - elbo == pytest.approx(gap, rel=0.05, abs=1e-4) and gap <= largest
        assert first == last if name == example.NO_MODEL else first < last


def test_the_panels_hold_the_traces_of_the_models(example):
    args = example.parse(["--quick", *SMALL])
    start, x, traces, reference = example.study("pca", args)
    assert x.shape == (60, 6) and start.weight.shape == (6, 2)
    best = max(point.log_likelihood for trace in traces.values() for point in trace)
    assert best <= reference  # the maximum is the maximum
    assert [trace[-1].step for trace in traces.values()] == 3 * [12]
    first = [trace[0].log_likelihood for trace in traces.values()]
    np.testing.assert_allclose(first, first[0], rtol=1e-12)  # all begin at the same model


def test_the_same_seed_gives_the_same_traces(example):
    def trace(seed):
        return example.study("mixture", example.parse([*SMALL, "--seed", seed]))[2]
    assert trace("3") == trace("3") != trace("4")


def test_quick_is_quick(example, monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(example, "study", lambda kind, args: seen.append(args) or (0, 0, {}, 0.0))
    monkeypatch.setattr(example, "held", lambda *args: {})
    monkeypatch.setattr("vae.figures.em_traces", lambda *args: None)
    assert example.main(["--quick", "--out", str(tmp_path)]) == 0
    assert {(args.data, args.steps) for args in seen} == {(100, 15)}


@pytest.mark.parametrize("options", [["--steps", "0"], ["--data", "9"], ["--lr", "nan"],
                                     ["--seed", "-1"]])
def test_numbers_that_cannot_be_are_refused(example, capsys, options):
    with pytest.raises(SystemExit) as error:
        example.main(options)
    assert error.value.code == 2 and options[0] in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_found_first(example, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(example, "study", None)
    (tmp_path / "file").write_text("mine")
    assert example.main(["--out", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.startswith(f"em_to_vae.py: --out {tmp_path / 'file'} can't be")


def test_a_rate_at_which_all_diverges_is_named(example, tmp_path, capsys):
    assert example.main(["--quick", "--lr", "100", "--out", str(tmp_path)]) == 2
    assert "try a smaller --lr than 100" in capsys.readouterr().err
