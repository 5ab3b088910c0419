"""The deformable convolution against its definition, and DCFL's head against an independent one."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tenfold.detection import geometry
from tenfold.detection.assign import DcflOptions, dcfl_stages
from tenfold.detection.models import DcflHead, decoded, deformable_conv, priors_of
from tenfold.detection.models.deformable import deformed
from tenfold.errors import UsageError


@pytest.fixture(scope="module")
def known() -> dict[str, Tensor]:
    file = np.load(Path(__file__).parents[1] / "fixtures" / "oriented_tiny_detection" / "dcfl_head.npz")
    return {name: torch.from_numpy(file[name]) for name in file.files}


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_reference(known: dict[str, Tensor], dtype: torch.dtype, tolerance: float) -> None:
    head = DcflHead(classes=3, inputs=8, width=8).to(dtype)
    names = {name.removeprefix("weight/"): value for name, value in known.items() if name.startswith("weight/")}
    head.load_state_dict(names, strict=True)
    found = head([known["l0_feat"].to(dtype), known["l1_feat"].to(dtype)])
    for k, level in enumerate(found):
        x, y = level.shift(8 * 2**k).unbind(-1)
        for name, value in (("cls", level.logits), ("reg", level.deltas), ("offset", level.offsets),
                            ("mask", level.mask), ("prior_shift_x", x), ("prior_shift_y", y)):  # fmt: skip
            assert (value - known[f"l{k}_{name}"]).abs().max() < tolerance, (k, name)


def test_deformable_by_its_definition() -> None:
    draw = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(*shape, generator=draw, dtype=torch.float64) for shape in ((2, 3, 5, 4), (2, 3, 3, 3)))
    offsets = 2 * torch.randn(2, 18, 5, 4, generator=draw, dtype=torch.float64)
    mask = torch.rand(2, 9, 5, 4, generator=draw, dtype=torch.float64)
    found = deformable_conv(x, offsets, mask, weight)
    padded = functional.pad(x, (20, 20, 20, 20))
    for b, i, j in ((0, 0, 0), (0, 4, 3), (1, 2, 1), (1, 0, 3)):
        want = torch.zeros(2, dtype=torch.float64)
        for k in range(9):
            y = i + k // 3 - 1 + float(offsets[b, 2 * k, i, j])
            z = j + k % 3 - 1 + float(offsets[b, 2 * k + 1, i, j])
            a, c = math.floor(y), math.floor(z)
            value = sum(
                (1 - abs(y - p)) * (1 - abs(z - q)) * padded[b, :, p + 20, q + 20]
                for p in (a, a + 1)
                for q in (c, c + 1)
            )
            want += weight[:, :, k // 3, k % 3] @ value * mask[b, k, i, j]
        assert torch.allclose(found[b, :, i, j], want)


def test_gradients() -> None:
    draw = torch.Generator().manual_seed(1)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64).requires_grad_()

    inputs = random(1, 2, 3, 3), random(1, 18, 3, 3), random(1, 9, 3, 3), random(2, 2, 3, 3)
    assert torch.autograd.gradcheck(deformable_conv, inputs)


def test_no_offsets_are_a_plain_convolution_and_priors_that_stay() -> None:
    head = DcflHead(classes=4, inputs=6, width=6, dilation=2).double()
    features = [torch.randn(2, 6, 7, 9).double(), torch.randn(2, 6, 1, 1).double()]
    found = head(features)
    assert bool((found[0].offsets == 0).all() & (found[0].mask == 0.5).all())
    scores = head.cls_convs[2](head.cls_convs[1](head.cls_convs[0](features[0])))
    plain = functional.conv2d(scores, head.cls_convs[3].weight / 2, padding=1)
    assert torch.allclose(found[0].logits, head.retina_cls(plain))
    assert float(found[0].logits.mean().detach()) == pytest.approx(-math.log(99), abs=0.2)
    priors = priors_of(found, [8, 16], 1)
    assert torch.equal(priors.moved, priors.boxes.double())
    assert priors.levels == (63, 1)
    said = decoded(found, priors, 1, geometry.BoxCoder())
    assert torch.equal(said.logits[9], found[0].logits[1, :, 1, 0])
    assert said.boxes.shape == (64, 5)
    objects = torch.tensor([[30.0, 20, 8, 5, 0.2]])
    stages = dcfl_stages(objects, priors, said, DcflOptions())
    assert int((stages.fine == 0).sum()) >= 1


def test_priors_move_with_the_offsets() -> None:
    head = DcflHead(classes=2, inputs=4, width=4)
    with torch.no_grad():
        head.reg_convs[3].conv_offset.bias[:18:2] = 3.0  # y
        head.reg_convs[3].conv_offset.bias[1:18:2] = -1.0  # x
    found = head([torch.randn(1, 4, 3, 3)])
    priors = priors_of(found, [8], 0)
    assert torch.allclose(priors.moved[:, :2] - priors.boxes[:, :2], torch.tensor([-4.0, 12.0]).expand(9, 2))
    static, dynamic = (decoded(found, priors, 0, geometry.BoxCoder(), flag).boxes for flag in (False, True))
    assert torch.allclose(dynamic[:, :2] - static[:, :2], torch.tensor([-4.0, 12.0]).expand(9, 2), atol=1e-4)


def test_half_precision_and_refused() -> None:
    x, mask = torch.randn(1, 2, 40, 300), torch.ones(1, 9, 40, 300)
    offsets, weight = torch.full((1, 18, 40, 300), 0.25), torch.randn(2, 2, 3, 3)
    exact = deformable_conv(x, offsets, mask, weight)
    half = deformed(x.bfloat16(), offsets.bfloat16(), mask.bfloat16(), weight.bfloat16())
    assert half.dtype == torch.bfloat16
    assert (half.float() - exact).abs().max() < 0.2
    with pytest.raises(UsageError, match="the kernel is 2 × 2"):
        deformable_conv(x, offsets, mask, torch.randn(2, 2, 2, 2))
    with pytest.raises(UsageError, match="18 channels of offsets and 9 of the mask; a kernel of 5 × 5 takes 50 and 25"):
        deformable_conv(x, offsets, mask, torch.randn(2, 2, 5, 5))
