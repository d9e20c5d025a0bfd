"""Anomaly scores, images of a class, and codes as bytes, against loops, scipy and closed forms."""

from __future__ import annotations

import math
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, norm

import minigrad as mg
import vae
from tests.vae.trained import train
from vae.evaluation.paths import codes, decoded
from vae.models.conditional import conditional_vae
from vae.models.pca import fit_pca
from vae.uses.anomaly import anomaly_scores, auroc, auroc_difference, share_above
from vae.uses.compression import (
    LEVELS,
    GridCoder,
    compress,
    decibels,
    decompress,
    ideal_rate,
    measure,
)
from vae.uses.entropy_coding import TOTAL, pack, unpack
from vae.uses.generation import accuracy, across_classes, class_means, neighbours_vote, variety

PIXELS, CLASSES, N = 12, 3, 240


@pytest.fixture(scope="module")
def labelled():
    """Noisy copies of one binary pattern a class, (240, 12) float32, and the labels (240,)."""
    rng = np.random.default_rng(4)
    patterns, labels = rng.integers(0, 2, (CLASSES, PIXELS)), np.arange(N) % CLASSES
    return (patterns[labels] ^ (rng.random((N, PIXELS)) < 0.06)).astype(np.float32), labels


@pytest.fixture(scope="module")
def model(labelled):
    found = vae.dense_vae(PIXELS, (16,), 3, rng=np.random.default_rng(0))
    train(found, labelled[0], epochs=12, objective=vae.elbo)
    return found


@pytest.fixture(scope="module")
def conditional(labelled):
    found = conditional_vae(PIXELS, CLASSES, (16,), 2, rng=np.random.default_rng(0))
    train(found, found.rows(*labelled), epochs=12, objective=vae.elbo)
    return found


# -- anomalies ---------------------------------------------------------------------------------
scores = st.lists(st.integers(-3, 3), min_size=2, max_size=12).map(np.array)  # with many ties


def placements(anomalies, normal):
    """ψ(a, b) of all pairs: 1, ½ or 0."""
    return np.array([[1.0 if a > b else 0.5 if a == b else 0.0 for b in normal] for a in anomalies])


@given(scores, scores)
def test_auroc_is_the_share_of_pairs_in_the_right_order_with_ties_halved(anomalies, normal):
    found, pairs = auroc(anomalies, normal), placements(anomalies, normal)
    assert found.value == pytest.approx(pairs.mean())
    u = mannwhitneyu(anomalies, normal).statistic
    assert found.value == pytest.approx(u / (len(anomalies) * len(normal)))
    variance = (np.var(pairs.mean(axis=1), ddof=1) / len(anomalies)
                + np.var(pairs.mean(axis=0), ddof=1) / len(normal))  # DeLong et al., equation 4
    assert found.standard_error == pytest.approx(math.sqrt(variance))


def test_the_error_of_auroc_is_its_spread_over_samples():
    rng = np.random.default_rng(0)
    found = [auroc(rng.normal(1, 1, 30), rng.normal(0, 2, 60)) for _ in range(500)]
    values = np.array([each.value for each in found])
    truth = norm.cdf(1 / math.sqrt(5))  # P(a > b) of two normals
    assert abs(values.mean() - truth) < 4 * values.std(ddof=1) / math.sqrt(500)
    assert np.mean([e.standard_error for e in found]) == pytest.approx(values.std(ddof=1), rel=0.1)


def test_the_error_of_a_difference_knows_that_the_data_are_the_same():
    rng = np.random.default_rng(1)
    differences, errors, apart = [], [], []
    for _ in range(150):
        a, b = rng.normal(1, 1, 40), rng.normal(0, 1, 50)
        a2, b2 = a + rng.normal(0, 0.5, 40), b + rng.normal(0, 0.5, 50)
        found = auroc_difference((a, a2), (b, b2))
        assert found.value == pytest.approx(auroc(a, b).value - auroc(a2, b2).value)
        differences.append(found.value)
        errors.append(found.standard_error)
        apart.append(math.hypot(auroc(a, b).standard_error, auroc(a2, b2).standard_error))
    assert np.mean(errors) == pytest.approx(np.std(differences, ddof=1), rel=0.15)
    assert np.mean(errors) < 0.7 * np.mean(apart)


def test_infinite_scores_have_a_rank_and_one_of_a_kind_has_no_error():
    assert auroc(np.array([np.inf]), np.array([0.0, 1.0])) == (1.0, math.inf)
    assert auroc(np.array([-np.inf, np.inf]), np.zeros(3)).value == 0.5
    assert share_above(np.array([1.0, 2.0, 2.0, 3.0]), 2.0) == 0.5
    assert share_above(np.array([1.0, 2.0]), 0.0) == 1 and share_above(np.array([1.0]), 9.0) == 0


@pytest.mark.parametrize("a, b, message", [
    ([], [1.0], r"scores of anomalies of shape \(0,\): one number"),
    ([1.0], [[1.0]], r"scores of normal data of shape \(1, 1\)"),
    ([1.0], [math.nan, 1.0], "1 of 2 scores of normal data are NaN")])
def test_scores_that_have_no_order_are_refused(a, b, message):
    with pytest.raises(ValueError, match=message):
        auroc(a, b)
    with pytest.raises(ValueError, match=r"two scores of the same data"):
        auroc_difference((np.ones(2), np.ones(3)), (np.ones(2), np.ones(2)))


def test_scores_are_of_the_exact_log_p_and_their_parts_add_up():
    rng = np.random.default_rng(0)
    exact = vae.exact.LinearGaussian(rng.normal(size=(6, 2)), np.zeros(6), 0.7)
    x = exact.likelihood(rng.normal(size=(40, 2))).sample(rng=rng)
    found = anomaly_scores(exact.with_encoder(exact.exact_posterior), x, samples=5)
    np.testing.assert_allclose(found["-log p"], -exact.log_marginal(x), rtol=1e-10)
    assert all(each.shape == (40,) and each.dtype == np.float64 for each in found.values())
    np.testing.assert_allclose(found["-elbo"], found["reconstruction"] + found["kl"], rtol=1e-10)
    q = exact.exact_posterior(x)
    np.testing.assert_allclose(found["kl"], vae.kl(q, exact.prior), rtol=1e-10)
    np.testing.assert_allclose(found["squared error"],
                               [np.sum((a - exact.weight @ m) ** 2) for a, m in zip(x, q.mean)])


def test_the_score_of_a_nan_is_refused():
    with pytest.raises(ValueError, match="1 of 1 scores of what is to be detected are NaN"):
        share_above(np.arange(3.0), np.nan)


@pytest.mark.parametrize("samples, seed", [(3, 0), (7, 4)])
def test_minus_log_p_is_that_of_so_many_importance_weights_and_this_seed(labelled, samples, seed):
    x = labelled[0][:20]
    model = vae.dense_vae(x.shape[1], (8,), 2, rng=np.random.default_rng(1))  # its q is far off
    found = anomaly_scores(model, x, samples=samples, seed=seed)["-log p"]
    expected = vae.log_likelihood(model, x, samples=samples, seed=seed, each=True)
    np.testing.assert_array_equal(found, -expected["log_likelihoods"])


def test_what_was_never_seen_scores_higher_whatever_the_blocks(labelled, model):
    rng = np.random.default_rng(0)
    noise = (rng.random((100, PIXELS)) < 0.5).astype(np.float32)
    normal, strange = (anomaly_scores(model, x, repeats=3) for x in (labelled[0], noise))
    for name in ("-log p", "-elbo", "squared error"):
        assert auroc(strange[name], normal[name]).value > 0.9
    small = anomaly_scores(model, noise, repeats=3, batch_size=100)
    assert all(np.array_equal(small[name], strange[name]) for name in small)
    pieces = anomaly_scores(model, noise, batch_size=30)
    assert pieces["kl"] == pytest.approx(strange["kl"], rel=1e-5)  # whatever the draws
    with pytest.raises(ValueError, match="repeats=0"):
        anomaly_scores(model, noise, repeats=0)


# -- images of a class ---------------------------------------------------------------------------
def test_one_code_is_shown_as_every_class(conditional):
    z = np.random.default_rng(0).standard_normal((4, 2), np.float32)
    found = across_classes(conditional, z)
    assert found.shape == (4, CLASSES, PIXELS) and isinstance(found, np.ndarray)
    for i in range(4):
        for c in range(CLASSES):
            row = np.concatenate([z[i], np.eye(CLASSES, dtype=np.float32)[c]])
            expected = mg.nn.frozen(conditional).decoder(row[None]).mean[0]
            np.testing.assert_allclose(found[i, c], expected, rtol=1e-5)
    np.testing.assert_allclose(across_classes(conditional, z, [2, 0]), found[:, [2, 0]], rtol=1e-5)


@pytest.mark.parametrize("labels", [[0, CLASSES], [-1]])
def test_labels_outside_of_the_classes_are_refused(conditional, labels):
    with pytest.raises(ValueError, match=r"labels are outside the classes.*whole numbers 0 … 2"):
        across_classes(conditional, np.zeros((1, 2), np.float32), labels)
    with pytest.raises(ValueError, match=r"outside the classes"):
        conditional.sample(labels, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"codes of shape \(1, 5\); \(n, 2\) are expected"):
        across_classes(conditional, np.zeros((1, 5)))


def test_samples_are_of_the_class_that_was_asked_for(labelled, conditional):
    x, labels = labelled
    wanted = np.arange(150) % CLASSES
    samples = mg.nn.frozen(conditional).sample(wanted, rng=np.random.default_rng(0))
    right, chance = (accuracy(neighbours_vote(samples, x, labels), y)
                     for y in (wanted, np.roll(np.repeat(np.arange(3), 50), 7)))
    assert right.value > 0.95 and abs(chance.value - 1 / 3) < 0.1
    means = class_means(x, labels, wanted)
    np.testing.assert_allclose(means[4], x[labels == 1].mean(axis=0), rtol=1e-6)
    assert variety(means, wanted) == pytest.approx(0, abs=1e-10)
    assert 0 < variety(samples, wanted) < variety(x, labels)  # these are means of p(x|z, y)


def test_neighbours_vote_as_a_loop_does():
    rng = np.random.default_rng(0)
    train_x, labels, x = rng.normal(size=(60, 3)), rng.integers(0, 4, 60), rng.normal(size=(30, 3))
    for k in (1, 2, 5):
        expected = []
        for row in x:
            near = labels[np.argsort(((train_x - row) ** 2).sum(axis=1))[:k]].tolist()
            expected.append(max(near, key=lambda c: (near.count(c), -near.index(c))))
        assert neighbours_vote(x, train_x, labels, k=k).tolist() == expected


def test_variety_and_accuracy_as_loops_do_and_what_they_refuse():
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(20, 2, 2)), rng.integers(0, 3, 20)
    expected = np.mean([np.sum((a - x[labels == c].mean(axis=0)) ** 2) for a, c in zip(x, labels)])
    assert variety(x, labels) == pytest.approx(expected)
    found = accuracy(np.array([1, 2, 3, 3]), np.array([1, 2, 3, 0]))
    assert found.value == 0.75 and found.standard_error == pytest.approx(0.25)
    with pytest.raises(ValueError, match=r"labels of shapes \(2,\) and \(3,\)"):
        accuracy(np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError, match="no data of class 7"):
        class_means(x, labels, [7])
    grey = np.array([[0, 255], [1, 254]], np.uint8)
    assert class_means(grey, np.zeros(2, int), [0]).tolist() == [[0.5, 254.5]]
    with pytest.raises(ValueError, match="20 data and labels of shape"):
        variety(x, labels[:3])
    with pytest.raises(ValueError, match="for 20 data; one whole number"):
        neighbours_vote(x, x, labels[:3])


# -- bytes ---------------------------------------------------------------------------------------
@st.composite
def tables(draw):
    """Frequencies that add up to 2¹⁶, some of them 1 and some tables of one symbol."""
    cuts = draw(st.lists(st.integers(1, TOTAL - 1), max_size=9, unique=True))
    return np.diff([0, *sorted(cuts), TOTAL])


@given(st.lists(tables(), min_size=1, max_size=4), st.integers(0, 40), st.integers(0, 2**32))
def test_any_symbols_come_back_and_take_no_more_than_they_must(frequencies, n, seed):
    rng = np.random.default_rng(seed)
    symbols = np.stack([rng.integers(0, len(f), n) for f in frequencies], axis=1)
    data = pack(symbols, frequencies)
    np.testing.assert_array_equal(unpack(data, n, frequencies), symbols)
    bits = sum(-math.log2(f[s] / TOTAL) for row in symbols for f, s in zip(frequencies, row))
    assert bits - 8 < 8 * len(data) - 32 < bits + 17  # the state begins with 32 bits


@pytest.fixture(scope="module")
def coder(labelled, model):
    return GridCoder.fitted(codes(model, labelled[0]), 0.25)


@given(st.integers(0, 2**32), st.floats(0.05, 3))
def test_codes_of_the_prior_take_the_entropy_of_the_grid(seed, step):
    """Draws of the prior, whose frequencies those of the table are but for its rounding."""
    prior = vae.Normal(np.array([0.0, 3.0]), np.array([1.0, 0.5]))
    coder = GridCoder.of_prior(prior, step)
    z = prior.sample((1500,), rng=np.random.default_rng(seed))
    k = coder.quantise(z)
    assert np.abs(coder.dequantise(k) - z).max() <= step / 2 + 1e-5
    np.testing.assert_array_equal(coder.decode(coder.encode(k)), k)
    mass = [norm(m, s).cdf((np.arange(-300, 300) + 0.5) * step) for m, s in ((0, 1), (3, 0.5))]
    p = [np.diff(each) for each in mass]
    entropy = sum(-(each[each > 0] * np.log2(each[each > 0])).sum() for each in p)
    bits = coder.bits(k)
    assert abs(bits.mean() - entropy) < 4 * bits.std() / math.sqrt(len(k)) + 0.02
    assert 8 * len(coder.encode(k)) == pytest.approx(bits.sum(), rel=0.01, abs=8 * 26)


def test_frequencies_are_whole_positive_and_of_one_sum(coder):
    for each in (coder, GridCoder.of_prior(vae.Normal.standard(3), 10 / LEVELS * 1.01)):
        assert all(f.min() >= 1 and f.sum() == TOTAL and f.dtype == np.int64
                   for f in each.frequencies)


def test_frequencies_that_were_fitted_are_those_of_the_codes():
    codes = np.array([[0.0, 5.0]] * 3 + [[1.0, 5.0]])
    coder = GridCoder.fitted(codes, 0.5)
    assert [len(f) for f in coder.frequencies] == [3, 1] and coder.low.tolist() == [0, 10]
    np.testing.assert_allclose(coder.frequencies[0] / TOTAL, [0.75, 0, 0.25], atol=1e-4)
    k = coder.quantise(np.array([[0.7, 99.0], [-9.0, 5.0]]))
    assert k.tolist() == [[1, 10], [0, 10]]  # what is beyond the grid is at its edge
    assert coder.bits(k) == pytest.approx([16.0, -math.log2(0.75)], abs=1e-3)  # the second is free


def test_a_file_is_within_one_percent_of_its_ideal_length(labelled, model, coder):
    x = np.tile(labelled[0], (40, 1))
    data = compress(model, coder, x)
    k = coder.quantise(codes(model, x))
    np.testing.assert_array_equal(coder.decode(data), k)
    assert coder.bits(k).sum() <= 8 * len(data) < 1.01 * coder.bits(k).sum()
    found = measure(model, coder, x)
    assert found.bits == 8 * len(data) / len(x) and found.ideal_bits < found.bits
    again = decompress(model, coder, data)
    np.testing.assert_allclose(again, np.clip(decoded(model, coder.dequantise(k)), 0, 1))
    assert found.mean_squared_error == pytest.approx(np.mean((x - again) ** 2), rel=1e-5)
    assert found.psnr == pytest.approx(-10 * math.log10(found.mean_squared_error))


def test_coarse_steps_save_bits_and_err_more_and_fine_ones_leave_the_error_of_the_model(
        labelled, model):
    x, z = labelled[0], codes(model, labelled[0])
    found = [measure(model, GridCoder.fitted(z, step), x) for step in (3, 1, 0.3, 0.01)]
    bits, errors = [f.ideal_bits for f in found], [f.mean_squared_error for f in found]
    assert bits == sorted(bits) and errors[0] > errors[1] > errors[3]
    exact = np.mean((x - mg.nn.frozen(model).reconstruct(x)) ** 2)
    assert errors[3] == pytest.approx(exact, rel=0.01)


def test_the_error_of_pca_is_that_of_what_it_leaves_out_and_of_the_grid():
    """Uniform errors Δ²/12 of orthonormal coefficients, if Δ is small."""
    rng = np.random.default_rng(0)
    x = np.clip(0.5 + rng.normal(0, 0.05, (2000, 6)) * np.arange(1, 7) ** 0.5, 0, 1)
    pca, step = fit_pca(x, 4), 0.02
    coder = GridCoder.fitted(pca.encode(x), step)
    left_out = np.mean((x - pca.reconstruct(x)) ** 2)
    found = measure(pca, coder, x)
    assert found.mean_squared_error == pytest.approx(left_out + 4 / 6 * step**2 / 12, rel=0.01)


def test_ideal_rate_is_the_kl_in_bits(labelled, model):
    x = labelled[0]
    found, frozen = ideal_rate(model, x, batch_size=100), mg.nn.frozen(model)
    kl = np.mean(vae.kl(frozen.posterior(x), frozen.prior))
    assert found.bits == pytest.approx(kl / math.log(2), rel=1e-5)
    means = np.mean((x - frozen.reconstruct(x)) ** 2)
    assert means < found.mean_squared_error < 2 * x.var() and decibels(0) == math.inf


# -- bytes that were damaged -----------------------------------------------------------------------
@pytest.fixture(scope="module")
def written(labelled, model, coder):
    return compress(model, coder, labelled[0])


def test_bytes_cut_short_anywhere_are_refused(coder, written):
    for n in (0, 3, 19, 20, 26, len(written) // 2, len(written) - 1):
        with pytest.raises(ValueError, match=r"truncated|begins with b'vae1'"):
            coder.decode(written[:n])


def test_any_flipped_bit_is_noticed(coder, written):
    for i in [*range(30), len(written) - 1]:
        for bit in (1, 128):
            broken = bytearray(written)
            broken[i] ^= bit
            with pytest.raises(ValueError):
                coder.decode(bytes(broken))


@pytest.mark.parametrize("change, message", [
    (lambda d: d + b"x", "something follows the codes"),
    (lambda d: b"", "0 bytes that begin with b''"),
    (lambda d: b"GIF89a" + d, "begin with b'GIF8'"),
    (lambda d: d[:-1] + bytes([d[-1] ^ 1]), "checksum of .* is wrong: they were changed")])
def test_bytes_of_something_else_are_named(coder, written, change, message):
    with pytest.raises(ValueError, match=message):
        coder.decode(change(written))


def test_codes_of_another_coder_are_named(labelled, model, coder, written):
    other = GridCoder.fitted(codes(model, labelled[0]), 0.26)
    with pytest.raises(ValueError, match="another step or other tables"):
        other.decode(written)
    with pytest.raises(ValueError, match="another step or other tables"):
        GridCoder.of_prior(vae.Normal.standard(3), 0.25).decode(written)


def test_a_stream_that_does_not_end_where_it_should_is_refused():
    table = [np.array([TOTAL // 2, TOTAL // 2])]
    data = pack(np.ones((100, 1), int), table)
    for n, message in ((99, "do not use up"), (200, "within image"), (10**12, "within image")):
        with pytest.raises(ValueError, match=message):
            unpack(data, n, table)
    with pytest.raises(ValueError, match="5 bytes: a state of 6"):
        unpack(data[:5], 1, table)


@pytest.mark.parametrize("call, message", [
    (lambda c: GridCoder.of_prior(vae.Normal.standard(2), 0.0), "step=0.0: the width"),
    (lambda c: GridCoder.of_prior(vae.Normal.standard(2), 1e-4), "levels of one dimension, at mos"),
    (lambda c: GridCoder.fitted(np.array([[np.nan]]), 1.0), r"shape \(1, 1\): finite numbers"),
    (lambda c: c.quantise(np.zeros((2, 5))), r"codes of shape \(2, 5\); \(n, 3\) are expected"),
    (lambda c: c.encode(np.zeros((2, 3))), "dtype float64; whole ones"),
    (lambda c: c.encode(np.full((2, 3), 10**6)), "outside of the grid")])
def test_what_cannot_be_coded_is_refused(coder, call, message):
    with pytest.raises(ValueError, match=message):
        call(coder)


def test_a_prior_without_a_grid_is_refused():
    with pytest.raises(TypeError, match=r"a Normal of shape .* GridCoder.fitted"):
        GridCoder.of_prior(vae.Bernoulli(np.zeros(3)), 0.1)


def test_zero_images_are_no_images_but_a_file(coder):
    empty = np.zeros((0, 3), np.int64)
    data = coder.encode(empty)
    assert len(data) == 26 and coder.decode(data).shape == (0, 3)
    assert zlib.crc32(data[:16] + data[20:]).to_bytes(4, "little") == data[16:20]
