"""The border of public functions: what is read, what passes as it is, what is refused."""

import numpy as np
import pytest

from tenfold.errors import UsageError
from tenfold.settings.arguments import plain_arguments, read_all_arguments, read_arguments


@read_arguments
def told(n: int, table: object, x: float = 0.5, exact: bool = True, name: str | None = None, *more: int) -> list:
    return [n, table, x, exact, name, *more]


@read_all_arguments
class Thing:
    def __init__(self, size: int) -> None:
        self.size = size

    @classmethod
    def of(cls, size: int) -> "Thing":
        return cls(size)

    @property
    def twice(self) -> int:
        return 2 * self.size

    def grown(self, by: int = 1) -> int:
        return self.size + by


def test_plain_arguments_are_read_and_others_pass():
    table = object()
    assert told(np.uint8(3), table, np.float32(0.25), exact=np.bool_(False), name=None) == [3, table, 0.25, False, None]
    assert [type(v) for v in told(np.int64(3), 0, 1, True, "a")] == [int, int, float, bool, str]
    assert set(plain_arguments(told)) == {"n", "x", "exact", "name", "more"}


@pytest.mark.parametrize(
    ("given", "words"),
    [({"n": 1.5}, "n is '1.5'"), ({"n": True}, "n is 'True'"), ({"n": None}, "whole number"),
     ({"x": np.nan}, "x is nan"), ({"x": 1j}, "x is"), ({"exact": 1}, "true or false"), ({"name": 3}, "name is '3'")],
)  # fmt: skip
def test_what_does_not_fit_is_one_sentence(given, words):
    with pytest.raises(UsageError, match=words):
        told(**{"n": 1, "table": 0, **given})


def test_methods_of_a_class():
    assert (Thing(np.int8(100)).grown(np.int8(100)), Thing.of(np.int8(100)).twice) == (200, 200)
    with pytest.raises(UsageError, match=r"size is '2\.5'"):
        Thing.of(2.5)
