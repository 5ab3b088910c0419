"""The process of a program that nobody trusts: it loads the program, and answers calls of its functions.

Whatever the program does to this process is its own affair: nothing here decides. The judge, in another process, sees
literals. Imports are few, because every program waits for them."""

import os
import resource
import sys

from tenfold.sandbox.inside.wire import Messages, encode

TYPE_CHECKING = False  # the module that has it takes long to import
if TYPE_CHECKING:
    from typing import Any

_TEXT = 500


def close_in(limits: dict[str, int], user: int | None) -> None:
    """Set the limits of this process and its children, and become the unprivileged user: for good."""
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    for name, value in limits.items():
        resource.setrlimit(getattr(resource, name), (value, value))
    os.umask(0o077)


def private_messages() -> Messages:
    """The messages on descriptors of their own; 0, 1 and 2 become /dev/null."""
    reading, writing = os.dup(0), os.dup(1)
    nothing = os.open("/dev/null", os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    os.close(nothing)
    return Messages(reading, writing)


def told(error: BaseException) -> dict[str, object]:
    """An exception as a message."""
    try:
        text = str(error)[:_TEXT]
    except BaseException:
        # Its __str__ is the program's, and may raise whatever it likes: the name is told all the same.
        text = ""
    return {"error": str(type(error).__name__), "text": "".join(text)}


def main() -> None:
    """Load, then answer until nobody asks."""
    messages = private_messages()
    first: Any = messages.receive()
    limits, user, program = first
    close_in(limits, user)
    module = type(sys)("program")
    sys.modules["program"] = module
    names = module.__dict__
    messages.forward(_attempt(lambda: exec(compile(program, "<program>", "exec"), names)))
    while True:
        try:
            asked: Any = messages.receive()
        except EOFError:
            os._exit(0)
        messages.forward(_attempt(lambda asked=asked: _called(names, *asked)))


def _attempt(work) -> bytes:  # type: ignore[no-untyped-def]
    """What came of some of the program's work, as a message."""
    try:
        return encode({"value": work()})
    except BaseException as error:
        return encode(told(error))


def _called(names: dict[str, object], name: str, given: list[object], named: dict[str, object]) -> object:
    """What a function of the program makes of literals."""
    if name not in names:
        raise NameError(f"the program defines no {name!r}")
    return names[name](*given, **named)  # type: ignore[operator]
