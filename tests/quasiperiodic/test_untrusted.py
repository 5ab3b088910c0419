"""Sets and points from strangers: text, JSON and files of any bytes end in an answer or in one sentence."""

import io
import json
import random
import zipfile

import numpy as np
import pytest

from tenfold.errors import UsageError
from tenfold.quasiperiodic import Set, parse_set
from tenfold.quasiperiodic.commands.arrays import loaded
from tenfold.shifts import Kronecker

TEXTS = [
    *("(" * n + "x" + ")" * n + "<1" for n in (50, 3000)), *("~" * n + "(x<1)" for n in (13, 4000)),
    "-" * 4000 + "x<1", "x^64^64<1", "((x+1)^64)^64<1", "1e999999999<x", "x<1e-999999999", "9" * 4999 + "<x",
    "0x10<x", "0b1<x", "1_000<x", "1j<x", "True<x", "None<x", "nan<x", "inf<x", "x<", "", " ", "\0", "x<1\n",
    "x<1;import os", "__import__('os')<1", "x<y<1<0.5", "x!=y", "x in y", "abs(x)", "abs(x,y)<1", "abs()<1",
    "abs(x)<abs(y)", "x/0<1", "x/y<1", "1/(x-x)<1", "x//2<1", "x[0]<1", "x.y<1", "lambda:0", "'x'<1", "f'{x}'<1",
    "x99<1", "é<1", "x²<1", "½<x", "x<1e5000", "x<1e-400", "x^2.5<1", "x^-1<1", "x^True<1", "{x<1}", "[x<1]", "(x<1)<1",
]  # fmt: skip
HEADER = "{'descr': '%s', 'fortran_order': False, 'shape': %s, }\n"
FREQUENCIES = ["rd:", "rd:-1", "rd:" + "9" * 20, "sqrt", "sqrt(-1)", "sqrt" + "9" * 50, "cbrt8", "liouville:", "1/",
               "/3", "1//3", "0x1", "½", "٣", ",", ",,,", "golden,", "a" * 10000, "1e-99999", "+.5", "1e5",
               "-1e-5"]  # fmt: skip


def answers(work):
    said = "a number of words."
    try:
        work()
    except UsageError as refused:
        said = str(refused)
    assert 10 < len(said) < 600
    assert "\n" not in said


@pytest.mark.parametrize("text", TEXTS, ids=lambda t: ascii(t[:20]))
def test_sets_in_words(text):
    answers(lambda: parse_set(text, 2).membership)


@pytest.mark.parametrize("text", FREQUENCIES, ids=lambda t: ascii(t[:20]))
def test_frequencies_in_words(text):
    answers(lambda: Kronecker(text, allow_resonant=True).points(0, 2))


def mutated(value, rng):
    kind = rng.random()
    if kind < 0.25:
        return rng.choice([None, True, float("nan"), -1, 10**30, "1e99999999", "x", [], {}, [[]], "1/0", 2**70, 1.5,
                           "9" * 5000, [[1, [1, 1]]], [[1, [10**9, 0]]], [[1, [200, 200]]]])  # fmt: skip
    if isinstance(value, list) and value:
        place = rng.randrange(len(value))
        middle = [] if kind < 0.4 else [value[place]] * 2 if kind < 0.5 else [mutated(value[place], rng)]
        return [*value[:place], *middle, *value[place + 1 :]]
    if isinstance(value, dict) and value:
        key = rng.choice(list(value))
        return {**value, key: mutated(value[key], rng)}
    return rng.choice([None, "", 1, "<", []])


def test_sets_in_json():
    rng, good = random.Random(0), parse_set("abs(y - x^2) <= 1/50 & x > 1/10", 2).to_dict()
    assert Set.from_dict(json.loads(json.dumps(good))).to_dict() == good
    for _ in range(600):
        broken = mutated(mutated(good, rng), rng)
        answers(lambda broken=broken: Set.from_dict(broken).membership)


def npy(kind, shape, after=b""):
    header = (HEADER % (kind, shape)).encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + after


def zipped(content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("points.npy", content)
    return file.getvalue()


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".csv", ".txt"])
def test_points_in_files(suffix, tmp_path):
    table, path, rng = np.random.default_rng(0).random((50, 2)), tmp_path / f"points{suffix}", random.Random(1)
    whole = npy("<f8", table.shape, table.tobytes())
    packed, text = zipped(whole), "\n".join(f"{x},{y}" for x, y in table).encode()
    raw = {".npz": packed, ".npy": whole, ".csv": text}.get(suffix, whole)
    path.write_bytes(raw)
    assert np.array_equal(loaded(str(path)), table)
    strange = [b"", b"PK", packed, whole, text, npy("<f8", (10**12, 2)), npy("|O", (1,), b"\x80\x04."),
               npy("<f8", (-1,)), npy("<f8", "(2**70,)"), npy("<U99999999", (1,)), npy("<f8", "(" * 2000),
               b"\x93NUMPY\x09\x00", b"a,b\n1,2\n", b"1,2\n3\n", b"\xff\xfe",
               zipped(npy("<f8", (10**11,), bytes(10**6)))]  # fmt: skip
    for _ in range(60):
        broken = bytearray(raw[: rng.randrange(1, len(raw))] if rng.random() < 0.3 else raw)
        for _ in range(rng.randint(1, 6)):
            broken[rng.randrange(min(len(broken), 140))] = rng.randrange(256)
        strange.append(bytes(broken))
    for content in strange:
        path.write_bytes(content)
        answers(lambda: loaded(str(path)))
    answers(lambda: loaded(str(tmp_path)))
