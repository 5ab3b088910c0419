"""Literals cross as they are; nothing else does."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from tenfold.sandbox.inside.wire import Uncrossable, decode, encode

PLAIN = (
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False) | some.text() | some.binary()
) | some.complex_numbers(allow_nan=False)
KEYS = some.integers() | some.text() | some.tuples(some.integers(), some.text()) | some.frozensets(some.integers())
LITERALS = some.recursive(
    PLAIN,
    lambda inner: (
        some.lists(inner, max_size=4)
        | some.lists(inner, max_size=4).map(tuple)
        | some.dictionaries(KEYS, inner, max_size=4)
        | some.sets(KEYS, max_size=4)
    ),
    max_leaves=12,
)


def exactly(value: Any) -> Any:
    """A value with the types and the order of what is in it, −0.0 told from 0."""
    if isinstance(value, dict):
        return "dict", [(exactly(key), exactly(item)) for key, item in value.items()]
    if isinstance(value, set | frozenset):
        return type(value), sorted(repr(exactly(item)) for item in value)
    if isinstance(value, list | tuple):
        return type(value), [exactly(item) for item in value]
    return type(value), repr(value)


@settings(deadline=None)
@given(LITERALS)
def test_literals_cross(value: Any) -> None:
    found = decode(encode(value))
    assert found == value
    assert exactly(found) == exactly(value)


def test_numbers_that_equal_nothing_and_lone_surrogates_cross() -> None:
    assert math.isnan(decode(encode(math.nan)))  # type: ignore[arg-type]
    assert decode(encode("a\ud800")) == "a\ud800"
    assert decode(encode(-(7**5000))) == -(7**5000)


class Odd(int):
    """What is no int."""


@pytest.mark.parametrize("value", [Odd(1), [Odd(1)], {1: Odd(1)}, print, object(), range(3), bytearray(1), ...])
def test_others_do_not(value: object) -> None:
    with pytest.raises(Uncrossable, match="is no literal"):
        encode(value)


@settings(deadline=None)
@given(some.binary(max_size=40) | some.text("NTFifcsbltezd;:0123456789x.p-", max_size=40).map(str.encode))
def test_any_bytes_are_a_literal_or_refused(data: bytes) -> None:
    try:
        found = decode(data)
    except (ValueError, TypeError):
        return
    encode(found)


@pytest.mark.parametrize("data", [b"", b"NN", b"l9;N", b"s9:a", b"x", b"i;", b"l-1;", b"d1;l0;N", b"e1;l0;"])
def test_torn_messages_are_refused(data: bytes) -> None:
    with pytest.raises((ValueError, TypeError)):
        decode(data)


def test_depth_is_bounded() -> None:
    with pytest.raises(RecursionError):
        decode(b"l1;" * 100_000 + b"N")
