"""examples/blur.py: the forward KL covers both modes, the reverse KL picks one."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

import minigrad as mg
from tests.pictures import colours

SCRIPT = Path(__file__).parents[1] / "examples" / "blur.py"


@pytest.fixture(scope="module")
def fits(example):
    return example.one_dimension()


def test_the_forward_fit_covers_both_modes_with_mass_between_and_the_reverse_fit_picks_one(fits):
    forward, best = fits["forward KL"], fits["reverse KL, best minimum"]
    assert 0.3 < forward.left < 0.7 and forward.off > 0.25
    between = norm.cdf([-0.5, 0.5], forward.mean, forward.std)  # three deviations from either mode
    assert between[1] - between[0] > 0.15
    assert best.left > 0.999 and best.off < 0.02
    assert best.mean == pytest.approx(-2, abs=0.02) and best.std == pytest.approx(0.5, abs=0.02)
    assert any(one.left < 1e-3 for name, one in fits.items() if "minimum" in name)
    assert all(forward.forward < one.forward for one in fits.values() if one is not forward)
    assert all(best.reverse < one.reverse for one in fits.values() if one is not best)


def test_the_forward_fit_has_the_moments_of_the_data_and_no_slope(example, fits):
    forward = fits["forward KL"]
    assert forward.mean == pytest.approx(-0.4)  # 0.6·(-2) + 0.4·2
    assert forward.std**2 == pytest.approx(0.5**2 + 4 - 0.4**2)
    slope = mg.grad(lambda v: example.forward_kl(v[:1], v[1:])[0])(
        np.array([forward.mean, forward.std]))
    np.testing.assert_allclose(slope, 0, atol=1e-9)


def test_the_optima_of_the_reverse_fit_are_minima(example):
    def divergence(v):
        return example.reverse_kl(v[:1], np.exp(v[1:]))[0]
    found = example.reverse_optima()
    assert len(found) == 3
    for mean, std in found:
        v = np.array([mean, math.log(std)])
        assert np.abs(mg.grad(divergence)(v)).max() < 0.05  # they are rounded to 0.01
        assert np.linalg.eigvalsh(mg.hessian(divergence)(v)).min() > 0.1


def test_divergences_and_mass_agree_with_scipy(example):
    one, x = example.fit(0.5, 0.8), np.linspace(-12, 12, 200_001)
    p = 0.6 * norm.pdf(x, -2, 0.5) + 0.4 * norm.pdf(x, 2, 0.5)
    q = norm.pdf(x, 0.5, 0.8)
    dx = x[1] - x[0]
    keep = q > 0
    assert one.reverse == pytest.approx((q * np.log(q / p))[keep].sum() * dx, rel=1e-6)
    assert one.forward == pytest.approx((p * np.log(p / q))[keep].sum() * dx, rel=1e-6)
    assert one.off == pytest.approx(q[p < 0.01 * p.max()].sum() * dx, abs=0.01)


def test_the_rings_own_share_off_the_data_is_that_of_its_radius(example):
    """p falls below 1 % of its greatest at about √(2 ln 100) standard deviations of the radius."""
    rng = np.random.default_rng(0)
    n = 100_000
    share = 2 * norm.cdf(-math.sqrt(2 * math.log(100)))
    assert example.share_off(example.ring(n, rng=rng)) == pytest.approx(share, rel=0.25)
    assert example.share_off(np.zeros((1, 2)) + 1e-6) == 1
    x = np.stack(np.meshgrid(*2 * [np.linspace(-2, 2, 801)]), -1) + 1e-9
    assert np.exp(example.log_density(x)).sum() * 0.005**2 == pytest.approx(1, abs=1e-4)


def test_numbers_and_pictures_are_written(example, tmp_path, capsys):
    assert example.main(["--quick", "--out", str(tmp_path)]) == 0
    for name in ("blur-kl.png", "blur-rings.png"):
        assert colours(tmp_path / name) > 20
    found = json.loads((tmp_path / "blur.json").read_text())
    assert len(found["rings"]) == 6
    for row in found["rings"]:
        assert row["joint"][0] == pytest.approx(row["forward"][0] + row["gap"][0], abs=1e-6)
        assert row["off"][0] == pytest.approx(np.mean(row["off_by_seed"]))
    assert "full covariance" in capsys.readouterr().out


def test_a_place_that_cannot_be_written_is_named(example, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert example.main(["--out", str(tmp_path / "file" / "below")]) == 2
    assert "blur.py: --out" in capsys.readouterr().err
