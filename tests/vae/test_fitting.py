"""Parts of a model that don't fit each other are named when it is made, not in its first step."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import vae
from minigrad import nn
from vae import flows, models, networks, posteriors, priors

N_X, N_Z = 12, 3


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def parts(rng):
    """encoder, decoder and prior of a model that fits."""
    model = vae.dense_vae(N_X, (5,), N_Z, rng=rng)
    return model.encoder, model.decoder, model.prior


def test_a_prior_of_another_code_is_named_with_both_shapes(parts):
    with pytest.raises(ValueError, match=r"VAE: the decoder can't take a code of the prior, a Nor"
                                         r"mal of shape \(4,\).*Dense\(3, 5\).*\(1, 4\)"):
        vae.VAE(*parts[:2], vae.Normal.standard(4))


def test_a_posterior_of_another_code_is_named_with_both_shapes(parts, rng):
    encoder = networks.dense([N_X, 5, 4], networks.ToNormal, rng=rng)
    with pytest.raises(ValueError, match=r"q\(z\|x\) is of another code than the prior: a Normal "
                                         r"of shape \(4,\), and a Normal of shape \(3,\)"):
        vae.VAE(encoder, *parts[1:])


def test_a_likelihood_of_other_data_than_the_encoder_takes_is_named(parts, rng):
    decoder = networks.dense([N_Z, 5, N_X + 1], networks.ToBernoulli, rng=rng)
    with pytest.raises(ValueError, match=r"the encoder can't take x as the likelihood describes "
                                         r"it, a Bernoulli of shape \(13,\).*Dense\(12, 5\)"):
        vae.VAE(parts[0], decoder, parts[2])


@pytest.mark.parametrize("prior", [
    vae.Exponential(np.ones(N_Z, np.float32)),
    vae.Uniform(np.zeros(N_Z, np.float32), np.ones(N_Z, np.float32))], ids=["half line", "box"])
def test_a_posterior_that_leaves_the_support_of_the_prior_is_named(parts, prior):
    with pytest.raises(ValueError, match="a Normal.*is on all real numbers, and the prior, an? "
                                         f"{type(prior).__name__}.*infinite.*same support"):
        vae.VAE(*parts[:2], prior)


@pytest.mark.parametrize("place, who", [(0, "encoder gave"), (1, "decoder gave"), (2, "prior is")])
def test_what_is_no_distribution_is_named(parts, place, who):
    given = list(parts)
    given[place] = np.zeros(3) if who == "prior is" else lambda a: np.zeros(3)
    with pytest.raises(TypeError, match=f"the {who} an? ndarray; a distribution"):
        vae.VAE(*given)


def test_a_conditional_model_names_them_with_its_label_beside(rng):
    model = models.conditional_vae(N_X, 4, (5,), N_Z, rng=rng)
    with pytest.raises(ValueError, match=r"decoder can't take.*\(4,\)"):
        models.ConditionalVAE(model.encoder, model.decoder, vae.Normal.standard(4), 4)
    with pytest.raises(ValueError, match="decoder can't take"):
        models.ConditionalVAE(model.encoder, model.decoder, model.prior, 5)


FITTING = {
    "dense": lambda rng: vae.dense_vae(N_X, (5,), N_Z, rng=rng),
    "conv": lambda rng: vae.conv_vae((8, 8), (2, 2), 4, N_Z, rng=rng),
    "conditional": lambda rng: models.conditional_vae(N_X, 4, (5,), N_Z, rng=rng),
    "categorical": lambda rng: posteriors.categorical_vae(N_X, (5,), 2, 3, rng=rng),
    "layered": lambda rng: models.layered_vae(N_X, (5, 4), (3, 2), rng=rng),
    "auxiliary": lambda rng: models.auxiliary_vae(N_X, (5,), N_Z, 2, rng=rng),
}


@pytest.mark.parametrize("name", FITTING)
def test_what_fits_is_made_without_a_word_and_keeps_its_parameters(rng, name):
    model = FITTING[name](rng)
    assert all(p.grad is None for p in nn.parameters(model))


@pytest.mark.parametrize("head", [
    networks.ToNormal, posteriors.ToMultivariateNormal,
    partial(posteriors.ToLowRankNormal, rank=2), partial(posteriors.ToMixture, components=2),
    lambda *sizes, **init: flows.ToTransformed(
        *sizes, flows=[flows.Planar(N_Z, rng=init["rng"])], **init)],
    ids=["diagonal", "full", "low rank", "mixture", "flow"])
def test_every_posterior_fits_every_prior_over_real_numbers(parts, rng, head):
    encoder = networks.dense([N_X, 5, N_Z], head, rng=rng)
    for prior in (parts[2], networks.LearnedNormal(N_Z), priors.MixturePrior(N_Z, 3, rng=rng),
                  vae.Laplace(np.zeros(N_Z, np.float32), np.ones(N_Z, np.float32)),
                  priors.VampPrior(encoder, N_X, 4, rng=rng),
                  flows.Transformed(parts[2], [flows.Radial(N_Z, rng=rng)])):
        vae.VAE(encoder, parts[1], prior)


# -- a prior that is set later -----------------------------------------------------------------
@pytest.mark.parametrize("n", [1, 4])
def test_a_prior_that_is_set_later_must_fit_and_else_the_model_keeps_its_own(parts, n):
    model = vae.VAE(*parts)
    with pytest.raises(ValueError, match="VAE: "):
        model.prior = vae.Normal.standard(n)
    with pytest.raises(TypeError, match="VAE: the prior is a int"):
        model.prior = 3
    assert model.prior is parts[2]
    model.prior = other = vae.Normal.standard(N_Z)
    assert model.prior is other


def test_a_prior_of_an_auxiliary_model_is_that_of_z(rng):
    model = models.auxiliary_vae(N_X, (5,), 2, 3, rng=rng)
    model.prior = priors.MixturePrior(2, 4, rng=rng)
    assert model.prior.constant().sample((7,), rng=rng).shape == (7, 5)
    with pytest.raises(ValueError, match="VAE: "):
        model.prior = vae.Normal.standard(5)
