"""What metrics are given: numbers of any type, and nothing that is none."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tenfold.errors import TenfoldError, UsageError
from tenfold.metrics import features, images
from tenfold.nn.autoencoder import Autoencoder
from tenfold.nn.autoencoder_config import AutoencoderConfig

PAIRS: dict[str, Callable[[Any, Any], Any]] = {
    "fid": images.fid,
    "kid": lambda a, b: images.kid(a, b, subsets=3),
    "mmd": images.mmd,
    "precision_recall": images.precision_recall,
    "mean_squared_error": lambda a, b: images.mean_squared_error(a, b).tolist(),
    "psnr": lambda a, b: images.psnr(a, b, 2.0).tolist(),
    "reconstruction_rows": lambda a, b: [row.value for row in images.reconstruction_rows(a, b, 2.0, "m", "s")],
}
FEATURES = {"fid", "kid", "mmd", "precision_recall"}
# Those that take an extractor, which looks at the images itself.
BY_EXTRACTOR = {"sample_metrics", "real_floor"}


def test_every_metric_is_tried() -> None:
    own = {name for name, value in vars(images).items() if getattr(value, "__module__", "") == images.__name__}
    assert {name for name in own if not name.startswith("_")} == set(PAIRS) | BY_EXTRACTOR


@pytest.mark.parametrize("name", PAIRS)
def test_pairs(name: str) -> None:
    draw = torch.Generator().manual_seed(0)
    a, b = (torch.rand(12, 3, generator=draw) for _ in range(2))
    call = PAIRS[name]
    expected = call(a, b)
    for x, y in ((a.double(), b.double()), (a.numpy(), b.tolist()), (a.t().contiguous().t(), b)):
        assert np.allclose(call(x, y), expected, rtol=1e-5)
    assert np.allclose(call(a.half(), b.half()), call(a.half().float(), b.half().float()))
    assert np.isfinite(call((a * 9).to(torch.uint8), (b * 9).to(torch.int16).float())).all() or name == "psnr"
    for value in (np.nan, np.inf):
        bad = a.clone()
        bad[5, 1] = value
        for x, y in ((bad, b), (b, bad)):
            with pytest.raises(UsageError, match="not all finite" if name in FEATURES else "row 5 of the images"):
                call(x, y)
    for x, y in ((a, b[:, :2]), (a + 0j, b), (a > 0, b), ("abc", b)):
        with pytest.raises(UsageError):
            call(x, y)
    if name not in ("mean_squared_error", "psnr"):
        with pytest.raises(UsageError):
            call(a[:0], b[:0])


def test_options_out_of_range() -> None:
    a = torch.rand(12, 3)
    for call, words in (
        (lambda: images.kid(a, a, subsets=0), "subsets is 0"),
        (lambda: images.kid(a, a, subset_size=1), "subset_size 1"),
        (lambda: images.precision_recall(a, a, chunk=0), "chunk is 0"),
        (lambda: images.psnr(a, a, float("nan")), "peak is nan"),
        (lambda: images.mmd(a[:1], a), "at least 2"),
    ):
        with pytest.raises(UsageError, match=words):
            call()


def test_extractors_read_levels_alone() -> None:
    model = features.ClassifierFeatures((1, 8, 8), 17, 10)
    good = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    assert model(good).shape == (2, 32)
    assert model(good[:0]).shape == (0, 32)
    assert model.predict(good[:0]).shape == (0,)
    for call in (model, model.predict, model.logits):
        for wrong in (good.float(), good.long(), good[:, :, :4], good.float() * np.nan):
            with pytest.raises(UsageError, match="reads uint8 images"):
                call(wrong)
    with pytest.raises(UsageError, match=r"pixel value 17, outside \[0, 17\)"):
        model(good + 17)


AUTOENCODER = Autoencoder(AutoencoderConfig(widths=(8, 8), norm_groups=4)).eval()


@torch.no_grad()
@pytest.mark.parametrize("name", ["posterior", "encode", "decode"])
def test_autoencoders(name: str) -> None:
    x = torch.rand(3, 4 if name == "decode" else 1, 8, 8)

    def call(values: Any) -> Tensor:
        found = getattr(AUTOENCODER, name)(values)
        return found if isinstance(found, Tensor) else found[0]

    expected = call(x)
    for other in (x.double(), x.numpy(), x.tolist(), x.contiguous(memory_format=torch.channels_last)):
        torch.testing.assert_close(call(other), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(call(x.half()), call(x.half().float()))
    assert len(call(x[:0])) == 0
    bad = x.clone()
    bad[1, 0, 0, 0] = np.nan
    for wrong in (bad, x.to(torch.uint8), x[:, :0], x[0], "abc", x * 1e9):
        with pytest.raises(TenfoldError) as error:
            call(wrong)
        assert "\n" not in str(error.value)
