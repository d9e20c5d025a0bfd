"""Data: MNIST, the embedded digits, tables, your own arrays; and how grey ones become binary."""

from vae.data.binarize import Binarization, binarization
from vae.data.dataset import DataError, Dataset, check_unit_interval, from_arrays
from vae.data.digits import embedded, embedded_digits
from vae.data.idx import read_idx
from vae.data.mnist import Mirrors, Unavailable, load, load_mnist
from vae.data.table import Table, read_table, table_from_arrays

__all__ = [
    "Binarization",
    "DataError",
    "Dataset",
    "Mirrors",
    "Table",
    "Unavailable",
    "binarization",
    "check_unit_interval",
    "embedded",
    "embedded_digits",
    "from_arrays",
    "load",
    "load_mnist",
    "read_idx",
    "read_table",
    "table_from_arrays",
]
