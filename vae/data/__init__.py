"""Data: MNIST, the embedded digits, your own arrays; and how grey images are made binary."""

from vae.data.binarize import Binarization, binarization
from vae.data.dataset import DataError, Dataset, check_unit_interval, from_arrays
from vae.data.digits import embedded, embedded_digits
from vae.data.idx import read_idx
from vae.data.mnist import Mirrors, Unavailable, load, load_mnist

__all__ = [
    "Binarization",
    "DataError",
    "Dataset",
    "Mirrors",
    "Unavailable",
    "binarization",
    "check_unit_interval",
    "embedded",
    "embedded_digits",
    "from_arrays",
    "load",
    "load_mnist",
    "read_idx",
]
