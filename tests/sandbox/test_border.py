"""What enters the sandbox: right, or one sentence, before any program runs."""

import math
from typing import Any

import numpy as np
import pytest

from tenfold.sandbox import Limits, Sandbox, Submission, free_names
from tests.sandbox.machine import needs_jails
from tests.sweeping import refused

BAD: dict[str, tuple[Any, ...]] = {
    "seconds": (0, -1.0, math.nan, math.inf, "soon", True, None),
    "memory": (1, 0, -5, math.nan, 1e30, 2.5, "much", None),
    "processes": (0, -1, 1.5, None),
    "files": (0, 15, math.inf),
    "disk": (0, -1, 1e40),
    "message": (0, math.nan),
}


@pytest.mark.parametrize("name", BAD)
def test_limits(name: str) -> None:
    for value in BAD[name]:
        refused(lambda value=value: Limits(**{name: value}).resources, (name, value))


def test_limits_of_any_library() -> None:
    made = Limits(seconds=np.float32(2), memory=np.int64(128), files="64")
    assert (made.seconds, made.memory, made.files) == (2.0, 128, 64)
    assert all(type(value) is int for value in made.resources.values())
    assert Limits(seconds=1e6).resources["RLIMIT_CPU"] == 1_000_002


@pytest.mark.parametrize(
    "given",
    [
        {"program": None}, {"program": b"x = 1"}, {"tests": 5}, {"tests": ["assert 1"]}, {"context": None},
        {"functions": 5}, {"functions": [1, 2]}, {"functions": ["not a name"]}, {"functions": [""]},
    ],
)  # fmt: skip
def test_submissions(given: dict[str, Any]) -> None:
    refused(lambda: Submission(**{"program": "x = 1", "tests": "assert x", **given}), given)


def test_free_names() -> None:
    assert free_names("f(\x00)") == () == free_names("(")


def test_names_may_come_as_a_list() -> None:
    assert Submission("x = 1", "f()", ["f", "g"]).functions == ("f", "g")


@needs_jails
def test_the_pool() -> None:
    for given in ({"workers": -1}, {"workers": 1.5}, {"workers": math.nan}, {"workers": 10**6}):
        refused(lambda given=given: Sandbox(**given), given)
    with Sandbox(workers=1) as sandbox:
        assert sandbox.judge([]) == []
        cases = (("\x00", "assert 1"), ("x = '\ud800'", "assert 1"), ("x = 1", "assert '\udfff'"))
        found = sandbox.judge(Submission(*case) for case in cases)
        assert [verdict.status for verdict in found] == ["error", "error", "no verdict"]
    refused(lambda: sandbox.judge([Submission("x = 1", "assert 1")]), "closed")
