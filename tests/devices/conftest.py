"""The devices of these tests: "second" everywhere, CUDA where there is one."""

from collections.abc import Iterator

import pytest
import torch

from tests.devices.second import second


@pytest.fixture(params=["second", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """A device that is not the CPU."""
    if request.param == "second":
        with second() as device:
            yield device
    elif torch.cuda.is_available():
        yield torch.device("cuda", 0)
    else:
        pytest.skip("needs a CUDA device")
