"""What a trained model is good for."""

from vae.uses.anomaly import anomaly_scores, auroc, auroc_difference, share_above
from vae.uses.compression import GridCoder, compress, decompress, ideal_rate, measure
from vae.uses.denoise import Noisy, denoise, denoising_elbo
from vae.uses.enlarge import ROUNDING, BlockMeans, enlarge, repeat, shrink
from vae.uses.generation import accuracy, across_classes, class_means, neighbours_vote, variety
from vae.uses.infer import Observation, infer, restore
from vae.uses.inpaint import Seen, inpaint, inpaint_by_gibbs, pseudo_gibbs
from vae.uses.quality import psnr

__all__ = [
    "ROUNDING", "BlockMeans", "GridCoder", "Noisy", "Observation", "Seen", "accuracy",
    "across_classes", "anomaly_scores", "auroc", "auroc_difference", "class_means", "compress",
    "decompress", "denoise", "denoising_elbo", "enlarge", "ideal_rate", "infer",
    "inpaint", "inpaint_by_gibbs", "measure", "neighbours_vote", "pseudo_gibbs", "psnr", "repeat",
    "restore", "share_above", "shrink", "variety",
]  # fmt: skip
