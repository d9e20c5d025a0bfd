"""Training: the loop, and what it calls."""

from vae.data.checks import check_data
from vae.training.best import KeepBest
from vae.training.checkpoint import Checkpoint, CheckpointError, DamagedCheckpoint, InUse
from vae.training.guard import NonFinite
from vae.training.history import History
from vae.training.loop import fit

__all__ = ["Checkpoint", "CheckpointError", "DamagedCheckpoint", "History", "InUse", "KeepBest",
           "NonFinite", "check_data", "fit"]
