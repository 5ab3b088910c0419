"""Many submissions at once, and whether this machine can hold them."""

import os
import queue
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from weakref import finalize

from tenfold import progress
from tenfold.errors import UsageError
from tenfold.sandbox.capabilities import require_layers
from tenfold.sandbox.judging import Bench, Submission, Verdict, check_submission
from tenfold.sandbox.limits import Limits
from tenfold.settings.arguments import read_all_arguments

_MOST = 1024


@read_all_arguments
class Sandbox:
    """Runs untrusted programs and judges them, ``workers`` at a time.

    ``with Sandbox() as sandbox: sandbox.judge([Submission("def twice(x): return 2 * x", "assert twice(3) == 6")])``
    gives a list with one verdict, "passed".

    Args:
        limits: of each program.
        workers: programs at a time; 0 for as many as there are processors.

    Raises:
        UsageError: a number of workers below 0 or beyond 1,024.
        TenfoldError: a layer of the isolation that is required does not hold on this machine.
    """

    def __init__(self, limits: Limits | None = None, workers: int = 0) -> None:
        if not 0 <= workers <= _MOST:
            raise UsageError(f"workers is {workers}; give 1 to {_MOST}, or 0 for as many as there are processors")
        require_layers()
        self.limits = limits or Limits()
        self._closed = False
        count = workers if workers > 0 else len(os.sched_getaffinity(0))
        self._benches: queue.SimpleQueue[Bench] = queue.SimpleQueue()
        self._all = [Bench(self.limits, slot) for slot in range(count)]
        for bench in self._all:
            self._benches.put(bench)
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="sandbox")
        # Of one that is dropped, or open when this process ends: its processes and their control groups go as well.
        self._end = finalize(self, _end, self._threads, self._all)

    def judge(self, submissions: Iterable[Submission]) -> list[Verdict]:
        """The verdicts, in order. Raises UsageError for what is no submission, before any runs, and of a sandbox that
        was closed."""
        if self._closed:
            raise UsageError("the sandbox was closed; make another")
        if isinstance(submissions, Submission):
            raise UsageError("judge takes several submissions; give a list of them")
        given: Sequence[Submission] = [check_submission(one) for one in submissions]
        waiting = [self._threads.submit(self._one, one) for one in given]
        return [one.result() for one in progress.track(waiting, "judging", "programs")]

    def _one(self, submission: Submission) -> Verdict:
        bench = self._benches.get()
        try:
            return bench.judge(submission)
        finally:
            self._benches.put(bench)

    def close(self) -> None:
        """End all processes."""
        self._closed = True
        self._end()

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _end(threads: ThreadPoolExecutor, benches: list[Bench]) -> None:
    threads.shutdown(cancel_futures=True)
    for bench in benches:
        bench.close()
