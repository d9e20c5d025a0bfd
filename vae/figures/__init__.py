"""Pictures; the only package that imports matplotlib.  Every function writes one PNG.

Those that only one example draws are in a file of their own, such as `vae.figures.flows`.
"""

from vae.figures.canvas import effects, sheet, tiled
from vae.figures.evaluation import decomposition, gaps, kl_bars, overview, rate_distortion
from vae.figures.images import labelled_rows, side_by_side
from vae.figures.likelihood import band, densities, std_map
from vae.figures.models import curves, manifold, pairs, reconstructions, samples, scatter
from vae.figures.sampling import em_traces, estimators

__all__ = [
    "band", "curves", "decomposition", "densities", "effects", "em_traces", "estimators", "gaps",
    "kl_bars", "labelled_rows", "manifold", "overview", "pairs", "rate_distortion",
    "reconstructions", "samples", "scatter", "sheet", "side_by_side", "std_map", "tiled",
]  # fmt: skip
