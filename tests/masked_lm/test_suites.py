"""Published forms of problems with tests: right programs pass, wrong ones fail, what is no form is refused."""

from typing import Any

import pytest

from tenfold.errors import UsageError
from tenfold.masked_lm.solving.suites import read_problem
from tenfold.sandbox import Sandbox, Submission
from tests.sandbox.machine import needs_jails

STUB = 'def half(x):\n    """Half of x."""\n'
RIGHT, WRONG = "    return x / 2\n", "    return x // 2\n"
FORMS: dict[str, dict[str, Any]] = {
    "HumanEval": {
        "task_id": "HumanEval/0", "prompt": STUB, "entry_point": "half",
        "test": "def check(candidate):\n    assert candidate(4) == 2\n    assert candidate(3) == 1.5",
    },
    "EvalPlus": {
        "task_id": "HumanEval/0", "prompt": STUB, "entry_point": "half", "canonical_solution": "    return 0.5 * x\n",
        "base_input": [[4]], "plus_input": [[3], [-0.1]], "atol": 0,
    },
    "MBPP": {
        "task_id": 7, "text": "Write a function for half of a number.", "code": "def half(x): return x / 2",
        "test_list": ["assert half(4) == 2", "assert half(3) == 1.5"], "test_setup_code": "",
    },
    "BigCodeBench": {
        "task_id": "BigCodeBench/0", "complete_prompt": f"import random\n{STUB}", "entry_point": "half",
        "code_prompt": "import random\ndef half(x):", "libs": "['random']",
        "test": "import unittest\nclass TestCases(unittest.TestCase):\n    def test_it(self):\n"
        "        self.assertEqual(half(3), 1.5)\n",
    },
    "ours": {"prompt": STUB, "tests": ["assert half(3) == 1.5"]},
}  # fmt: skip


def submission(form: str, body: str) -> Submission:
    problem = read_problem(FORMS[form], "line 1")
    program = problem["prompt"] + (f"def half(x):\n{body}" if form == "MBPP" else body)
    return Submission(program, problem["tests"], problem["functions"], problem["context"])


@needs_jails
def test_right_programs_pass_and_wrong_ones_fail() -> None:
    with Sandbox() as sandbox:
        bodies = (RIGHT, WRONG, "    pass\n")
        found = sandbox.judge([submission(form, body) for form in FORMS for body in bodies])
    statuses = [verdict.status for verdict in found]
    assert statuses == ["passed", "failed", "failed"] * len(FORMS), [verdict.text for verdict in found]


def test_packages_that_are_needed() -> None:
    record = {**FORMS["BigCodeBench"], "libs": ["pandas", "numpy.linalg", "json"]}
    assert read_problem(record, "line 1")["needs"] == ("numpy", "pandas")
    assert read_problem(FORMS["BigCodeBench"], "line 1")["needs"] == ()


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"prompt": "x"}, "line 3 has no tests; each problem needs"),
        ({"prompt": "x", "tests": []}, "line 3 has no 'tests'"),
        ({"tests": "f()"}, "line 3 has no 'prompt'"),
        ({**FORMS["EvalPlus"], "base_input": [], "plus_input": []}, "no list of inputs"),
        ({**FORMS["EvalPlus"], "base_input": [3]}, "no list of inputs"),
        ({**FORMS["MBPP"], "test_list": []}, "no text with a 'test_list'"),
        ({**FORMS["HumanEval"], "test": ""}, "line 3 has no 'tests'"),
    ],
)
def test_lines_of_no_form(record: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        read_problem(record, "line 3")
