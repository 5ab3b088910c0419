"""Multiple-choice items, and their readers: JSONL, lm-evaluation-harness logs, OpenAI-evals and BIG-bench files.

Whatever the file, an item holds the options' whole texts: letters that name them ("A.", "(b)") are taken off, so that
the text is scored and not its name. Options are ragged: items of one file may have two, three or ten.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tenfold import progress
from tenfold.errors import UsageError
from tenfold.files import read_json
from tenfold.ordering.choices.archives import read_text
from tenfold.settings.arguments import read_arguments
from tenfold.settings.checks import settings
from tenfold.settings.values import shown

_OPTION = re.compile(r"^\s*\(?([A-Za-z])[.):]\s*(.*)$")  # "A. text", "(a) text", "B: text"


@settings
class ChoiceItem:
    """A question, two or more different options, and the index of the right one.

    ``context`` is what stands before the question (a passage, examples); ``group`` joins items that are told apart in
    reports. Texts are stripped. Raises UsageError for an empty question, fewer than two options, an empty or repeated
    option, and an answer that is no index of an option.

    >>> ChoiceItem("The capital of France is", ("Paris", "Rome"), 0).right
    'Paris'
    """

    question: str
    choices: tuple[str, ...]
    answer: int
    context: str = ""
    group: str = ""

    def __post_init__(self) -> None:
        for name in ("question", "context", "group"):
            object.__setattr__(self, name, getattr(self, name).strip())
        choices = tuple(text.strip() for text in self.choices)
        object.__setattr__(self, "choices", choices)
        if not self.question:
            raise UsageError("question is empty; give the text that the options answer")
        if len(choices) < 2:
            raise UsageError(f"choices has length {len(choices)}; give at least two options")
        if "" in choices:
            raise UsageError(f"choices[{choices.index('')}] is empty; give every option a text")
        if repeated := sorted({text for text in choices if choices.count(text) > 1}):
            raise UsageError(f"choices holds {shown(repeated[0])!r} more than once; leave the repetition out")
        if not 0 <= self.answer < len(choices):
            raise UsageError(f"answer is {self.answer}; expected an index from 0 to {len(choices) - 1}")

    @property
    def right(self) -> str:
        """The text of the right option."""
        return self.choices[self.answer]


@read_arguments
def read_items(path: str | Path) -> list[ChoiceItem]:
    """The items of a file, or of a member of an archive (``evals-3.0.1.whl:logiqa/logiqa.jsonl``; see ``read_text``),
    whose kind is told from what it holds:

    - JSONL with ``question``, ``choices`` (texts), ``answer`` (index), and optional ``context`` and ``group``;
    - samples that lm-evaluation-harness logs (``--log_samples``), with ``arguments`` and ``target``;
    - OpenAI-evals samples, with ``input`` (messages) and ``ideal`` (a letter, or the option's text);
    - a BIG-bench ``task.json``, with ``examples`` of ``input`` and ``target_scores``.

    Options that an item repeats are left out, and items whose options are all the same: a note counts both kinds and
    names the first of each.

    Raises UsageError, naming the file and the line (or the example), for what is no item, and for a file of none."""
    found: list[ChoiceItem] = []
    repeats: list[str] = []
    alike: list[str] = []
    for place, fields in _records(path):
        try:
            fields, repeated = _without_repeats(fields)
            if repeated and len(fields["choices"]) == 1:
                alike.append(place)
                continue
            found.append(ChoiceItem(**fields))
        except UsageError as error:
            raise UsageError(f"{path}, {place}: {error}") from None
        repeats += [place] if repeated else []
    if not found:
        raise UsageError(f"{path} holds no items; expected one JSON object a line, or a BIG-bench task.json")
    if repeats:
        progress.note(f"{path}: options stand twice in {len(repeats)} items, first in {repeats[0]}; taken once each")
    if alike:
        progress.note(f"{path}: all options are the same in {len(alike)} items, first in {alike[0]}; left out")
    return found


@read_arguments
def some_items(items: Sequence[ChoiceItem], count: int) -> list[ChoiceItem]:
    """At most ``count`` of the items, evenly spread over the file; all of them for 0.

    Raises UsageError for a count below 0, and what is no list of items."""
    if count < 0:
        raise UsageError(f"count is {count}; give a number of items, or 0 for all of them")
    if not 0 < count < len(items):
        return list(items)
    return [items[round(i * (len(items) - 1) / max(count - 1, 1))] for i in range(count)]


def _records(path: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The place of each item in its file, and its fields."""
    text = read_text(path)
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if lines and _parsed(lines[0][1]) is None:  # the first line is no value by itself: one JSON value in many lines
        whole = _parsed(text)
        if whole is None:
            read_json(Path(path))  # says where it breaks off
    else:
        whole = _parsed(lines[0][1]) if len(lines) == 1 else None
    if isinstance(whole, Mapping) and "examples" in whole:
        yield from _examples(path, whole["examples"])
        return
    for number, line in lines:
        place, record = f"line {number}", _parsed(line)
        try:
            if not isinstance(record, Mapping):
                raise UsageError(f"{shown(line)!r} is no JSON object; give one item a line")
            fields = _reader(record)(record)
        except UsageError as error:
            raise UsageError(f"{path}, {place}: {error}") from None
        yield place, fields


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _examples(path: str | Path, examples: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if not isinstance(examples, Sequence) or isinstance(examples, str):
        raise UsageError(f"{path}: examples is {shown(examples)!r}; expected a list")
    for number, example in enumerate(examples):
        place = f"examples[{number}]"
        try:
            yield place, _bigbench(example)
        except UsageError as error:
            raise UsageError(f"{path}, {place}: {error}") from None


def _without_repeats(fields: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """The fields with every option once, the answer pointing to the same text, and whether anything was left out."""
    choices, answer = fields["choices"], fields["answer"]
    if not isinstance(choices, list) or not all(isinstance(text, str) for text in choices):
        raise UsageError(f"choices is {shown(choices)!r}; expected a list of texts")
    texts = [text.strip() for text in choices]
    kept = list(dict.fromkeys(texts))
    if len(kept) == len(texts) or type(answer) is not int or not 0 <= answer < len(texts):
        return fields, False
    return {**fields, "choices": kept, "answer": kept.index(texts[answer])}, True


def _reader(record: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    if "choices" in record:
        return _plain
    if "arguments" in record:
        return _harness
    if "ideal" in record:
        return _openai
    if "target_scores" in record:
        return _bigbench
    keys = ", ".join(map(str, record)) or "nothing"
    raise UsageError(f"an object of {shown(keys)!r} is no item; expected question, choices and answer")


def _plain(record: Mapping[str, Any]) -> dict[str, Any]:
    known = ("question", "choices", "answer", "context", "group")
    if missing := [name for name in known[:3] if name not in record]:
        raise UsageError(f"{missing[0]} is missing; expected question, choices and answer")
    return {name: record[name] for name in known if name in record}


def _harness(record: Mapping[str, Any]) -> dict[str, Any]:
    """A logged sample: requests of (context, continuation), as lists or as ``gen_args_0`` of ``arg_0``, ``arg_1``.

    Requests with an empty context stand for the unconditional scores of mutual information, and are no options."""
    given = record["arguments"]
    requests = list(given.values()) if isinstance(given, Mapping) else given
    pairs: list[Any] = [list(r.values()) if isinstance(r, Mapping) else r for r in requests or ()]
    if not pairs or any(
        not isinstance(p, list) or len(p) != 2 or not all(isinstance(t, str) for t in p) for p in pairs
    ):
        raise UsageError("arguments hold no pairs of context and continuation; give samples of a multiple-choice task")
    pairs = [pair for pair in pairs if pair[0].strip()]
    if len({context for context, _ in pairs}) > 1:
        raise UsageError("the options have different contexts; only tasks with one context an item can be read")
    choices = [continuation for _, continuation in pairs]
    return {
        "question": pairs[0][0] if pairs else "",
        "choices": choices,
        "answer": _index(record.get("target"), choices, letters=False),
    }


def _openai(record: Mapping[str, Any]) -> dict[str, Any]:
    """The last message holds the question, and below it the options in lines that begin with consecutive letters.

    What is said after the options ("Choose one of A, B, C and D"), and messages of the system, which ask for a letter,
    are left out; earlier messages are context."""
    messages = record.get("input")
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    talk = [m for m in messages or () if isinstance(m, Mapping) and isinstance(m.get("content"), str)]
    said = [str(m["content"]) for m in talk if m.get("role") != "system"]
    if not said:
        raise UsageError("input holds no message of a user; expected messages with role and content")
    question, choices = _lettered(said[-1])
    ideal = record["ideal"]
    ideal = ideal[0] if isinstance(ideal, list) and len(ideal) == 1 else ideal
    return {
        "question": question,
        "choices": choices,
        "answer": _index(ideal, choices, letters=True),
        "context": "\n".join(said[:-1]),
    }


def _lettered(text: str) -> tuple[str, list[str]]:
    """The question, and the options without their letters: the last run of lines A, B, C ... in the text."""
    lines = text.split("\n")
    marked = [_OPTION.match(line) for line in lines]
    starts = [i for i, match in enumerate(marked) if match and match[1].upper() == "A"]
    if not starts:
        raise UsageError("no line of the message begins with 'A.' or '(A)'; expected options in lines by letter")
    first = starts[-1]
    choices: list[str] = []
    for match in marked[first:]:
        if match is None or match[1].upper() != chr(ord("A") + len(choices)):
            break
        choices.append(match[2])
    again = [_OPTION.match(choice) for choice in choices]
    letters = [match[1].upper() if match else "" for match in again]
    if letters == [chr(ord("A") + i) for i in range(len(choices))]:  # every option is named twice: "A. A.text"
        choices = [match[2] for match in again if match]
    return "\n".join(lines[:first]), choices


def _bigbench(record: Any) -> dict[str, Any]:
    """The option with the highest score is right; where two share it there is no one answer."""
    if not isinstance(record, Mapping) or not isinstance(record.get("target_scores"), Mapping):
        raise UsageError("target_scores is missing; only multiple-choice tasks of BIG-bench can be read")
    scores = record["target_scores"]
    numbers = list(scores.values())
    if not all(isinstance(n, int | float) and n == n for n in numbers):
        raise UsageError(f"target_scores is {shown(scores)!r}; expected a number for each option")
    best = [i for i, number in enumerate(numbers) if number == max(numbers)]
    if len(best) != 1:
        raise UsageError(f"{len(best)} options share the highest of target_scores; expected one right option")
    return {"question": record.get("input"), "choices": list(scores), "answer": best[0]}


def _index(target: Any, choices: Sequence[str], *, letters: bool) -> int:
    """The option that is meant by an index, a letter, or the option's own text."""
    texts, place = [text.strip() for text in choices], target
    if isinstance(target, str):
        name = target.strip()
        if texts.count(name) == 1:
            return texts.index(name)
        letter = re.fullmatch(r"\(?([A-Za-z])[.)]?", name)
        number = re.fullmatch(r"\[?(\d+)\]?", name)  # logs hold indices as text
        if letters and letter:
            place = ord(letter[1].upper()) - ord("A")
        elif number and not letters:
            place = int(number[1])
    if type(place) is not int or not 0 <= place < len(texts):
        raise UsageError(
            f"the answer {shown(target)!r} is none of the {len(texts)} options; give its text or its place"
        )
    return place
