"""An untrained autoencoder to start from, and tasks of both kinds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tenfold import hub
from tenfold.nn.autoencoder import Autoencoder
from tenfold.starflow.autoencoder.task import AutoencoderTask
from tenfold.starflow.autoencoder.task import AutoencoderTask as DecoderTask
from tests.starflow.autoencoder.recipes import MODEL, autoencoder_recipe, decoder_recipe


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of an untrained autoencoder with a scale."""
    torch.manual_seed(3)
    config = type(MODEL)(**{**vars(MODEL), "scale_factor": 2.0, "shift_factor": 0.1})
    folder = tmp_path_factory.mktemp("start")
    hub.save_pretrained(Autoencoder(config), folder)
    return folder


@pytest.fixture(params=["autoencoder", "decoder"])
def make(request: pytest.FixtureRequest, start: Path) -> Callable[..., Any]:
    def made(**changes: Any) -> Any:
        if request.param == "autoencoder":
            return AutoencoderTask(autoencoder_recipe(**changes))
        return DecoderTask(decoder_recipe(start, **changes))

    return made
