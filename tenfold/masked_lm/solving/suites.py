"""Problems with tests in their published forms, as the sandbox takes them: HumanEval, EvalPlus, MBPP, BigCodeBench, a
line of JSON each. No PyTorch."""

import sys
from collections.abc import Mapping
from typing import Any

from tenfold.errors import UsageError

Problem = dict[str, Any]
_NEEDED = (
    '"tests" (ours), "test" and "entry_point" (HumanEval, BigCodeBench), "base_input" and "canonical_solution" '
    '(EvalPlus), or "test_list" (MBPP)'
)
# What models of instructions are asked (arXiv 2506.20639, appendix C).
_COMPLETE = "Please complete the following problem:\n```\n{}\n```\n"
_BARE = "```\n{}\n```\n"
# Equal up to rounding: numbers within 1e-7 of each other, relative, or ``_near`` absolute.
_COMPARED = """
def _same(found, wanted):
    if isinstance(wanted, float) or isinstance(found, float):
        numbers = all(isinstance(x, (int, float)) for x in (found, wanted))
        return numbers and (found == wanted or abs(found - wanted) <= _near + 1e-7 * abs(wanted))
    if isinstance(wanted, (list, tuple)) and isinstance(found, (list, tuple)):
        return len(found) == len(wanted) and all(map(_same, found, wanted))
    if isinstance(wanted, dict) and isinstance(found, dict):
        return found.keys() == wanted.keys() and all(_same(found[key], wanted[key]) for key in wanted)
    return type(found) is type(wanted) and found == wanted

for _given in {inputs}:
    assert _same({name}(*_copied(_given)), _reference(*_copied(_given))), repr(_given)[:200]
"""


def read_problem(record: Mapping[str, Any], where: str) -> Problem:
    """A line as a problem: "form", "task_id", "prompt"; "asked" (as models of instructions are asked) and "worded" (the
    same without code, "" where there is none); "tests" and "base" (those before EvalPlus's, "" where there is no
    difference); "functions" (that the tests call), "context" (trusted source that runs with the tests) and "needs"
    (packages beyond Python's library).

    Raises UsageError for a line of none of the forms, or with a part of another type; ``where`` names it."""
    form = next((form for name, form in _FORMS.items() if name in record), None)
    if form is None:
        raise UsageError(f"{where} has no tests; each problem needs {_NEEDED}")
    found = _READERS[form](record, where)
    for name in ("prompt", "tests"):
        if not isinstance(found[name], str) or not found[name]:
            raise UsageError(f"{where} has no {name!r}; each problem needs a prompt and tests")
    told = {"form": form, "task_id": str(record.get("task_id", where)), "base": "", "worded": "", "needs": ()}
    return {**told, "asked": _COMPLETE.format(found["prompt"]), **found}


def _own(record: Mapping[str, Any], where: str) -> Problem:
    tests = record["tests"]
    return {
        "prompt": record.get("prompt"),
        "tests": "\n".join(map(str, tests)) if isinstance(tests, list) else tests,
        "functions": tuple(record.get("functions", ())),
        "context": str(record.get("context", "")),
    }


def human_eval(record: Mapping[str, Any], where: str) -> Problem:
    """ "test" defines ``check``, which takes the function (arXiv 2107.03374). Helpers and imports of the prompt are the
    problem's, whatever a completion makes of them."""
    name, prompt = record["entry_point"], record.get("prompt")
    tests = f"{record['test']}\ncheck({name})\n" if record.get("test") else ""
    return {"prompt": prompt, "tests": tests, "functions": (name,), "context": str(prompt)}


def _evalplus(record: Mapping[str, Any], where: str) -> Problem:
    """The canonical solution says what is right on "base_input" and "plus_input", to "atol" (arXiv 2305.01210)."""
    name, prompt = str(record.get("entry_point")), str(record.get("prompt") or "")
    base = record["base_input"] or []
    inputs = [*base, *(record.get("plus_input") or [])] if isinstance(base, list) else []
    if not inputs or not all(isinstance(given, list) for given in inputs) or not record.get("canonical_solution"):
        raise UsageError(f"{where} has no list of inputs with a 'canonical_solution'; give EvalPlus's own lines")
    near = float(record.get("atol") or 1e-6)
    context = (
        f"{prompt}{record['canonical_solution']}\n_reference = {name}\nfrom copy import deepcopy as _copied\n"
        f"_base, _inputs, _near = {base!r}, {inputs!r}, {near!r}\n"
    )
    tests, fewer = (
        _COMPARED.replace("{name}", name).replace("{inputs}", of) if of else "" for of in ("_inputs", base and "_base")
    )
    found = {"prompt": prompt, "tests": tests, "base": fewer, "functions": (name,), "context": context}
    # A text of MBPP, not a function to go on with.
    return {**found, "asked": _BARE.format(prompt)} if str(record.get("task_id")).startswith("Mbpp/") else found


def _mbpp(record: Mapping[str, Any], where: str) -> Problem:
    """The text and its asserts in a docstring, from which the program goes on (arXiv 2108.07732, put as for InCoder,
    arXiv 2204.05999)."""
    tests, text = record["test_list"], record.get("text") or record.get("prompt")
    if not isinstance(tests, list) or not tests or not isinstance(text, str):
        raise UsageError(f"{where} has no text with a 'test_list'; give MBPP's own lines")
    before = record.get("test_setup_code") or "\n".join(record.get("test_imports") or ())
    joined = "\n".join(tests)
    prompt = f'"""\n{text}\n{joined}\n"""\n'
    asked = _BARE.format(prompt)
    return {"prompt": prompt, "asked": asked, "tests": joined, "functions": (), "context": str(before)}


def _bigcodebench(record: Mapping[str, Any], where: str) -> Problem:
    """ "test" is a ``unittest.TestCase`` named TestCases (arXiv 2406.15877)."""
    tests = (
        f"{record.get('test')}\nimport unittest as _unittest\n_result = _unittest.TestResult()\n"
        "_unittest.defaultTestLoader.loadTestsFromTestCase(TestCases).run(_result)\n"
        "assert _result.testsRun and _result.wasSuccessful(), str(_result.errors + _result.failures)[:500]\n"
    )
    words = record.get("instruct_prompt")
    return {
        "prompt": record["complete_prompt"],
        "worded": _BARE.format(words) if isinstance(words, str) and words else "",
        "tests": tests if record.get("test") else "",
        "functions": (str(record.get("entry_point")),),
        "context": str(record.get("code_prompt") or "") + "\n    pass\n" if record.get("code_prompt") else "",
        "needs": _packages(record.get("libs")),
    }


def _packages(libs: object) -> tuple[str, ...]:
    """Of the libraries that BigCodeBench names (a list, or its text), those that Python does not bring along.

    >>> _packages("['random', 'pandas']")
    ('pandas',)
    """
    words = libs if isinstance(libs, list) else str(libs or "").strip("[] ").replace("'", "").split(",")
    names = {str(word).strip().partition(".")[0] for word in words}
    return tuple(sorted(name for name in names if name and name not in sys.stdlib_module_names))


# The part of a line that tells its form.
_FORMS = {
    "tests": "ours", "base_input": "evalplus", "complete_prompt": "bigcodebench", "test_list": "mbpp",
    "entry_point": "humaneval",
}  # fmt: skip
_READERS = {
    "ours": _own, "evalplus": _evalplus, "bigcodebench": _bigcodebench, "mbpp": _mbpp, "humaneval": human_eval
}  # fmt: skip
