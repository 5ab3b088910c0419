"""Text to text: completions, infills, streams, files, other programs' forms."""

import gzip
import json

import pytest
import torch

from tenfold.errors import UsageError
from tenfold.masked_lm.analysis import holes
from tenfold.masked_lm.completion import batch_files
from tenfold.masked_lm.completion import complete as completion
from tenfold.masked_lm.completion.complete import Request, complete_texts, create_completion
from tenfold.masked_lm.decoding.options import GenerationOptions
from tests.masked_lm.generating import random_model


@pytest.fixture(scope="module")
def model():
    return random_model()


def scripted(text, ends=True):
    """A model that always answers the same text, whatever the prompt: its logits look at the position alone."""
    model = random_model()
    wanted = list(text.encode()) + [256] * 40

    def logits(rows):
        return torch.nn.functional.one_hot(rows[..., 0].long(), 258).float() * 20

    def hidden(tokens, attention_mask=None, position_ids=None, cache=None):
        positions = torch.arange(tokens.shape[1]).expand_as(tokens)
        first = (tokens == 257).long().argmax(dim=1, keepdim=True) if not hasattr(model, "first") else model.first
        model.first = first
        index = (positions + 1 - first).clamp(0, len(wanted) - 1)
        return torch.tensor(wanted)[index][..., None].float()

    model.logits, model.hidden = logits, hidden
    return model


def test_completion(model):
    answer = create_completion(model, ["def f(x):", "a"], max_tokens=6, n=2, seed=1, temperature=0.8)
    assert answer["object"] == "text_completion"
    assert [c["index"] for c in answer["choices"]] == [0, 1, 2, 3]
    assert answer["usage"]["prompt_tokens"] == 10
    assert answer["usage"]["total_tokens"] == 10 + answer["usage"]["completion_tokens"]
    assert answer == {
        **create_completion(model, ["def f(x):", "a"], max_tokens=6, n=2, seed=1, temperature=0.8),
        "id": answer["id"],
        "created": answer["created"],
    }
    assert {c["finish_reason"] for c in answer["choices"]} <= {"length", "stop"}


def test_what_ends_a_text():
    whole = create_completion(scripted("return é"), "x", max_tokens=20, temperature=0.0)["choices"][0]
    assert (whole["text"], whole["finish_reason"]) == ("return é", "stop")
    short = create_completion(scripted("return 1"), "x", max_tokens=4, temperature=0.0)["choices"][0]
    assert (short["text"], short["finish_reason"]) == ("retu", "length")
    cut = create_completion(scripted("a = 1\n\nb"), "x", max_tokens=20, temperature=0.0, stop=["b", "\n\n"])["choices"][
        0
    ]
    assert (cut["text"], cut["finish_reason"]) == ("a = 1", "stop")


def test_infill(model):
    (found,), generation = complete_texts(model, [Request("ab", "cd", 3)])
    assert generation.sequences[0, :2].tolist() == [97, 98]
    assert generation.sequences[0, -2:].tolist() == [99, 100]
    assert (found.prompt_tokens, found.completion_tokens) == (4, 3)
    texts = create_completion(model, ["", "long prefix"], suffix="z", max_tokens=2, temperature=0.0)
    assert len(texts["choices"]) == 2
    # A batch of other prompts changes nothing.
    alone = create_completion(model, "long prefix", suffix="z", max_tokens=2, temperature=0.0)["choices"][0]
    assert texts["choices"][1]["text"] == alone["text"]


@pytest.mark.parametrize("stop", [None, "=", "1\n", "zz"])
def test_a_stream_is_the_text_in_pieces(stop):
    text = "value = 1\nné"
    whole = create_completion(scripted(text), "x", max_tokens=16, temperature=0.0, stop=stop)
    options = GenerationOptions(alg="entropy", block_length=2)
    chunks = list(
        create_completion(scripted(text), "x", max_tokens=16, temperature=0.0, stop=stop, stream=True, options=options)
    )
    assert "".join(c["choices"][0]["text"] for c in chunks) == whole["choices"][0]["text"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert all(c["choices"][0]["finish_reason"] is None for c in chunks[:-1])
    assert chunks[-1]["usage"] == whole["usage"]
    assert len(chunks) > 2
    events = list(completion.as_events(iter(chunks)))
    assert json.loads(events[0].removeprefix("data: ")) == chunks[0]
    assert events[-1] == "data: [DONE]\n\n"


def test_an_error_reaches_the_reader_of_a_stream(model):
    stream = create_completion(model, "x", max_tokens=500, stream=True)
    with pytest.raises(UsageError, match="128 positions"):
        next(stream)


def test_bad_requests(model):
    for options, words in (
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"n": 0}, "n is 0"),
        ({"stop": [""]}, "stop string is empty"),
        ({"stream": True, "n": 2}, "one text at a time"),
        ({"temperature": -1.0}, "temperature is -1"),
        ({"top_p": 0.0}, "top_p is 0"),
    ):
        with pytest.raises(UsageError, match=words):
            create_completion(model, "x", **options)
    with pytest.raises(UsageError, match="no prompt"):
        create_completion(model, [])
    mute = random_model()
    mute.tokenizer = None
    with pytest.raises(UsageError, match="no tokenizer"):
        create_completion(mute, "x")


# --- files ----------------------------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path):
    lines = [{"prompt": f"p{i}", "task_id": f"T/{i}"} for i in range(5)]
    lines[2]["suffix"], lines[3]["max_tokens"] = "end", 2
    file = tmp_path / "prompts.jsonl.gz"
    file.write_bytes(gzip.compress("\n".join(json.dumps(line) for line in lines).encode()))
    return file


JOB = batch_files.FileJob(tokens=4, samples=2, batch=3, seed=5)
OPTIONS = GenerationOptions(alg="entropy", temperature=0.9)


def test_a_file_is_completed_and_an_interrupted_one_goes_on(model, source, tmp_path, monkeypatch):
    whole = batch_files.complete_file(model, source, tmp_path / "whole.jsonl", JOB, OPTIONS)
    lines = [json.loads(line) for line in whole.read_text().splitlines()]
    assert [(line["task_id"], line["sample"]) for line in lines] == [(f"T/{i}", s) for i in range(5) for s in (0, 1)]
    real, calls = batch_files.complete_texts, []

    def breaking(*arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(batch_files, "complete_texts", breaking)
    part = tmp_path / "part.jsonl"
    with pytest.raises(KeyboardInterrupt):
        batch_files.complete_file(model, source, part, JOB, OPTIONS)
    assert not part.exists()
    partial = tmp_path / "part.jsonl.partial"
    partial.write_text(partial.read_text() + '{"prompt": "p3", "comp')  # cut by a kill
    with pytest.raises(UsageError, match="other settings"):
        batch_files.complete_file(model, source, part, JOB, GenerationOptions(alg="entropy"))
    calls.clear()
    calls.append(1)
    calls.append(1)
    calls.append(1)
    batch_files.complete_file(model, source, part, JOB, OPTIONS)
    assert part.read_bytes() == whole.read_bytes()
    assert len(calls) == 3 + 2
    assert not partial.exists()
    with pytest.raises(UsageError, match="exists already"):
        batch_files.complete_file(model, source, part, JOB, OPTIONS)


def test_every_line_is_checked_first_and_a_mended_file_goes_on(model, tmp_path, monkeypatch):
    file, out = tmp_path / "x.jsonl", tmp_path / "y.jsonl"
    good = [{"prompt": f"p{i}", "task_id": i} for i in range(4)]
    for bad, words in (
        ({"prompt": "x" * 200}, "line 5 of .*128 positions"),
        ({"prompt": "x", "max_tokens": 0}, "line 5 of .*max_tokens is 0"),
        ({"prompt": "x", "max_tokens": 2.5}, "line 5 of .*max_tokens is '2.5'"),
        ({"prompt": "x", "max_tokens": True}, "line 5 of .*max_tokens"),
        ({"prompt": "x", "max_tokens": None}, "line 5 of .*max_tokens"),
        ({"prompt": "x", "suffix": 3}, "line 5 of .*suffix is '3'"),
        ({"prompt": ["x"]}, 'line 5 of .* has no "prompt" string'),
        ({"text": "x"}, 'line 5 of .* has no "prompt" string'),
        ({"prompt": "x"}, 'line 5 of .* there is no "task_id"'),
    ):
        named = bad if "task_id" in words else {**bad, "task_id": 4}
        file.write_text("".join(json.dumps(line) + "\n" for line in [*good, named]))
        with pytest.raises(UsageError, match=words):
            batch_files.complete_file(model, file, out, JOB, OPTIONS, ("task_id",))
        assert sorted(path.name for path in tmp_path.iterdir()) == ["x.jsonl"]  # nothing was begun
    lines = [*good, {"prompt": "old", "task_id": 5}]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    real, asked, limit = batch_files.complete_texts, [], [6]

    def watching(model, requests, *rest, **more):
        asked.extend(request.prompt for request in requests)
        if len(asked) > limit[0]:
            raise KeyboardInterrupt
        return real(model, requests, *rest, **more)

    monkeypatch.setattr(batch_files, "complete_texts", watching)
    with pytest.raises(KeyboardInterrupt):
        batch_files.complete_file(model, file, out, JOB, OPTIONS)
    lines[0], lines[4] = {"prompt": "new", "task_id": 0}, {"prompt": "p5", "task_id": 5}
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    asked.clear()
    limit[0] = 100
    batch_files.complete_file(model, file, out, batch_files.FileJob(4, 2, 5, 5), OPTIONS)
    assert sorted(asked) == ["new", "new", "p3", "p3", "p5", "p5"]
    asked.clear()
    assert out.read_bytes() == batch_files.complete_file(model, file, tmp_path / "z.jsonl", JOB, OPTIONS).read_bytes()
    (tmp_path / "w.jsonl.partial").write_text((tmp_path / "z.jsonl").read_text())
    with pytest.raises(UsageError, match="another source"):
        batch_files.complete_file(model, file, tmp_path / "w.jsonl", JOB, OPTIONS)


def test_bad_files(model, tmp_path):
    file = tmp_path / "x.jsonl"
    for text, words in (('{"prompt": 3}', "line 1 .*prompt"), ("nope", "line 1 .*not JSON"), ("\n", "no line")):
        file.write_text(text)
        with pytest.raises(UsageError, match=words):
            batch_files.read_prompts(file)
    file.write_bytes(b"\x1f\x8bxx")
    with pytest.raises(UsageError, match="whole gzip"):
        batch_files.read_prompts(file)
    with pytest.raises(UsageError, match="does not exist"):
        batch_files.read_prompts(tmp_path / "none")
    with pytest.raises(UsageError, match="batch is 0"):
        batch_files.FileJob(batch=0)


def test_forms_of_other_programs(tmp_path):
    lines = [
        {"task_id": "A/0", "prompt": "def f():\n", "completion": "    return 1", "sample": 0},
        {"task_id": "A/0", "prompt": "def f():\n", "completion": "    pass", "sample": 1},
    ]
    file = tmp_path / "done.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))

    def written(form):
        return batch_files.write_form(file, tmp_path / form, form).read_text()

    assert json.loads(written("evalplus").splitlines()[0]) == {
        "task_id": "A/0",
        "solution": "def f():\n    return 1",
    }
    assert json.loads(written("human-eval").splitlines()[1]) == {"task_id": "A/0", "completion": "    pass"}
    assert json.loads(written("bigcode")) == [["def f():\n    return 1", "def f():\n    pass"]]
    with pytest.raises(UsageError, match="evalplus, human-eval, bigcode"):
        written("other")
    file.write_text('{"prompt": "x"}')
    with pytest.raises(UsageError, match='no "completion"'):
        written("evalplus")
    file.write_text('{"prompt": "x", "completion": "y"}')
    with pytest.raises(UsageError, match="task_id"):
        written("evalplus")


# --- holes ----------------------------------------------------------------------------------------------------


def test_holes_are_spread_over_lengths():
    texts = [list(range(90)), [1, 2], list(range(40, 120))]
    cut = holes.cut_holes(texts, 64, window=20, longest=8, seed=1)
    assert [h.last - h.first for h in cut] == [1, 2, 3, 4, 5, 6, 7, 8] * 8
    for hole in cut:
        assert len(hole.tokens) == 20
        assert 1 <= hole.first < hole.last < 20
        assert hole.answer == hole.tokens[hole.first : hole.last]
    assert cut == holes.cut_holes(texts, 64, window=20, longest=8, seed=1)
    with pytest.raises(UsageError, match="no text has the 200"):
        holes.cut_holes(texts, 4, window=200)


def test_exact_match_of_models_that_know_and_do_not():
    text = [i % 7 + 65 for i in range(60)]
    cut = holes.cut_holes([text], 16, window=20, seed=2)
    model = random_model()
    low = holes.infill_exact_match(model, cut, batch=5)
    assert low.share < 0.5

    def hidden(tokens, *_, **__):  # knows that the text repeats itself every seven bytes
        found = torch.zeros(*tokens.shape, 258)
        for b, row in enumerate(tokens.tolist()):
            known = next(i for i, t in enumerate(row) if t not in (model.special.mask, 0))
            phase = (row[known] - 65 - known) % 7
            for i in range(len(row)):
                found[b, i, (i + 1 + phase) % 7 + 65] = 9.0
        return found

    model.hidden, model.logits = hidden, lambda rows: rows
    high, causal = holes.infill_exact_match(model, cut, batch=5), holes.left_to_right_exact_match(model, cut, batch=5)
    assert high.share == causal.share == 1
    assert [tuple(a) for a in high.answers] == [h.answer for h in cut]
    assert causal.passes == sum(max(h.last - h.first for h in cut[i : i + 5]) for i in range(0, 16, 5))


def test_left_to_right_sees_nothing_right_of_it():
    model = random_model()
    hole = holes.Hole(tuple(range(65, 85)), 8, 11)
    other = holes.Hole((*range(65, 76), *range(100, 109)), 8, 11)
    ours, theirs = (holes.left_to_right_exact_match(model, [h]).answers for h in (hole, other))
    assert ours == theirs
    with pytest.raises(UsageError, match="no logit shift"):
        holes.left_to_right_exact_match(random_model(shift=False), [hole])
