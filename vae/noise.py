"""Noise that can be recorded and replayed: `minigrad.noise`, where users of vae look for it."""

from minigrad.noise import (
    Draw,
    Noise,
    drawn,
    exponential,
    normal,
    record,
    replay,
    uniform,
)

__all__ = ["Draw", "Noise", "drawn", "exponential", "normal", "record", "replay", "uniform"]
