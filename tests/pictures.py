"""What tests ask of pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.image import imread


def colours(path: Path) -> int:
    """How many different colours a PNG of some size has: one is a blank sheet."""
    picture = imread(path)
    assert min(picture.shape[:2]) > 100
    return len(np.unique((255 * picture[..., :4]).astype(np.uint8).view(np.uint32)))
