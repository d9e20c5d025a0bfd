"""The catalogue of `mnist.py --model NAME`: how each model is built, and what it maximises."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from looking import (
    CLASSES,
    EVALUATION,
    NETWORK,
    TRAINING,
    WEIGHTS,
    Auxiliary,
    Conditional,
    Family,
    Plan,
    Pointwise,
    Principal,
    Quantised,
)

import vae
from minigrad.nn import Sequential
from vae.estimators import gumbel_softmax, iwae, score, sgvb_a, straight_through
from vae.flows import (
    InverseAutoregressive,
    Radial,
    Sylvester,
    ToPlanar,
    ToTransformed,
    Transformed,
    couplings,
)
from vae.likelihoods import ToLearnedGaussian
from vae.models import (
    PCA,
    VQVAE,
    Autoencoder,
    ConditionalVAE,
    conditional_vae,
    conv_vqvae,
    dense_autoencoder,
    fit_pca,
    linear_autoencoder,
    moving_objective,
    reconstruction_only,
    vq_objective,
)
from vae.models.auxiliary import AuxiliaryVAE, auxiliary_vae
from vae.models.layered import layered_vae
from vae.models.wake_sleep import wake_sleep
from vae.posteriors import (
    ToMixture,
    ToMultivariateNormal,
    categorical_vae,
    expected_elbo,
    stratified_elbo,
)
from vae.priors import MixturePrior, VampPrior

Objective = Callable[[Namespace, int], Callable]
CATEGORIES, CODES, PSEUDO_INPUTS = 10, 128, 500
SUM = NETWORK | TRAINING | EVALUATION | WEIGHTS | {"draws"}  # reconstruction - β·KL, of L draws
GAUSSIAN = SUM | {"free_bits"}
MANY = NETWORK | TRAINING | EVALUATION | {"draws"}  # a bound that is no such sum
# the initialisers of `categorical_vae` are its own
CATEGORICAL = (SUM | {"temperature"}) - {"init"}


# -- what is maximised ----------------------------------------------------------------------------
def elbo_of(args: Namespace, steps: int) -> Callable:
    """The ELBO, its KL in closed form, or what the options say to maximise in its place."""
    if args.free_bits:
        return partial(vae.free_bits_elbo, free=args.free_bits, weight=weight_of(args, steps),
                       samples=args.draws)
    if args.warmup or args.beta != 1:
        return partial(vae.beta_elbo, weight=weight_of(args, steps), samples=args.draws)
    return partial(vae.elbo, samples=args.draws)


def capacity_of(args: Namespace, steps: int) -> Callable:
    """The KL is held at a capacity, which grows from 0 in the epochs of --warmup."""
    capacity = (vae.schedules.linear(0.0, args.capacity, args.warmup * steps) if args.warmup
                else args.capacity)
    return partial(vae.capacity_elbo, capacity=capacity, samples=args.draws)


def weight_of(args: Namespace, steps: int) -> Any:
    """β, or its schedule."""
    return (vae.schedules.linear(0.0, args.beta, args.warmup * steps) if args.warmup
            else args.beta)


def of(bound: Callable) -> Objective:
    """Such a bound, or its reconstruction less β·KL."""
    def objective(args: Namespace, steps: int) -> Callable:
        if args.warmup or args.beta != 1:
            return partial(vae.beta_elbo, bound=bound, weight=weight_of(args, steps),
                           samples=args.draws)
        return partial(bound, samples=args.draws)
    return objective


def expected(estimator: Callable) -> Objective:
    """The ELBO of categorical codes; of an estimator that relaxes them, the temperature falls from
    1 to --temperature in 5 epochs (Jang et al. 2017, section 4).
    """
    def objective(args: Namespace, steps: int) -> Callable:
        relaxed = {} if args.temperature is None else {
            "temperature": vae.schedules.linear(1.0, args.temperature, 5 * steps)}
        return of(partial(expected_elbo, estimator=estimator, **relaxed))(args, steps)
    return objective


def plainly(bound: Callable) -> Objective:
    """The bound as it is, of --draws."""
    return lambda args, steps: partial(bound, samples=args.draws)


def without_draws(objective: Callable) -> Objective:
    """An objective that draws nothing."""
    return lambda args, steps: objective


# -- how it is built ------------------------------------------------------------------------------
def dense(plan: Plan, **options: Any) -> vae.VAE:
    return vae.dense_vae(plan.pixels, plan.hidden, plan.latent, **plan.network, **options)


def conv(plan: Plan) -> vae.VAE:
    return vae.conv_vae(plan.size, hidden=plan.hidden[0], n_z=plan.latent, **plan.network)


def with_posterior(head: Callable[[Plan], Callable]) -> Callable[[Plan], vae.VAE]:
    """The dense VAE, its encoder ending in head(plan)(n_in, n_out, **init)."""
    def build(plan: Plan) -> vae.VAE:
        model = dense(plan)
        layers = model.encoder.layers[:-1]
        last = head(plan)(plan.hidden[-1], plan.latent, **plan.init)
        return vae.VAE(Sequential(*layers, last), model.decoder, model.prior)
    return build


def with_flows(flows: Callable[[Plan], Sequence[Any]]) -> Callable[[Plan], vae.VAE]:
    return with_posterior(lambda plan: partial(ToTransformed, flows=flows(plan)))


def planar(plan: Plan) -> list[ToPlanar]:
    return [ToPlanar(plan.latent, plan.hidden[-1], rng=plan.rng) for _ in range(10)]


def radial(plan: Plan) -> list[Radial]:
    return [Radial(plan.latent, rng=plan.rng) for _ in range(10)]


def coupling(plan: Plan) -> list[Any]:
    return couplings(plan.latent, 4, hidden=(plan.hidden[-1],), rng=plan.rng)


def autoregressive(plan: Plan) -> list[InverseAutoregressive]:
    """Both see the encoder's last layer; the second in the reverse order."""
    return [InverseAutoregressive(plan.latent, hidden=(plan.hidden[-1],), reverse=bool(i),
                                  n_context=plan.hidden[-1], rng=plan.rng) for i in range(2)]


def sylvester(plan: Plan) -> list[Sylvester]:
    """Few reflections, since each is a pass over the whole matrix."""
    return [Sylvester(plan.latent, reflections=min(plan.latent, 8), rng=plan.rng)
            for _ in range(4)]


def with_prior(prior: Callable[[vae.VAE, Plan], Any]) -> Callable[[Plan], vae.VAE]:
    def build(plan: Plan) -> vae.VAE:
        model = dense(plan)
        model.prior = prior(model, plan)
        return model
    return build


def mixture_prior(model: vae.VAE, plan: Plan) -> MixturePrior:
    return MixturePrior(plan.latent, 50, rng=plan.rng)


def flow_prior(model: vae.VAE, plan: Plan) -> Transformed:
    return Transformed(vae.Normal.standard(plan.latent), coupling(plan))


def vamp_prior(model: vae.VAE, plan: Plan) -> VampPrior:
    """Its pseudo-inputs begin at training images; half of them where there are few."""
    components = max(1, min(PSEUDO_INPUTS, len(plan.train) // 2))
    return VampPrior(model, plan.pixels, components, rng=plan.rng, start=plan.train)


def conditional(plan: Plan) -> ConditionalVAE:
    return conditional_vae(plan.pixels, CLASSES, plan.hidden, plan.latent, **plan.network)


def categorical(plan: Plan) -> vae.VAE:
    """--latent variables of ten categories."""
    return categorical_vae(plan.pixels, plan.hidden, plan.latent, CATEGORIES, **plan.network)


def layered(plan: Plan) -> vae.VAE:
    """--latent is the size of the layer farther from x; the nearer has twice as many."""
    return layered_vae(plan.pixels, plan.hidden, (2 * plan.latent, plan.latent), **plan.network)


def auxiliary(plan: Plan) -> AuxiliaryVAE:
    return auxiliary_vae(plan.pixels, plan.hidden, plan.latent, plan.latent, **plan.network)


def learned_variance(plan: Plan) -> vae.VAE:
    return dense(plan, likelihood=partial(ToLearnedGaussian, one_per="pixel", std=0.3,
                                          link="logit"))


def vq(decay: float | None) -> Callable[[Plan], VQVAE]:
    """Codes of 16 numbers out of 128, one for each 4x4 pixels, which begin at encodings."""
    def build(plan: Plan) -> VQVAE:
        model = conv_vqvae(plan.size, n_codes=CODES, decay=decay, **plan.network)
        some = plan.train[plan.rng.permutation(len(plan.train))[:500]]
        model.start_codebook(plan.prepare(some, rng=plan.rng), rng=plan.rng)
        return model
    return build


def autoencoder(plan: Plan) -> Autoencoder:
    return dense_autoencoder(plan.pixels, plan.hidden, plan.latent, **plan.network)


def linear(plan: Plan) -> Autoencoder:
    options = {k: v for k, v in plan.network.items() if k != "activation"}
    return linear_autoencoder(plan.pixels, plan.latent, **options)


def principal(plan: Plan) -> PCA:
    return fit_pca(plan.prepare(plan.train, rng=plan.rng), plan.latent)


# -- the catalogue --------------------------------------------------------------------------------
def _flow(about: str, flows: Callable[[Plan], Sequence[Any]]) -> Family:
    return Family(about, with_flows(flows), of(sgvb_a), sgvb_a, SUM, draws=True)


def _prior(about: str, prior: Callable[[vae.VAE, Plan], Any]) -> Family:
    return Family(about, with_prior(prior), of(sgvb_a), sgvb_a, SUM)


def _categorical(how: str, estimator: Callable, **defaults: Any) -> Family:
    relaxed = "temperature" in defaults
    return Family(f"categorical codes, {how}", categorical, expected(estimator), expected_elbo,
                  CATEGORICAL if relaxed else CATEGORICAL - {"temperature"}, defaults, draws=True)


_RELAXED = {"temperature": 0.5}
FAMILIES: dict[str, Family] = {
    "dense": Family("dense layers", dense, elbo_of, options=GAUSSIAN, plane=True),
    "conv": Family("two convolutions of stride 2 and a dense layer, and back", conv, elbo_of,
                   options=GAUSSIAN, defaults={"epochs": 3, "batch_size": 128, "hidden": [128],
                                               "latent": 64, "nll_images": 1000}, plane=True,
                   widths=1),
    "beta": Family("β-VAE", dense, elbo_of, options=GAUSSIAN, defaults={"beta": 4.0}, plane=True),
    "capacity": Family("the KL held at a capacity", dense, capacity_of,
                       options=GAUSSIAN - {"beta", "free_bits"} | {"capacity"},
                       defaults={"capacity": 25.0, "warmup": 5}, plane=True),
    "learned-variance": Family("grey pixels, Gaussian, with a learned σ each", learned_variance,
                               elbo_of, options=GAUSSIAN, defaults={"binarize": "none"},
                               grey=True, plane=True),
    "iwae": Family("importance-weighted bound", dense, plainly(iwae), options=MANY,
                   defaults={"draws": 5}, plane=True),
    "iwae2": Family("importance-weighted bound, two stochastic layers", layered, plainly(iwae),
                    sgvb_a, MANY, {"draws": 5, "hidden": [200, 100], "latent": 50}, draws=True,
                    widths=2),
    "conditional": Conditional("given the class", conditional, elbo_of, options=GAUSSIAN),
    "categorical": _categorical("Gumbel-softmax", gumbel_softmax, **_RELAXED),
    "categorical-st": _categorical("straight through", straight_through, **_RELAXED),
    "categorical-score": _categorical("score function", partial(score, baseline="leave-one-out"),
                                      draws=4),
    "full-covariance": Family("Gaussian posterior with all covariances",
                              with_posterior(lambda plan: ToMultivariateNormal), elbo_of,
                              options=SUM, plane=True),
    "mixture-posterior": Family("posterior of 5 Gaussians",
                                with_posterior(lambda plan: partial(ToMixture, components=5)),
                                of(stratified_elbo), stratified_elbo, SUM, draws=True),
    "planar": _flow("posterior of 10 planar flows", planar),
    "radial": _flow("posterior of 10 radial flows", radial),
    "coupling": _flow("posterior of 4 RealNVP couplings", coupling),
    "iaf": _flow("posterior of 2 inverse autoregressive flows", autoregressive),
    "sylvester": _flow("posterior of 4 Sylvester flows", sylvester),
    "auxiliary": Auxiliary("posterior by an auxiliary variable", auxiliary, of(sgvb_a), sgvb_a,
                           SUM, draws=True),
    "mixture-prior": _prior("prior of 50 Gaussians", mixture_prior),
    "flow-prior": _prior("prior of 4 RealNVP couplings", flow_prior),
    "vampprior": _prior("prior of the posteriors of 500 pseudo-inputs", vamp_prior),
    "vqvae": Quantised("convolutions, 128 codes, by gradient", vq(None),
                       without_draws(vq_objective)),
    "vqvae-moving": Quantised("convolutions, 128 codes, by moving averages", vq(0.99),
                              without_draws(moving_objective)),
    "wake-sleep": Family("wake-sleep, no bound's gradient", dense, without_draws(wake_sleep),
                         options=MANY - {"draws"}, plane=True),
    "autoencoder": Pointwise("dense layers, the code a point", autoencoder,
                             without_draws(reconstruction_only)),
    "linear-autoencoder": Pointwise("one linear layer and back", linear,
                                    without_draws(reconstruction_only),
                                    options=(NETWORK | TRAINING) - {"hidden", "activation"},
                                    defaults={"hidden": None}),
    "pca": Principal("principal components", principal, None),
}
