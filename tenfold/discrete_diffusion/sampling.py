"""Samples of discrete diffusion, and their text as files."""

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from tenfold import progress
from tenfold.discrete_diffusion.networks.model import DiscreteDiffusion, require_rows
from tenfold.discrete_diffusion.options import ChainOptions, DiffusionSampling
from tenfold.discrete_diffusion.samplers.chain import Sampled, noise, run_chain
from tenfold.discrete_diffusion.samplers.prediction import LogRatioOf, Random
from tenfold.errors import UsageError
from tenfold.files import json_text, write_output
from tenfold.nn.memory import require
from tenfold.rl.rewards import Reward
from tenfold.text.tokenizer import FileTokenizer
from tenfold.training.task import device_of

_HOW = "convert the checkpoint again with --tokenizer FOLDER_OR_HUB_ID (openai-community/gpt2 of the published ones)"


class Template(NamedTuple):
    """Tokens of a text that is to be filled in, and which of them are given."""

    tokens: Int[Tensor, " n"]
    given: Bool[Tensor, " n"]


@dataclass(frozen=True)
class Steering:
    """What steers a chain besides its network: a density ratio that chooses among candidates, or a reward that guides
    it; see ``run_chain``."""

    log_ratio: LogRatioOf | None = None
    reward: Reward | None = None


def draw(
    model: DiscreteDiffusion,
    count: int,
    length: int,
    options: ChainOptions,
    seed: int,
    batch: int = 64,
    template: Template | None = None,
    steering: Steering = Steering(),
) -> Sampled:
    """``count`` sequences of ``length`` tokens; those that a template gives stay. A sequence's draws are keyed by its
    number: ``batch`` changes rounding only."""
    parts, device = [], device_of(model)
    require_rows(model, model.config, min(batch, count), length, "drawing")
    require(64 * count * length, torch.device("cpu"), f"{count} texts of {length} tokens", "draw fewer")
    if template is None:
        template = Template(torch.zeros(length, dtype=torch.long), torch.zeros(length, dtype=torch.bool))
    for first in range(0, count, batch):
        rows = min(batch, count - first)
        random = Random(seed, torch.arange(first, first + rows))
        clean, prompt = (part.to(device).expand(rows, -1) for part in template)
        start = noise(model.source, clean, prompt, random)
        parts.append(
            run_chain(model, model.schedule, start, options, random, prompt, steering.log_ratio, steering.reward)
        )
    tokens = torch.cat([part.tokens for part in parts])
    return Sampled(tokens, sum(part.calls for part in parts), sum(part.rows for part in parts))


def plain_chain(model: DiscreteDiffusion, steps: int) -> ChainOptions:
    """The ancestral chain of a masked model, without the calls that change nothing where it has none."""
    return ChainOptions(kind="ancestral" if model.time_conditioned else "cached", steps=steps)


def write_samples(
    model: DiscreteDiffusion, options: DiffusionSampling, folder: Path, name: str, steering: Steering = Steering()
) -> list[Path]:
    """``samples.txt``, one text a line, and ``samples.json``: how they were made, with the calls of the network.

    A model whose tokens are no characters writes text by its tokenizer, a line each with its breaks as \\n; without
    one, the numbers of tokens as JSON, which a note says.

    Raises UsageError for a template that cannot be read in the model's tokens, or one too long."""
    script: Letters | Pieces | None = None if model.tokenizer is None else Pieces(model.tokenizer)
    template = None
    if model.config.alphabet:
        script = Letters(model.config.alphabet)
    length = options.length or model.config.length
    if options.template:
        if script is None:
            raise UsageError(f"a template is text, and the model has no tokenizer to read it; {_HOW}")
        template = script.template(options.template)
        length = len(template.tokens)
    if length > model.config.length:
        unit = "characters" if model.config.alphabet else "tokens"
        raise UsageError(f"{length} {unit} exceed the {model.config.length} of the model; ask for fewer")
    found = draw(model, options.num, length, options.chain, options.seed, options.batch, template, steering)
    facts = {"calls": found.calls, "sequences_computed": found.rows}
    record: dict[str, Any] = {"model": name, "options": asdict(options)}
    if script is None:
        progress.note(f"the model has no tokenizer, so samples are numbers of tokens in samples.json; {_HOW}")
        record |= {"tokens": found.tokens.tolist(), **facts}
        return [write_output(folder / "samples.json", json_text(record) + "\n")]
    texts = script.texts(found.tokens)
    lines = "".join(text.replace("\n", "\\n") + "\n" for text in texts)
    record |= {"samples": texts, **facts}
    return [
        write_output(folder / "samples.txt", lines),
        write_output(folder / "samples.json", json_text(record, indent=2) + "\n"),
    ]


# --- tokens as text -----------------------------------------------------------------------------------------------


class Letters:
    """Tokens that are the characters of an alphabet."""

    def __init__(self, alphabet: str) -> None:
        self.alphabet = alphabet

    def template(self, text: str) -> Template:
        """What stands and what is "_"."""
        return read_template(text, self.alphabet)

    def texts(self, tokens: Int[Tensor, "b n"]) -> list[str]:
        """Rows as strings."""
        return ["".join(self.alphabet[i] for i in row) for row in tokens.tolist()]


class Pieces:
    """Tokens of a tokenizer; each "_" of a template is one of them."""

    def __init__(self, tokenizer: FileTokenizer) -> None:
        self.tokenizer = tokenizer

    def template(self, text: str) -> Template:
        """What stands and what is "_"."""
        parts = [([0] * len(part), False) if part[0] == "_" else (self.tokenizer.encode(part), True)
                 for part in re.findall("_+|[^_]+", text)]  # fmt: skip
        given = torch.tensor([given for tokens, given in parts for _ in tokens])
        return Template(torch.tensor([token for tokens, _ in parts for token in tokens]), given)

    def texts(self, tokens: Int[Tensor, "b n"]) -> list[str]:
        """Rows as strings."""
        return [self.tokenizer.decode(row) for row in tokens.tolist()]


def read_template(template: str, alphabet: str) -> Template:
    """Tokens, and which of them are given; those of "_" are filled in.

    >>> read_template("a_b", "ab")
    Template(tokens=tensor([0, 0, 1]), given=tensor([ True, False,  True]))
    """
    strange = sorted(set(template) - set(alphabet) - {"_"})
    if strange:
        raise UsageError(f'the template holds {strange[0]!r}; the model knows {alphabet!r}, and "_" is filled in')
    places = {letter: number for number, letter in enumerate(alphabet)}
    given = torch.tensor([letter != "_" for letter in template])
    return Template(torch.tensor([places.get(letter, 0) for letter in template]), given)
