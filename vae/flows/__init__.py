"""Normalizing flows: invertible maps of R^n whose log-determinant is cheap, and what they make.

    q = Transformed(Normal(mean, std), [Planar(2, rng=rng), Planar(2, rng=rng)])
    z = q.sample((100,), rng=rng)
    q.log_prob(z)

A flow has `forward(z) -> (z', log |det ∂z'/∂z|)` and, where there is one, `inverse(z')`.
"""

from vae.flows.autoregressive import InverseAutoregressive, Made
from vae.flows.base import Flow, Inverse
from vae.flows.coupling import Coupling, couplings
from vae.flows.planar import Planar, ToPlanar
from vae.flows.radial import Radial
from vae.flows.sylvester import Sylvester
from vae.flows.transformed import ToTransformed, Transformed

__all__ = [
    "Coupling", "Flow", "Inverse", "InverseAutoregressive", "Made", "Planar", "Radial",
    "Sylvester", "ToPlanar", "ToTransformed", "Transformed", "couplings",
]  # fmt: skip
