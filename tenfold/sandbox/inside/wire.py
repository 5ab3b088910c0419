"""Values between processes as bytes that can hold plain built-in values and nothing else; no imports but ``os``.

A value is a letter, and then its content: N T F (None, True, False), i and f (hexadecimal, up to ";"), c (two of the
latter), s and b (length, ":", bytes), and l t e z d (list, tuple, set, frozenset, dict: number of values, ";", values).
No class, function or pickle crosses: what arrives has exactly these types, whatever the sender had patched, so that
equality is the receiving interpreter's own. A message is a value behind its length in eight digits.
"""

import os

HEADER = 8  # digits
_GROUPS = {list: b"l", tuple: b"t", set: b"e", frozenset: b"z", dict: b"d"}
_OF = {letter: kind for kind, letter in _GROUPS.items()}
_PLAIN = {b"N": None, b"T": True, b"F": False}


class Uncrossable(TypeError):
    """A value that is no literal."""


def encode(value: object) -> bytes:
    """The bytes of a literal; Uncrossable for anything else, instances of subclasses of built-in types included."""
    parts: list[bytes] = []
    _write(value, parts)
    return b"".join(parts)


def _write(value: object, parts: list[bytes]) -> None:
    kind = type(value)
    if value is None or value is True or value is False:
        parts.append(b"N" if value is None else b"T" if value else b"F")
    elif kind is int:
        parts.append(b"i%x;" % value if value >= 0 else b"i-%x;" % -value)  # type: ignore[operator,str-format]
    elif kind is float:
        parts.append(b"f" + value.hex().encode() + b";")  # type: ignore[attr-defined]
    elif kind is complex:
        parts.append(b"c" + value.real.hex().encode() + b";" + value.imag.hex().encode() + b";")  # type: ignore[attr-defined]
    elif kind is str:
        data = value.encode("utf-8", "surrogatepass")  # type: ignore[attr-defined]
        parts += [b"s%d:" % len(data), data]
    elif kind is bytes:
        parts += [b"b%d:" % len(value), value]  # type: ignore[arg-type,list-item]
    elif kind in _GROUPS:
        parts.append(_GROUPS[kind] + b"%d;" % len(value))  # type: ignore[index,arg-type]
        for item in value:  # type: ignore[attr-defined]
            _write(item, parts)
            if kind is dict:
                _write(value[item], parts)  # type: ignore[index]
    else:
        raise Uncrossable(f"a value of type {kind.__name__} is no literal, so it cannot leave the program")


def decode(data: bytes) -> object:
    """The literal that ``encode`` told; ValueError or TypeError for bytes that it never tells."""
    value, end = _read(data, 0)
    if end != len(data):
        raise ValueError("a message goes on behind its value")
    return value


def _read(data: bytes, at: int) -> tuple[object, int]:
    letter, at = data[at : at + 1], at + 1
    if letter in _PLAIN:
        return _PLAIN[letter], at
    if letter == b"i":
        word, at = _word(data, at)
        return int(word, 16), at
    if letter == b"f":
        word, at = _word(data, at)
        return float.fromhex(word), at
    if letter == b"c":
        real, at = _word(data, at)
        imaginary, at = _word(data, at)
        return complex(float.fromhex(real), float.fromhex(imaginary)), at
    if letter == b"s" or letter == b"b":
        word, at = _word(data, at, b":")
        end = at + _count(word, len(data) - at)
        return data[at:end].decode("utf-8", "surrogatepass") if letter == b"s" else data[at:end], end
    if letter not in _OF:
        raise ValueError(f"no value begins with {letter!r}")
    word, at = _word(data, at)
    kind, items = _OF[letter], []
    for _ in range(_count(word, len(data) - at) * (2 if kind is dict else 1)):
        item, at = _read(data, at)
        items.append(item)
    if kind is dict:
        return dict(zip(items[::2], items[1::2], strict=True)), at
    return kind(items), at


def _word(data: bytes, at: int, end: bytes = b";") -> tuple[str, int]:
    found = data.index(end, at)
    return data[at:found].decode("ascii"), found + 1


def _count(word: str, most: int) -> int:
    """A length, which is never more than there are bytes."""
    if not word.isdigit() or int(word) > most:
        raise ValueError(f"{word!r} is no length")
    return int(word)


def framed(data: bytes) -> bytes:
    """A message: the value's bytes behind their length."""
    if len(data) >= 10**HEADER:
        raise ValueError("a message is too long")
    return b"%0*d" % (HEADER, len(data)) + data


class Messages:
    """Messages over two descriptors, in turns: whoever has sent waits for the answer."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading, self._writing = reading, writing

    def send(self, message: object) -> None:
        """One message."""
        self.forward(encode(message))

    def forward(self, data: bytes) -> None:
        """One message that is encoded already."""
        rest = framed(data)
        while rest:
            rest = rest[os.write(self._writing, rest) :]

    def receive(self) -> object:
        """The next message; EOFError when the other side is gone."""
        return decode(self._exactly(int(self._exactly(HEADER))))

    def _exactly(self, count: int) -> bytes:
        parts = []
        while count:
            part = os.read(self._reading, min(count, 1 << 16))
            if not part:
                raise EOFError
            parts.append(part)
            count -= len(part)
        return b"".join(parts)
