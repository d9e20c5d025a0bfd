"""The certificate of each pair that has a finite closed form of KL."""

from __future__ import annotations

from tests.vae.certificates_of_numbers import TOLERANCE, Certificate, elementwise
from tests.vae.certificates_of_vectors import VECTORS
from vae.distributions.kl import CLOSED_FORMS

__all__ = ["FINITE", "TOLERANCE", "Certificate", "certificate"]

FINITE = [pair for pair, entry in CLOSED_FORMS.items() if not entry.infinite]


def certificate(q_type: type, p_type: type) -> Certificate:
    """KeyError for a pair that nothing certifies."""
    if (q_type, p_type) in VECTORS:
        return VECTORS[q_type, p_type]
    return elementwise(q_type, p_type)
