"""Prompts with their tasks, as rows that the training loop reads, and the rewards that belong to them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tenfold.data.text.brackets import bracket_texts, matched_share
from tenfold.data.text.reading import json_objects
from tenfold.data.text.stubs import library_stubs
from tenfold.errors import UsageError
from tenfold.files import sha256
from tenfold.masked_lm.grpo.options import PromptConfig
from tenfold.rl.programs import TestReward, TextReward, WeightedReward, form_only, parses
from tenfold.sandbox.judging import Submission
from tenfold.sandbox.limits import Limits
from tenfold.sandbox.pool import Sandbox
from tenfold.text.tokenizer import Tokenizer

Problem = Mapping[str, Any]


@dataclass
class PromptRows:
    """Prompts as tokens, padded on the left: "prompts" (b, p) int64, "real" (b, p) bool, "problem" (b,) int64."""

    tokens: np.ndarray
    real: np.ndarray
    problems: tuple[Problem, ...]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.problems)

    def batch(self, indices: np.ndarray) -> dict[str, Tensor]:
        """Rows by number."""
        return {
            "prompts": torch.from_numpy(self.tokens[indices]),
            "real": torch.from_numpy(self.real[indices]),
            "problem": torch.from_numpy(indices.astype(np.int64)),
        }


@dataclass(frozen=True)
class PromptSplits:
    """Prompts for training, validation and test; no prompt is in two of them."""

    train: PromptRows
    validation: PromptRows
    test: PromptRows


def read_prompts(config: PromptConfig, tokenizer: Tokenizer, pad: int) -> PromptSplits:
    """The prompts of a configuration, split by a hash of their text.

    Raises UsageError for files that are not as described, and for an empty split."""
    problems: list[Problem] = (
        _brackets(config)
        if config.source == "brackets"
        else _library(config.seconds)
        if config.source == "stdlib"
        else _lines(config.path)
    )
    kept: dict[str, list[tuple[list[int], Problem]]] = {"training": [], "validation": [], "test": []}
    seen: set[str] = set()
    for problem in problems:
        prompt = problem["prompt"]
        tokens = list(tokenizer.encode(prompt))
        if prompt in seen or not 0 < len(tokens) <= config.most_tokens:
            continue
        seen.add(prompt)
        kept[_split(prompt, config)].append((tokens, problem))
    for name, rows in kept.items():
        if not rows:
            raise UsageError(
                f"the {name} split of {config.path or config.source} is empty: {len(seen)} prompts of at most "
                f"{config.most_tokens} tokens in all; give more, or a larger share"
            )
    return PromptSplits(*(_rows(rows, pad) for rows in kept.values()))


def _rows(rows: Sequence[tuple[list[int], Problem]], pad: int) -> PromptRows:
    longest = max(len(tokens) for tokens, _ in rows)
    tokens = np.full((len(rows), longest), pad, np.int64)
    for row, (own, _) in zip(tokens, rows, strict=True):
        row[longest - len(own) :] = own
    real = np.arange(longest) >= longest - np.array([[len(own)] for own, _ in rows])
    told = sha256(*(repr(sorted(problem.items())) for _, problem in rows))
    return PromptRows(tokens, real, tuple(problem for _, problem in rows), told)


def _split(prompt: str, config: PromptConfig) -> str:
    digest = hashlib.blake2b(f"{config.split_seed} {prompt}".encode(), digest_size=8).digest()
    place = int.from_bytes(digest, "little") / 2**64
    if place < config.test:
        return "test"
    return "validation" if place < config.test + config.validation else "training"


def _brackets(config: PromptConfig) -> list[Problem]:
    """Strings of brackets to go on from."""
    return [{"prompt": text} for text in bracket_texts(config.count, config.most_tokens, config.split_seed)]


@lru_cache(maxsize=2)
def _library(seconds: float) -> list[Problem]:
    """Functions of the standard library with those of their examples that they pass themselves, in the sandbox: others
    are random, or of objects that cannot cross."""
    stubs = library_stubs()
    tests = [(stub, test) for stub in stubs for test in stub["tests"]]
    own = (
        Submission(f"from {stub['module']} import {stub['functions'][0]}", test, stub["functions"])
        for stub, test in tests
    )
    with Sandbox(Limits(seconds=seconds)) as sandbox:
        verdicts = sandbox.judge(own)
    passed = {(stub["prompt"], test) for (stub, test), verdict in zip(tests, verdicts, strict=True) if verdict.passed}
    kept = [{**stub, "tests": [t for t in stub["tests"] if (stub["prompt"], t) in passed]} for stub in stubs]
    return [stub for stub in kept if stub["tests"]]


def _lines(path: str) -> list[Problem]:
    file = Path(path)
    if not file.is_file():
        raise UsageError(f'data.path {path} does not exist or is no file; give JSON lines with "prompt" and "tests"')
    found: list[Problem] = []
    for number, record in json_objects(file, 'an object with "prompt" and "tests"'):
        tests = record.get("tests")
        right = isinstance(record.get("prompt"), str) and isinstance(tests, list) and tests
        if not right or not all(isinstance(test, str) for test in tests or ()):
            raise UsageError(f'line {number} of {path} has no "prompt" string with a list of "tests"')
        found.append(record)
    return found


class ContinuedReward(WeightedReward):
    """A weighted reward of prompt and completion together."""

    def each(self, texts: Sequence[str], problems: Sequence[Problem]) -> dict[str, list[float]]:
        """The parts of whole texts."""
        return super().each([p["prompt"] + text for text, p in zip(texts, problems, strict=True)], problems)


def reward_of(config: PromptConfig) -> TextReward:
    """The reward of completions of a configuration's prompts.

    Raises TenfoldError where programs are to be run and this machine cannot hold them."""
    if config.source == "brackets":
        return lambda texts, problems: [matched_share(text, config.tokens) for text in texts]
    tests: TextReward = TestReward(Sandbox(Limits(seconds=config.seconds)), fenced=config.form == "fenced")
    form: TextReward = form_only if config.form == "fenced" else _parsing
    kind = WeightedReward if config.form == "fenced" else ContinuedReward
    return kind({"tests": (config.tests_weight, tests), "form": (config.form_weight, form)})


def _parsing(texts: Sequence[str], problems: Sequence[Problem]) -> list[float]:
    return [float(parses(text)) for text in texts]
