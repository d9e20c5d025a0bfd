"""What every distribution does with parameters and values that are bad or extreme."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import minigrad as mg
import vae
from minigrad import noise
from minigrad.table import NoRule
from minigrad.testing.distributions import PARAMETERS
from vae import estimators
from vae.distributions.kl import CLOSED_FORMS

VECTORS = {"Categorical", "OneHotCategorical", "RelaxedOneHot", "Dirichlet"}  # by their last axis
MATRICES = {"MultivariateNormal", "LowRankNormal"}
SINGLE = [name for name in PARAMETERS if name not in VECTORS | MATRICES]
POSITIVE = {"std", "scale", "df", "rate", "concentration", "alpha", "beta", "temperature",
            "diagonal"}
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
everything = pytest.mark.parametrize("name", PARAMETERS)


def usual(name, dtype=np.float64, batch=2):
    """Parameters of `name` for draws (batch, 3), or (batch,) of a Categorical."""
    shapes = {"cholesky": (batch, 3, 3), "factor": (batch, 3, 2),
              "temperature": (batch,) if name == "RelaxedOneHot" else (batch, 3)}
    values = {p: np.full(shapes.get(p, (batch, 3)), 1.0 if p in POSITIVE | {"high"} else 0.0, dtype)
              for p in PARAMETERS[name]}
    if "cholesky" in values:
        values["cholesky"] += np.eye(3, dtype=dtype)
    return values


def made(name, parameters, **options):
    return getattr(vae, name)(**parameters, **options)


def gradient(f, *args):
    return mg.grad(lambda *a: np.sum(f(*a)), tuple(range(len(args))))(*args)


def no_nan(*arrays):
    assert not any(np.isnan(a).any() for a in arrays)


# -- parameters -----------------------------------------------------------------------------------
@dtypes
@everything
def test_a_parameter_outside_its_domain_is_named_with_value_and_place(name, dtype):
    for parameter, good in usual(name, dtype).items():
        bad = [np.nan, np.inf, -np.inf]
        if parameter in POSITIVE:
            bad += [-1.0] if name == "VonMises" else [0.0, -1.0]
        if name in ("Categorical", "OneHotCategorical"):
            bad.remove(-np.inf)  # of an impossible class
        for value in bad:
            spoilt = good.copy()
            spoilt[(1,) * good.ndim] = value
            place = rf"it is {value:g} at \[{', '.join('1' * good.ndim)}\]"
            with pytest.raises(ValueError, match=rf"^{name}.*{parameter}.*{place}"):
                made(name, usual(name, dtype) | {parameter: spoilt})
            with pytest.raises(ValueError, match=place):
                mg.grad(lambda t, p=parameter: np.sum(
                    made(name, usual(name, dtype) | {p: t}).entropy()))(spoilt)
            if name in SINGLE:
                with pytest.raises(ValueError, match=rf"{parameter}.*it is {value:g}"):
                    made(name, usual(name, dtype) | {parameter: value})


@everything
def test_shapes_and_event_axes_that_do_not_fit_are_named(name):
    good = usual(name)
    for parameter in good if len(good) > 1 else ():
        if parameter != "temperature" or name != "RelaxedOneHot":
            other = np.concatenate([good[parameter]] * 3)
            with pytest.raises(ValueError, match=r"\((2|6),.*\((6|2),"):
                made(name, good | {parameter: other})
    for event_ndim in (-1, 3):
        with pytest.raises(ValueError, match=f"{name}.*event_ndim={event_ndim}"):
            made(name, good, event_ndim=event_ndim)
    with pytest.raises(TypeError, match=f"{name} with event_ndim=1.5"):
        made(name, good, event_ndim=1.5)


def test_a_logarithm_that_is_infinite_is_named():
    for way in (vae.Normal.from_log_std, vae.Normal.from_log_var, vae.Poisson.from_log_rate):
        for bad in (np.nan, np.inf, -np.inf):
            args = (np.array([0.0, bad]),) if way == vae.Poisson.from_log_rate else (0.0, [1, bad])
            with pytest.raises(ValueError, match=r"log_.*finite.* at \[1\]"):
                way(*(np.asarray(a, float) for a in args))


@everything
def test_an_empty_batch_is_no_exception(name):
    p = usual(name, batch=0)
    q, rng = made(name, p), np.random.default_rng(0)
    x = q.sample((5,), rng=rng)
    assert x.shape == (5, *q.shape)
    assert q.log_prob(x).shape == (5, *q.shape[:len(q.shape) - q.event_ndim])
    slopes = gradient(lambda *a: made(name, dict(zip(p, a, strict=True))).log_prob(x), *p.values())
    assert [g.shape for g in slopes] == [a.shape for a in p.values()]


@pytest.mark.parametrize("name", SINGLE)
def test_lists_and_integers_are_numbers(name):
    p = {k: [1, 1] if a.min() == 1 else [0, 0] for k, a in usual(name).items()}
    q = made(name, p | ({"temperature": 0.5} if "temperature" in p else {}), event_ndim=0)
    assert q.dtype == np.float64
    x = 0.5 if name in ("Beta", "RelaxedBernoulli") else 1
    for other in ([x, x], np.array([x, x])):
        np.testing.assert_array_equal(q.log_prob(other), np.broadcast_to(q.log_prob(x), 2))


# -- values ---------------------------------------------------------------------------------------
ENDS = [np.inf, -np.inf]
OUTSIDE = {
    "Normal": ENDS, "MultivariateNormal": ENDS, "LowRankNormal": ENDS, "Laplace": ENDS,
    "Logistic": ENDS, "StudentT": ENDS, "VonMises": ENDS,
    "LogNormal": [0.0, -1.0, *ENDS], "Gamma": [0.0, -1.0, *ENDS], "Exponential": [-1.0, *ENDS],
    **{name: [-1.0, 2.0, *ENDS] for name in (
        "Uniform", "RelaxedBernoulli", "RelaxedOneHot", "Dirichlet", "OneHotCategorical")},
    "Beta": [0.0, 1.0, -1.0, 2.0, *ENDS], "ContinuousBernoulli": [-0.1, 1.1, *ENDS],
    "Poisson": [-1.0, 0.5, *ENDS], "DiscretizedLogistic": [-1.0, 0.5, 256.0, *ENDS],
    "Categorical": [-1.0, 3.0, *ENDS],
}
EDGES = {"Exponential": [0.0], "Uniform": [0.0, 1.0], "ContinuousBernoulli": [0.0, 1.0],
         "Poisson": [0.0], "DiscretizedLogistic": [0.0, 255.0], "Bernoulli": [0.0, 1.0]}


def inner(name, dtype):
    """Values of the support, (2, 3) or (2,)."""
    if name == "OneHotCategorical":
        return np.eye(3, dtype=dtype)[:2]
    if name in ("RelaxedOneHot", "Dirichlet"):
        return np.full((2, 3), 1 / 3, dtype)
    counts = name in ("Poisson", "DiscretizedLogistic", "Categorical", "Bernoulli")
    return np.full((2,) if name == "Categorical" else (2, 3), 1 if counts else 0.5, dtype)


@dtypes
@pytest.mark.parametrize("name", OUTSIDE)
def test_outside_of_the_support_the_density_is_0_and_so_is_the_gradient(name, dtype):
    p = usual(name, dtype)
    for value in OUTSIDE[name]:
        x = inner(name, dtype)
        x[1:] = value

        def log_prob(*a, x=x):
            given = x if name == "Categorical" else a[-1]  # its values are names, not numbers
            return made(name, dict(zip(p, a, strict=False))).log_prob(given)

        found = log_prob(*p.values(), x)
        assert np.isfinite(found[0]) and found[1] == -np.inf
        for slope in gradient(log_prob, *p.values(), x):
            assert np.all(np.isfinite(slope)) and not slope[1:].any()


@pytest.mark.parametrize("name", [name for name in OUTSIDE
                                  if name not in ("Categorical", "OneHotCategorical")])
def test_of_a_nan_the_log_density_is_one(name):
    x = inner(name, np.float64)
    x[(1,) + (0,) * (x.ndim - 1)] = np.nan
    assert np.isnan(made(name, usual(name)).log_prob(x)).tolist() == [False, True]


@pytest.mark.parametrize("name", EDGES)
def test_the_edge_belongs_to_the_support(name):
    p = usual(name)
    for value in EDGES[name]:
        x = np.full((2, 3), value)
        assert np.isfinite(made(name, p).log_prob(x)).all()
        no_nan(*gradient(lambda *a: made(name, dict(zip(p, a, strict=False))).log_prob(a[-1]),
                         *p.values(), x))


def test_hard_densities_refuse_what_is_soft_and_say_what_to_take():
    rng, flat = np.random.default_rng(0), np.zeros(3)
    coins = vae.RelaxedBernoulli(flat, 0.5).sample(rng=rng)
    classes = vae.RelaxedOneHot(flat, 0.5).sample(rng=rng)
    for hard, soft in ((vae.Bernoulli, coins), (vae.Categorical, coins),
                       (vae.OneHotCategorical, classes)):
        with pytest.raises(ValueError, match=r"harden\(z\).*vae.straight_through"):
            hard(flat).log_prob(soft)
    with pytest.raises(ValueError, match=r"Bernoulli.log_prob: x lies in \[0, 255\].*divide"):
        vae.Bernoulli(flat).log_prob([0, 1, 255])
    for family in (vae.Categorical, vae.OneHotCategorical):
        with pytest.raises(ValueError, match=r"sum of p .* must be 1 .* it is 0.9; divide by it"):
            family.from_probabilities([0.5, 0.4])
    for q in (vae.Dirichlet(np.ones(3)), vae.RelaxedOneHot(flat, 0.5)):
        for x in (1.0, [1.0], [0.25] * 4):  # of one part, none must be spread over three
            with pytest.raises(ValueError, match=r"last axis must be that of the 3 parts"):
                q.log_prob(x)


# -- draws ----------------------------------------------------------------------------------------
@everything
def test_a_number_is_a_shape_and_a_seed_is_no_generator(name):
    q, rng = made(name, usual(name)), np.random.default_rng(0)
    assert q.sample(4, rng=rng).shape == q.sample(np.int64(4), rng=rng).shape == (4, *q.shape)
    for bad in (0, None, np.random, np.random.RandomState(0)):
        with pytest.raises(TypeError, match=r"draws with.*rng=np.random.default_rng\(seed\)"):
            q.sample(rng=bad)
    with pytest.raises(TypeError, match=r"draws without rng: .*default_rng"):
        q.sample()
    with pytest.raises(TypeError, match=r"sample\(2.0\): the shape"):
        q.sample(2.0, rng=rng)
    with noise.record() as eps:
        z = q.sample(rng=rng)
    with noise.replay(eps):
        np.testing.assert_array_equal(q.sample(), z)  # where nothing is drawn none is needed


def test_the_warning_of_stopped_draws_comes_with_a_gradient_alone():
    rng = np.random.default_rng(0)
    p = vae.Bernoulli(np.zeros(3))
    p.sample(rng=rng, stopped=True)
    gradient(lambda a: a * mg.stop_gradient(vae.Bernoulli(a).sample(rng=rng, stopped=True)),
             np.zeros(3))
    with pytest.warns(vae.distributions.StoppedGradient, match="draws of Bernoulli"):
        gradient(lambda a: vae.Bernoulli(a).sample(rng=rng, stopped=True), np.zeros(3))


# -- extremes -------------------------------------------------------------------------------------
PLACES, SPREADS, WIDE = [0.0, -1e30, 1e6], [1e-30, 1.0, 1e30], [1e-6, 1.0, 1e6]
LOGITS = [-1e4, 0.0, 1e4]
EXTREMES = {
    "Normal": (PLACES, SPREADS), "Laplace": (PLACES, SPREADS), "Logistic": (PLACES, SPREADS),
    "Normal.from_log_var": (PLACES, [-1e3, 0.0, 1e3]), "Normal.from_softplus": (PLACES, LOGITS),
    "LogNormal": ([-30.0, 0.0, 30.0], [1e-30, 1.0, 30.0]),
    "StudentT": ([1e-3, 2.0, 1e6], PLACES, SPREADS), "Exponential": (WIDE,),
    "Uniform": ([-1e30, 0.0], [1e-30, 1.0, 1e30]), "Gamma": (WIDE, WIDE), "Beta": (WIDE, WIDE),
    "VonMises": (PLACES, [0.0, 1e-6, 1e6]), "Bernoulli": (LOGITS,),
    "ContinuousBernoulli": (LOGITS,), "Poisson": (WIDE,), "Poisson.from_log_rate": ([-1e3, 40.0],),
    "DiscretizedLogistic": ([0.0, -1e12, 1e12], [1e-12, 1.0, 1e30]),
    "RelaxedBernoulli": (LOGITS, [0.01, 1e6]),
}
VECTOR_EXTREMES = [
    *((name, {"logits": v}) for name in ("Categorical", "OneHotCategorical")
      for v in ([1e4, -1e4, 0], [-1e4] * 3, [-np.inf, 0, 1])),
    *(("RelaxedOneHot", {"logits": v, "temperature": 0.01}) for v in ([1e4, -1e4, 0], [0, 0, 0])),
    *(("Dirichlet", {"concentration": v}) for v in ([1e-6] * 3, [1e6] * 3, [1e-6, 1, 1e6])),
    *(("MultivariateNormal", {"mean": [m, 0], "cholesky": [[s, 0], [s, s]]})
      for m in (0, 1e30) for s in SPREADS),
    *(("LowRankNormal", {"mean": [0, 1], "factor": [[f], [f]], "diagonal": [d, d]})
      for f in (1e-6, 1e6) for d in WIDE),
]


def constructor(name):
    family, _, way = name.partition(".")
    return getattr(getattr(vae, family), way) if way else getattr(vae, family)


def assert_sound(build, args, dtype):
    """No NaN and no warning, also in the gradients, of all that the distribution offers."""
    q = build(*args)
    x = q.sample((20,), rng=np.random.default_rng(3))
    assert np.isfinite(x).all()
    assert x.dtype == (np.int64 if isinstance(q, vae.Categorical) else dtype)
    offers = [("log_prob", x), ("cdf", x), ("entropy", None), ("mean", None), ("variance", None)]
    offers += [("icdf", np.full(q.shape, p, dtype)) for p in (0, 0.001, 0.5, 0.999, 1)]
    for offer, at in offers:
        def result(*a, offer=offer, at=at):
            found = getattr(build(*a), offer)
            return found(at) if at is not None else found() if callable(found) else found
        if isinstance(q, vae.StudentT) and offer in ("mean", "variance") and q.df.min() <= 1:
            continue  # there is none
        try:
            value = result(*args)
        except (NotImplementedError, AttributeError):
            continue
        assert value.dtype == dtype, offer
        no_nan(value, *gradient(result, *args))
        assert offer != "log_prob" or np.all(value > -np.inf)
    if q.path:
        no_nan(*gradient(lambda *a: build(*a).sample(rng=np.random.default_rng(3)), *args))


@dtypes
@pytest.mark.parametrize("name", EXTREMES)
def test_extreme_parameters_give_numbers(name, dtype):
    for values in itertools.product(*EXTREMES[name]):
        if name != "Uniform" or dtype(values[0]) < dtype(values[1]):
            assert_sound(lambda *a: constructor(name)(*a),
                         [np.full(1, v, dtype) for v in values], dtype)


@dtypes
@pytest.mark.parametrize(("name", "parameters"), VECTOR_EXTREMES)
def test_extreme_vectors_give_numbers(name, parameters, dtype):
    assert_sound(lambda *a: made(name, dict(zip(parameters, a, strict=True))),
                 [np.array(v, dtype) for v in parameters.values()], dtype)


def test_what_is_too_extreme_is_named():
    with pytest.raises(ValueError, match=r"DiscretizedLogistic: location must be .*at most 1e\+12"):
        vae.DiscretizedLogistic(1e13, 1.0)
    with pytest.raises(ValueError, match=r"factor must be at most 3e\+14·√diagonal"):
        vae.LowRankNormal(*(np.float32(a) for a in ([0, 0], [[1], [1]], [1e-30, 1])))


# -- divergences ----------------------------------------------------------------------------------
CASES = {
    "Normal": [(0, 1e-6), (1e6, 1e6)], "Laplace": [(0, 1e-6), (1e6, 1)], "Logistic": [(0, 1)],
    "LogNormal": [(0, 1e-6), (-30, 5)], "StudentT": [(1e-3, 0, 1)],
    "Exponential": [(1e-6,), (1e6,)], "Uniform": [(-1e6, 1e6), (0.2, 0.3)],
    "Gamma": [(1e-6, 1e6), (1e6, 1)], "Beta": [(1e-6, 1e-6), (1, 1e6)],
    "VonMises": [(0, 0), (3, 1e6)], "Bernoulli": [(-1e4,), (1e4,)],
    "ContinuousBernoulli": [(-1e4,), (1e4,), (0,)], "Poisson": [(1e-6,), (1e6,)],
    "Categorical": [([1e4, -1e4],), ([-np.inf, 0],)], "Dirichlet": [([1e-6, 1],), ([1e6, 1e6],)],
    "OneHotCategorical": [([1e4, -1e4],), ([-np.inf, 0],)],
    "MultivariateNormal": [([0, 0], [[1e-3, 0], [1e3, 1]]), ([1e6, 0], [[1e6, 0], [0, 1]])],
    "LowRankNormal": [([0, 0], [[1e3], [1]], [1e-3, 1]), ([1e3, 0], [[1e-6], [1]], [1e3, 1])],
}


@dtypes
@pytest.mark.parametrize("pair", CLOSED_FORMS,
                         ids=lambda pair: "‖".join(t.__name__ for t in pair))
def test_divergences_at_extremes_are_0_or_more(pair, dtype):
    def arrays(family):
        both = any(t.__name__ in MATRICES for t in pair)
        return [[np.broadcast_to(np.array(v, dtype), (2,) if both and np.ndim(v) == 0 else
                                 np.shape(v) or (1,)) for v in values]
                for values in CASES[family.__name__]]

    for one, other in itertools.product(*map(arrays, pair)):
        def divergence(*a, one=one):
            return vae.kl(pair[0](*a[:len(one)]), pair[1](*a[len(one):]))

        value = divergence(*one, *other)
        assert value >= 0 and value.dtype == dtype
        no_nan(*gradient(divergence, *one, *other))


def test_divergences_that_are_not_known_are_named():
    q, rng = vae.Normal(np.zeros(3), 1.0), np.random.default_rng(0)
    with pytest.raises(TypeError, match=r"KL\(StudentT‖Normal\).*Normal‖Normal.*kl_estimate"):
        vae.kl(vae.StudentT(3.0, np.zeros(3), 1.0), q)
    with pytest.raises(ValueError, match="samples=1"):
        vae.kl_estimate(q, q, samples=1, rng=rng)
    mixture = vae.Mixture(np.zeros(2), vae.Normal(np.zeros((2, 3)), 1.0))
    for other in (vae.Normal(np.zeros(4), 1.0), vae.Normal(np.zeros((2, 3)), 1.0, event_ndim=2)):
        for f in (vae.kl, vae.kl_upper_bound, lambda q, p: vae.kl_estimate(
                q, p, samples=3, rng=rng)):
            with pytest.raises(ValueError, match=r"shape \(.*shape \(|event_ndim is 1 .*and 2"):
                f(q if f is vae.kl else mixture, other)


# -- estimators -----------------------------------------------------------------------------------
@pytest.mark.parametrize("name", estimators.EXPECTATIONS)
def test_estimators_name_what_is_wrong(name):
    estimate, rng = estimators.EXPECTATIONS[name], np.random.default_rng(0)

    def make(a):
        continuous = name in ("pathwise", "measure_valued")
        return vae.Normal(a, np.ones_like(a)) if continuous else vae.Bernoulli(a)

    def total(z):
        return np.square(z).sum(-1)

    q = make(np.zeros((2, 3)))
    for f in (lambda z: z, lambda z: 1.0, lambda z: None):
        with pytest.raises(ValueError, match=r"^f of draws of shape .* it must be \("):
            estimate(f, q, rng=rng)
    assert estimate(total, make(np.zeros((0, 3))), rng=rng).shape == (0,)
    if name != "enumerated":
        with pytest.raises(ValueError, match="samples=0"):
            estimate(total, q, rng=rng, samples=0)
        with pytest.raises(TypeError, match=r"rng=7: .*default_rng\(seed\)"):
            estimate(total, q, rng=7)
    if name != "score":  # which takes all
        with pytest.raises(TypeError, match="Poisson"):
            estimate(total, vae.Poisson(np.ones(3)), rng=rng)


def test_what_has_no_second_derivative_says_so():
    def estimate(mean, std):
        return estimators.measure_valued(lambda z: np.square(z).sum(-1), vae.Normal(mean, std),
                                         rng=np.random.default_rng(0))
    for argument in (0, 1):
        with pytest.raises(NoRule, match="first derivative"):
            mg.hessian(estimate, argument)(np.zeros(2), np.ones(2))
