"""What a trained model is worth, looked at without changing it."""

from vae.evaluation.aggregate import aggregate_decomposition
from vae.evaluation.annealed import annealed_log_likelihood, annealed_upper_bound
from vae.evaluation.bounds import bits_per_dimension, evaluate
from vae.evaluation.gap import inference_gap
from vae.evaluation.importance import log_likelihood
from vae.evaluation.latent import active_units, kl_per_dimension
from vae.evaluation.quality import memorisation, recognised, sample_quality
from vae.evaluation.tradeoff import rate_distortion
from vae.evaluation.weights import LowEffectiveSampleSize

__all__ = [
    "LowEffectiveSampleSize", "active_units", "aggregate_decomposition", "annealed_log_likelihood",
    "annealed_upper_bound", "bits_per_dimension", "evaluate", "inference_gap", "kl_per_dimension",
    "log_likelihood", "memorisation", "rate_distortion", "recognised", "sample_quality",
]  # fmt: skip
