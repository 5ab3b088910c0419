"""What jaxtyping's import hook puts around every function of the package: beartype in a context of shapes.

jaxtyping's own decorator makes two functions of each one and binds every call's arguments three times; that was a
third of the time of many tests. This one checks the same annotations, of arguments and result, once.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, get_type_hints

from beartype import BeartypeConf, beartype
from jaxtyping import jaxtyped

# As PEP 484 has numbers: an int is a float, and a float a complex number.
tower = beartype(conf=BeartypeConf(is_pep484_tower=True, violation_type=TypeError))


def checked(thing: Any = None, **hooked: Any) -> Any:
    """Stands for ``jaxtyping.jaxtyped`` where the hook calls it: with its keyword, then with a function or a class."""
    if thing is None:
        return checked
    if not inspect.isclass(thing):
        return in_context(thing)
    if "__dataclass_fields__" in vars(thing) and inspect.isfunction(vars(thing).get("__init__")):
        thing.__init__ = in_context(thing.__init__)  # type: ignore[method-assign]
    return thing


def in_context(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its annotations checked; names of sizes hold for one call."""
    if inspect.isgeneratorfunction(function):  # beartype would look at arguments when the body begins: too late
        return jaxtyped(function, typechecker=tower)
    function.__annotations__ = {name: resolved(function, hint) for name, hint in function.__annotations__.items()}
    inner = tower(function)
    if inner is function:  # nothing is annotated
        return function
    if any("{" in str(hint) for hint in function.__annotations__.values()):  # sizes that are arguments' values
        return jaxtyped(inner, typechecker=None)

    @wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        with jaxtyped("context"):
            return inner(*arguments, **named)

    return call


def resolved(function: Callable[..., Any], hint: Any) -> Any:
    """A hint that is a string, as what it names; anything where that is imported for type checkers only."""
    if not isinstance(hint, str):
        return hint

    def holder() -> None: ...

    holder.__annotations__ = {"it": hint}
    try:
        return get_type_hints(holder, function.__globals__, include_extras=True)["it"]
    except NameError:
        return Any
