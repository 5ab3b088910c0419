"""Model folders, foreign checkpoints, and the hub."""

from tenfold.hub.checkpoints import read_state_dict
from tenfold.hub.fetch import CONFIG, INDEX, WEIGHTS, download, model_folder, resolve
from tenfold.hub.folders import OURS, from_pretrained, load_strict, read_config, save_pretrained

__all__ = [
    "CONFIG",
    "INDEX",
    "OURS",
    "WEIGHTS",
    "download",
    "from_pretrained",
    "load_strict",
    "model_folder",
    "read_config",
    "read_state_dict",
    "resolve",
    "save_pretrained",
]
