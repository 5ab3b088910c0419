"""Guidance: closed forms, numerical integration, validation."""

import math

import pytest
import torch

from tenfold.errors import UsageError
from tenfold.flows.guidance import Guidance, starflow_rule

T = lambda *values: torch.tensor(values, dtype=torch.float64)  # noqa: E731


def test_tarflow_rule_extrapolates_log_scale_and_shift():
    conditional, unconditional = (T(0.2), T(1.0)), (T(-0.1), T(0.4))
    weight = T(1.5)
    for what, scale, shift in (("ab", 0.65, 1.9), ("a", 0.65, 1.0), ("b", 0.2, 1.9)):
        a, m = Guidance(1.5, what=what).combine(conditional, unconditional, weight)
        torch.testing.assert_close((a, m), (T(scale), T(shift)))


def test_starflow_rule_with_equal_scales_moves_the_mean_only():
    a, m = starflow_rule(T(0.3), T(1.0), T(0.3), T(0.25), T(2.0))
    torch.testing.assert_close((a, m), (T(0.3), T(1.0 + 2.0 * 0.75)))


def test_starflow_rule_closed_form_with_half_the_scale():
    # s_c = s_u / 2, w = 2: r = 1/4, q = 2.5
    a, m = starflow_rule(T(0.0), T(1.0), T(2.0).log(), T(0.4), T(2.0))
    torch.testing.assert_close(m, (3 * T(1.0) - 0.5 * T(0.4)) / 2.5)
    torch.testing.assert_close(a.exp(), T(2.5).rsqrt())


def test_starflow_rule_both_printed_forms_and_the_clip():
    generator = torch.Generator().manual_seed(0)
    a_c, m_c, a_u, m_u = torch.randn(4, 200, dtype=torch.float64, generator=generator)
    w = torch.rand(200, dtype=torch.float64, generator=generator) * 5
    a, m = starflow_rule(a_c, m_c, a_u, m_u, w)
    s_c, s_u = a_c.exp(), a_u.exp()
    r = (s_c / s_u).clamp(max=1).square()
    q = 1 + w - w * r
    torch.testing.assert_close(m, ((1 + w) * m_c - w * r * m_u) / q, atol=1e-12, rtol=0)
    torch.testing.assert_close(a.exp(), s_c / q.sqrt(), atol=1e-12, rtol=1e-12)
    clipped = starflow_rule(a_c, m_c, torch.maximum(a_u, a_c), m_u, w)
    torch.testing.assert_close((a, m), clipped, atol=1e-12, rtol=0)


def test_starflow_rule_limits():
    zero = starflow_rule(T(0.3), T(1.0), T(0.7), T(0.4), T(0.0))
    torch.testing.assert_close(zero, (T(0.3), T(1.0)))
    same = starflow_rule(T(0.3), T(1.0), T(0.3), T(1.0), T(3.0))
    torch.testing.assert_close(same, (T(0.3), T(1.0)))
    a, m = starflow_rule(T(0.3), T(1.0), T(40.0), T(7.0), T(3.0))
    torch.testing.assert_close((a, m), (T(0.3) - 0.5 * T(4.0).log(), T(1.0)))
    # where the scales cross, the clip keeps the result finite at any weight
    a, _ = starflow_rule(T(0.3), T(1.0), T(-5.0), T(0.0), T(50.0))
    torch.testing.assert_close(a, T(0.3))


@pytest.mark.parametrize("s_c", [0.3, 0.8])
def test_starflow_rule_is_the_normalised_tilt(s_c):
    s_u, m_c, m_u, w = 1.0, 0.6, -0.2, 2.5
    grid = torch.linspace(-20, 20, 200001, dtype=torch.float64)
    log = lambda m, s: -0.5 * ((grid - m) / s).square() - torch.tensor(s).log()  # noqa: E731
    density = ((1 + w) * log(m_c, s_c) - w * log(m_u, s_u)).exp()
    density = density / density.sum()
    mean = (density * grid).sum()
    scale = (density * (grid - mean).square()).sum().sqrt()
    a, m = starflow_rule(T(s_c).log(), T(m_c), T(s_u).log(), T(m_u), T(w))
    torch.testing.assert_close((a.exp(), m), (scale[None], mean[None]), atol=1e-9, rtol=0)


def test_unit_scale():
    assert Guidance(1.0).combine((None, T(1.0)), (None, T(0.5)), T(1.0))[0] is None
    a, m = starflow_rule(None, T(1.0), None, T(0.5), T(2.0))
    assert a is None
    torch.testing.assert_close(m, T(2.0))


def test_linear_schedule_ends_at_the_weight():
    steps, w = 15, 2.0
    weights = Guidance(w, schedule="linear").weights(steps, T(0.0))[:, 0]
    torch.testing.assert_close(weights[0], T(w / steps)[0])
    torch.testing.assert_close(weights[-1], T(w)[0])
    torch.testing.assert_close(Guidance(w).weights(3, T(0.0)), torch.full((3, 1), w, dtype=torch.float64))


def test_which_blocks():
    def guided(blocks, weight=1.0):
        return sorted(Guidance(weight, blocks=blocks).guided_blocks(4))

    assert guided("all") == [0, 1, 2, 3]
    assert guided("top") == guided(1) == [0]
    assert guided(3) == [0, 1, 2]
    assert guided([0, 2]) == [0, 2]
    assert guided(0) == guided("all", weight=0.0) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"weight": -1.0}, "guidance is -1"),
        ({"weight": float("nan")}, "guidance is nan"),
        ({"weight": 1.0, "attn_temp": 0.0}, "attn_temp is 0"),
        ({"rule": "starfow"}, "did you mean 'starflow'"),
        ({"what": "c"}, "choose one of ab, a, b"),
        ({"schedule": "annealed"}, "choose one of const, linear"),
        ({"rule": "starflow", "what": "a"}, "mean and scale together"),
    ],
)
def test_bad_settings(arguments, words):
    with pytest.raises(UsageError, match=words):
        Guidance(**arguments)


@pytest.mark.parametrize(("blocks", "words"), [(5, "has 4 blocks"), ([4], "0 to 3"), ("bottom", "'bottom'")])
def test_bad_blocks(blocks, words):
    with pytest.raises(UsageError, match=words):
        Guidance(1.0, blocks=blocks).guided_blocks(4)


@pytest.mark.parametrize(("s_c", "s_u"), [(0.6, 1.2), (1.0, 1.0), (1.6, 1.5), (1.6, 1.1)])
def test_rule_starflow_is_the_tilt_where_that_is_and_that_of_a_wider_gaussian_elsewhere(s_c: float, s_u: float) -> None:
    x, weight = torch.linspace(-60, 60, 400_001, dtype=torch.float64), 0.5

    def moments(wide: float) -> tuple[float, float]:
        logarithm = -0.5 * (1 + weight) * ((x - 0.7) / s_c) ** 2 + 0.5 * weight * ((x + 0.3) / wide) ** 2
        shares = (logarithm - logarithm.max()).exp()
        mean = float((shares * x).sum() / shares.sum())
        return mean, float(((shares * (x - mean) ** 2).sum() / shares.sum()).sqrt())

    numbers = (torch.tensor(v, dtype=torch.float64) for v in (math.log(s_c), 0.7, math.log(s_u), -0.3, weight))
    scale, mean = starflow_rule(*numbers)
    found = (float(mean), float(scale.exp()))
    assert found == pytest.approx(moments(max(s_u, s_c)), rel=1e-6)
    assert (found == pytest.approx(moments(s_u), rel=1e-3)) == (s_c <= s_u)
