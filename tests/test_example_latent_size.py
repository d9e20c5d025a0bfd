"""examples/latent_size.py: the same noise for both sizes, and what is printed of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import vae
from tests.pictures import colours

SCRIPT = Path(__file__).parents[1] / "examples" / "latent_size.py"


def test_numbers_and_a_picture_are_written(example, tmp_path, capsys):
    assert example.main(["--quick", "--epochs", "1", "--out", str(tmp_path)]) == 0
    assert colours(tmp_path / "latent_size.png") > 20
    table = json.loads((tmp_path / "latent_size.json").read_text())["table"]
    assert list(table) == ["latent 5", "latent 10", "10 less 5"]
    for row in table.values():
        assert row["elbo"][0] == pytest.approx(row["reconstruction"][0] - row["kl"][0], abs=1e-4)
    assert "2 seeds" in capsys.readouterr().out


def test_both_decode_the_same_first_numbers(example):
    seen = {}

    class Looked(vae.VAE):
        def likelihood(self, z):
            seen[z.shape[-1]] = z
            return super().likelihood(z)
    models = {}
    for n in example.SIZES:
        model = vae.dense_vae(784, (3,), n, rng=np.random.default_rng(n))
        models[n] = Looked(model.encoder, model.decoder, model.prior)
    images = example.same_noise(models, 0)
    assert {image.shape for image in images.values()} == {(64, 28, 28)}
    np.testing.assert_array_equal(seen[5], seen[10][:, :5])


def test_errors_are_over_seeds_and_of_the_difference_pair_by_pair(example):
    def rows(*values):
        return [dict.fromkeys(example.PARTS, value) for value in values]
    found = example.compared({5: rows(1.0, 3.0), 10: rows(2.0, 5.0)})
    assert found["latent 5"]["elbo"] == pytest.approx([2, 1])
    assert found["10 less 5"]["elbo"] == pytest.approx([1.5, 0.5])


@pytest.mark.parametrize("arguments, text", [
    (["--seeds", "1"], "give 2 or more"), (["--epochs", "0"], "'0' is no whole number")])
def test_arguments_that_cannot_be_are_named(example, arguments, text, capsys):
    with pytest.raises(SystemExit):
        example.main(arguments)
    assert text in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_named(example, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert example.main(["--out", str(tmp_path / "file" / "below")]) == 2
    assert "latent_size.py: --out" in capsys.readouterr().err
