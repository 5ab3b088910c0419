"""The process that runs tests: the program's functions are stand-ins whose calls go to the program's own process.

Each case runs in a fork of its own. Its verdict is written here, after the last line of the tests, to a pipe that the
program's process does not have."""

import builtins
import os

from tenfold.sandbox.inside.guest import close_in, private_messages, told
from tenfold.sandbox.inside.wire import Messages

TYPE_CHECKING = False  # the module that has it takes long to import
if TYPE_CHECKING:
    from typing import Any


class ProgramError(Exception):
    """The program raised something that is no built-in exception, or answered with what is no literal."""


def main() -> None:
    """Judge cases until nobody asks."""
    messages = private_messages()
    first: Any = messages.receive()
    limits, user, _ = first
    close_in(limits, user)
    messages.send("ready")
    while True:
        try:
            case: Any = messages.receive()
        except EOFError:
            os._exit(0)
        child = os.fork()
        if child == 0:
            try:
                messages.send(_judged(messages, *case))
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        messages.send(["over", status])


def _judged(messages: Messages, context: str, tests: str, functions: list[str]) -> list[str]:
    """The verdict of one case."""
    names: dict[str, object] = {"__name__": "tests"}
    try:
        exec(compile(context, "<context>", "exec"), names)
        names.update((name, _stand_in(name, messages)) for name in functions)
        code = compile(tests, "<tests>", "exec")
    except BaseException as error:
        return ["verdict", "no verdict", f"the tests cannot be read: {_sentence(told(error))}"]
    try:
        exec(code, names)
    except MemoryError:
        return ["verdict", "memory", "MemoryError"]
    except BaseException as error:
        return ["verdict", "failed", _sentence(told(error))]
    return ["verdict", "passed", ""]


def _stand_in(name: str, messages: Messages):  # type: ignore[no-untyped-def]
    """A function that is called in the program's process."""

    def call(*given, **named):  # type: ignore[no-untyped-def]
        messages.send(["call", name, list(given), named])
        try:
            answer = messages.receive()
        except (ValueError, TypeError, RecursionError):
            raise ProgramError("the program's answer is no literal") from None
        if type(answer) is dict and "value" in answer:
            return answer["value"]
        if type(answer) is dict and type(answer.get("error")) is str and type(answer.get("text")) is str:
            raise _exception(answer["error"], answer["text"])
        raise ProgramError("the program's answer is no literal")

    call.__name__ = name
    return call


def _exception(name: str, text: str) -> Exception:
    """A built-in exception by name; never one that ends the interpreter."""
    kind: Any = getattr(builtins, name, None)
    known = isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, UnicodeError)
    return kind(text) if known else ProgramError(f"{name}: {text}")


def _sentence(message: dict[str, object]) -> str:
    return f"{message['error']}: {message['text']}".rstrip(": ")
