"""TarFlow: transformer autoregressive normalizing flows on images and sequences of vectors."""

from importlib import import_module
from typing import Any

_PUBLIC = {
    "TarFlow": "tenfold.flows.flow",
    "TarFlowConfig": "tenfold.flows.config",
    "denoise": "tenfold.flows.density",
    "log_prob": "tenfold.flows.density",
    "sample": "tenfold.flows.sampling",
}
__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'tenfold.flows' has no attribute {name!r}")
