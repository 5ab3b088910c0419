"""The Python of every guide runs as it stands, with fewer steps."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tenfold.masked_lm.config import MaskedLMConfig
from tenfold.masked_lm.model import MaskedLM
from tests.sandbox.machine import WHY_NOT
from tests.test_docs import DOCUMENTS


def photos(folder: Path) -> None:
    """Two grey pictures."""
    (folder / "photos").mkdir()
    for k in range(2):
        Image.fromarray(np.full((8, 8), 100 * k, np.uint8)).save(folder / "photos" / f"{k}.png")


def model_of_bytes(folder: Path) -> None:
    """A small model where the guide has a converted one."""
    config = MaskedLMConfig(width=32, layers=1, heads=2, intermediate=64)
    MaskedLM.from_config(config).save_pretrained(folder / "models" / "smollm2", {})


@dataclass(frozen=True)
class Run:
    """How a guide's Python is run: what ``prepare`` puts into the folder, what is replaced to be ``quicker``, and what
    holds in the end; ``shown`` is part of what was printed."""

    holds: Callable[[dict[str, Any]], bool]
    prepare: Callable[[Path], None] = lambda folder: None
    quicker: dict[str, str] = field(default_factory=dict)
    shown: str = ""


MEASURED = '{"baselines": False, "draws": 2, "importance": 2, "samples": 0, "calibrate": 0}'
QUICK = f'train={{"steps": 3, "tracker": "none"}}, evaluation={MEASURED}'
GUIDES = {
    "coupled-grpo.md": Run(
        lambda made: float(made["metrics"]["ratio"]) == 1 and made["verdicts"]([]) == [] if not WHY_NOT else True,
        shown="1.0",
    ),
    "discrete-diffusion-steering.md": Run(
        lambda made: made["found"].tokens.shape == (4, 64) and not made["found"].tokens[:, :8].any(), shown="[4, 64]"
    ),
    "discrete-diffusion.md": Run(
        lambda made: made["mdlm"].shape == (8, 64) and 4 < made["found"].bits_per_token()[0] < 7, shown="masked"
    ),
    "masked-lm-generation.md": Run(
        lambda made: made["found"].completions.shape == (1, 32) and made["found"].nfe <= 32, shown=" "
    ),
    "masked-lm.md": Run(lambda made: bool((made["bound"].nats > 100).all()), model_of_bytes, shown="tensor"),
    "mixture-flows.md": Run(lambda made: float(made["loss"].detach()) < 2.0),
    "python-api.md": Run(
        lambda made: bool(made["rows"]) and made["page"].exists() and len(made["scores"].names) == 2,
        photos,
        {
            'train={"steps": 500}': QUICK,
            'train={"steps": 1000}': 'train={"steps": 4}',
            'model={"width": 64}': 'model={"width": 32, "blocks": 2, "layers": 1}',
            "draws=32": "draws=2",
        },
    ),
    "detection.md": Run(
        lambda made: made["kept"].tolist() == [0, 1] and int((made["assigned"] >= 0).sum()) >= 2, shown="1.0"
    ),
    "discrete-samplers.md": Run(
        lambda made: abs(float(made["weighted"].log_z) - float(made["ising_lattice"](10, 10, 0.4).log_z)) < 1
    ),
    "energy.md": Run(
        lambda made: 0 < made["run"].evidence.standard_error < 1 and made["run"].particles.shape == (4, 128, 2)
    ),
    "factorization-order.md": Run(
        lambda made: [found.rule for found in made["results"].rules][-1] == "paradigm-3" and len(made["exact"]) == 8,
        quicker={
            'model={"order": "r2l_document"}': 'model={"order": "r2l_document", "width": 32, "layers": 1}, '
            'train={"steps": 3, "tracker": "none"}, evaluation={"rows": 8, "items": 0}'
        },
        shown="1.5014",
    ),
    "quasiperiodic.md": Run(lambda made: 0 < made["packet"].error_bound < 1e-9, shown="a priori"),
    "semialgebraic.md": Run(lambda made: made["found"].certified and made["found"].count == 1961, shown="1961 True"),
    "starflow.md": Run(lambda made: made["latents"].shape == (3, 4, 2, 6) and made["nats"].shape == (3,)),
    "tarflow.md": Run(lambda made: made["images"].shape == (16, 1, 8, 8) and made["maps"].shape == (16, 16)),
    "text-flows.md": Run(lambda made: bool((made["bound"].nats > 20).all()), shown="calls of the network"),
    "shifts.md": Run(lambda made: made["points"].shape == (1000, 2) and made["batch"].shape == (64, 1)),
}


def blocks(document: Path) -> list[str]:
    """The Python of a document."""
    return re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL)


def test_every_guide_with_python_is_run() -> None:
    """That of the README is in test_readme.py."""
    assert {document.name for document in DOCUMENTS if blocks(document)} - {"README.md"} == set(GUIDES)


@pytest.mark.parametrize("name", GUIDES)
def test_python_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    guide, (document,) = GUIDES[name], [document for document in DOCUMENTS if document.name == name]
    guide.prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    code = "\n".join(blocks(document))
    for before, after in guide.quicker.items():
        assert before in code
        code = code.replace(before, after)
    made: dict[str, Any] = {}
    exec(compile(code, name, "exec"), made)
    assert guide.holds(made)
    assert guide.shown in capsys.readouterr().out
