"""One value of a type hint, from text and from Python, and what is refused."""

import math
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tenfold.errors import UsageError
from tenfold.settings.values import build, expected, read, write

Kind = Literal["softplus", "exp"]


@dataclass(frozen=True)
class Inner:
    sizes: tuple[int, ...] = (3, 2)


@dataclass(frozen=True)
class Outer:
    width: int
    scale: Kind = "softplus"
    logit_shift: bool = True
    inner: Inner = field(default_factory=Inner)
    other: Inner | None = None
    pairs: tuple[tuple[int, float], ...] = ()

    def __post_init__(self) -> None:
        if self.width < 1:
            raise UsageError(f"width is {self.width}; give at least 1")


def same(left: Any, right: Any) -> bool:
    return type(left) is type(right) and left == right


@pytest.mark.parametrize(
    ("hint", "value", "wanted"),
    [
        (int, 3, 3),
        (int, np.int8(-3), -3),
        (int, np.uint64(2**64 - 1), 2**64 - 1),
        (int, np.array(7), 7),
        (int, torch.tensor(7), 7),
        (int, 1e3, 1000),
        (int, np.float32(8), 8),
        (int, "1e3", 1000),
        (int, "8.0", 8),
        (int, " 1_000 ", 1000),
        (int, "2^20", 2**20),
        (int, 2**63, 2**63),
        (int, "9223372036854775808", 2**63),
        (int, "1e30", 10**30),
        (float, 1, 1.0),
        (float, "3e-4", 3e-4),
        (float, np.float16(0.5), 0.5),
        (float, np.int64(2), 2.0),
        (float, torch.tensor(0.5, dtype=torch.bfloat16), 0.5),
        (float, Fraction(1, 4), 0.25),
        (float, Decimal("0.25"), 0.25),
        (str, "none", "none"),
        (str, "", ""),
        (str, Path("a/b"), "a/b"),
        (str, np.str_("a"), "a"),
        (bool, np.bool_(True), True),
        (bool, "Yes", True),
        (bool, "false", False),
        (None, None, None),
        (float | None, None, None),
        (float | None, "none", None),
        (float | None, "0.5", 0.5),
        (str | None, "none", "none"),
        (int | str, "500", "500"),
        (int | str, 500.0, 500),
        (bool | None, False, False),
        (int | float, 2.0, 2.0),
        (Kind, "exp", "exp"),
        (Kind | None, "null", None),
        (Literal[1, 2], "2", 2),
        (tuple[int, ...], [1, "2", 3.0], (1, 2, 3)),
        (tuple[int, ...], np.arange(3), (0, 1, 2)),
        (tuple[int, ...], (), ()),
        (tuple[float, float], "0.8,0.9", (0.8, 0.9)),
        (tuple[Kind, ...], ["exp"], ("exp",)),
        (list[str], ("a", "b"), ["a", "b"]),
        (tuple, [1, "a"], (1, "a")),
        (Inner, {"sizes": [4]}, Inner((4,))),
        (Inner | None, {"sizes": [4]}, Inner((4,))),
        (Inner | None, Inner((5,)), Inner((5,))),
        (Inner | None, None, None),
    ],
)
def test_typed_values(hint: Any, value: Any, wanted: Any) -> None:
    found = read(type(None) if hint is None else hint, value, "x")
    assert same(found, wanted)
    assert same(read(type(None) if hint is None else hint, found, "x"), wanted)


@pytest.mark.parametrize(
    ("hint", "text", "wanted"),
    [
        (int | str, "500", 500),
        (int | str, "validation", "validation"),
        (str | None, "none", None),
        (str | None, "None of these", "None of these"),
        (str, "none", "none"),
        (tuple[int, ...], "[1, 8, 8]", (1, 8, 8)),
        (tuple[int, ...], "(1,8,8)", (1, 8, 8)),
        (tuple[int, ...], "[]", ()),
        (tuple[int, ...], "", ()),
        (tuple[str, ...], "1,b", ("1", "b")),
        (tuple[str, ...], r'"\n\n","a, b"', ("\n\n", "a, b")),
        (tuple[float | None, ...], "1,none", (1.0, None)),
        (tuple[tuple[int, int], ...], "[[1,2],[3,4]]", ((1, 2), (3, 4))),
    ],
)
def test_words_of_a_command_line(hint: Any, text: str, wanted: Any) -> None:
    assert same(read(hint, text, "--x", text=True), wanted)


HOSTILE = [
    (int, [True, 1.5, "1.5", "x", "", " ", None, [3], {}, math.nan, math.inf, "nan", "inf", "1e500", "1e999999999"]),
    (int, ["2^-1", "2^401", "2^x", 2.0**60, b"3", 1j, np.array([1, 2]), object(), "0x10", "1" * 5000]),
    (float, [True, "x", "", None, [0.5], math.nan, -math.inf, "nan", "inf", ".nan", "1e999", 10**400, 1j, b"1.5"]),
    (float, [np.float32("nan"), np.complex64(1), 10**5000, Decimal("NaN"), {}]),
    (bool, [0, 1, 1.0, "on", "1", "", None, np.int64(1), []]),
    (str, [3, None, True, b"a", ["a"], 0.5, {}]),
    (type(None), [0, False, "", "nothing", []]),
    (Kind, ["Softplus", "", None, 1, True, ["exp"]]),
    (Literal[1, 2], [True, 1.5, "3"]),
    (tuple[int, ...], [3, "1,x", [1.5], [[1]], {1: 2}, {1, 2}, None, "a: b", "[1", "*a", "[" * 5000, "1,,2"]),
    (tuple[int, int], ["1", "1,2,3", [1], (1, 2, 3)]),
    (tuple[str, ...], [[1], [None]]),
    (float | None, ["often", True, [], math.nan]),
    (int | str, [1.5, None, [], True]),
    (Inner, [3, None, [], {"size": 3}, {"sizes": "x"}]),
    (Inner | None, [3, {"size": 3}]),
    (dict, [[], 3]),
]


@pytest.mark.parametrize(("hint", "values"), HOSTILE, ids=[expected(hint) for hint, _ in HOSTILE])
@pytest.mark.parametrize("text", [False, True])
def test_what_does_not_fit_is_refused_in_one_sentence(hint: Any, values: list[Any], text: bool) -> None:
    for value in values:
        if text and not (isinstance(value, str) and hint != (int | str)):
            continue
        with pytest.raises(UsageError) as error:
            read(hint, value, "train.x", text=text)
        sentence = str(error.value)
        assert "train.x" in sentence, (value, sentence)
        assert "\n" not in sentence
        assert len(sentence) < 500


@pytest.mark.parametrize(
    ("hint", "value", "sentence"),
    [
        (int, "many", "x is 'many'; expected a whole number, 1e12 or 2^20 say"),
        (int, 1.5, "x is '1.5'; expected a whole number"),
        (float | None, "often", "x is 'often'; expected a number or none"),
        (float, math.nan, "x is nan; expected a number"),
        (tuple[float, float], [0.8, "y"], "x is '0.8,y'; expected 2 numbers such as 1,2"),
        (tuple[str, ...], [1], "x is '1'; expected a list of words such as a,b"),
        (tuple[Kind, ...], ["ex"], "x is 'ex'; expected a list of values, each one of softplus, exp"),
        (Kind, "Softplus", "x is 'Softplus'; expected one of softplus, exp; did you mean 'softplus'?"),
        (Kind, "zzz", "x is 'zzz'; expected one of softplus, exp"),
        (Literal["", "a"], 1, "x is '1'; expected one of '', a"),
        (bool, 1, "x is '1'; expected true or false"),
    ],
)
def test_sentences(hint: Any, value: Any, sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        read(hint, value, "x")
    assert str(error.value) == sentence


class TestBuild:
    def test_nested_from_json(self) -> None:
        values = {"width": 4, "inner": {"sizes": [7, 1]}, "other": {}, "pairs": [[1, 2]], "logit_shift": "false"}
        found = build(Outer, values, "config.json")
        assert found == Outer(4, "softplus", False, Inner((7, 1)), Inner(), ((1, 2.0),))
        assert found.logit_shift is False

    @pytest.mark.parametrize(
        ("values", "sentence"),
        [
            ({}, "f lacks the field(s) width of Outer"),
            ({"width": 4, "inner": {"size": 3}}, "f: inner has unknown field(s) size; Inner has sizes"),
            ({"width": 0}, "f: width is 0; give at least 1"),
            ({"width": 1.5}, "f: width is '1.5'; expected a whole number"),
            ({"width": 1, "scale": "Softplus"}, "f: scale is 'Softplus'; expected one of softplus, exp; did you mean"),
            ({"width": 1, "logit_shift": 1}, "f: logit_shift is '1'; expected true or false"),
            ({"width": 1, "other": {"size": 3}}, "f: other has unknown field(s) size"),
            ([], "f is ''; expected its settings by name"),
        ],
    )
    def test_refused(self, values: Any, sentence: str) -> None:
        with pytest.raises(UsageError) as error:
            build(Outer, values, "f")
        assert str(error.value).startswith(sentence)


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = {
    int: st.integers(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    str: WORDS,
    float | None: st.none() | st.floats(allow_nan=False, allow_infinity=False),
    Kind: st.sampled_from(["softplus", "exp"]),
    tuple[int, ...]: st.lists(st.integers()).map(tuple),
    tuple[float, float]: st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 2),
    tuple[str, ...]: st.lists(WORDS).map(tuple),
    list[bool]: st.lists(st.booleans()),
}


@given(st.sampled_from(list(VALUES)).flatmap(lambda hint: st.tuples(st.just(hint), VALUES[hint])))
def test_a_value_survives_its_text(case: tuple[Any, Any]) -> None:
    hint, value = case
    text = write(value)
    assert same(read(hint, text, "--x", text=True), value)
    assert write(read(hint, text, "--x", text=True)) == text


@given(
    st.sampled_from([h for h, _ in HOSTILE]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    ),
)
def test_anything_is_a_value_or_one_sentence(hint: Any, value: Any) -> None:
    try:
        found = read(hint, value, "x")
    except UsageError as error:
        sentence = str(error)
    else:
        sentence = ""
        assert same(read(hint, found, "x"), found)
    assert "\n" not in sentence
