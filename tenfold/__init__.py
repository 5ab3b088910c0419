"""tenfold: ten research systems in one PyTorch library and one command.

Importing the package imports no PyTorch: public names are resolved on first use, so that
``tenfold --help`` and ``tenfold.shifts`` stay quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "TarFlow": "tenfold.flows",
    "TarFlowConfig": "tenfold.flows",
    "train": "tenfold.api",
    "load": "tenfold.api",
    "recipe": "tenfold.recipes",
}
__all__ = ["TarFlow", "TarFlowConfig", "__version__", "load", "recipe", "train"]

if TYPE_CHECKING:
    from tenfold.api import load, train
    from tenfold.flows import TarFlow, TarFlowConfig
    from tenfold.recipes import recipe


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'tenfold' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
