"""What any array of data must be before a model sees it."""

from __future__ import annotations

import numpy as np
from numpy import ndarray


def check_data(x: ndarray) -> None:
    """Raise for an empty array, for one that isn't floating point, and for NaN and infinities."""
    if not isinstance(x, ndarray):
        raise TypeError(f"data as {type(x).__name__}: a NumPy array (n, …) of floats is expected")
    if len(x) == 0:
        raise ValueError(f"no data: an array of shape {x.shape}; give at least one row")
    if not np.issubdtype(x.dtype, np.floating):
        raise TypeError(f"data of dtype {x.dtype}: floating point is expected; divide pixels by "
                        "255")
    bad = ~np.isfinite(x)
    if bad.any():
        first = np.argwhere(bad)[0].tolist()
        raise ValueError(f"{int(bad.sum())} of {x.size} values are NaN or infinite, the first at "
                         f"{first}: leave out such rows, or fill in what is missing")
