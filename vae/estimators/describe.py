"""What a table says about an estimator, kept at the function itself."""

from __future__ import annotations

from collections.abc import Callable


def described(*, source: str, needs: str, biased: bool = False) -> Callable[[Callable], Callable]:
    """Decorator: sets `.source` (the paper), `.needs` (of q), `.biased` (its gradient)."""
    def enter(estimator: Callable) -> Callable:
        estimator.source, estimator.needs, estimator.biased = source, needs, biased
        return estimator
    return enter
