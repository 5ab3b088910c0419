"""tenfold: ten research systems in one PyTorch library and one command.

Importing the package imports no PyTorch: public names are resolved on first use, so that
``tenfold --help`` and ``tenfold.shifts`` stay quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "StarFlow": "tenfold.flows.starflow.flow",
    "StarFlowConfig": "tenfold.flows.starflow.config",
    "TarFlow": "tenfold.flows",
    "TarFlowConfig": "tenfold.flows",
    "analyse": "tenfold.api",
    "convert": "tenfold.api",
    "evaluate": "tenfold.api",
    "load": "tenfold.api",
    "recipe": "tenfold.recipes",
    "report": "tenfold.api",
    "resume": "tenfold.api",
    "sample": "tenfold.api",
    "score": "tenfold.api",
    "train": "tenfold.api",
}
__all__ = [
    "StarFlow",
    "StarFlowConfig",
    "TarFlow",
    "TarFlowConfig",
    "__version__",
    "analyse",
    "convert",
    "evaluate",
    "load",
    "recipe",
    "report",
    "resume",
    "sample",
    "score",
    "train",
]

if TYPE_CHECKING:
    from tenfold.api import analyse, convert, evaluate, load, report, resume, sample, score, train
    from tenfold.flows import TarFlow, TarFlowConfig
    from tenfold.flows.starflow.config import StarFlowConfig
    from tenfold.flows.starflow.flow import StarFlow
    from tenfold.recipes import recipe


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'tenfold' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
