"""What a shell is told of how a line goes on, by argcomplete."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("argcomplete")


def offered(line: str, folder: Path) -> list[str]:
    """The words that a shell would show for ``line``, its cursor at the end."""
    told = folder / "told"
    shell = {
        "_ARGCOMPLETE": "1",
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "_ARGCOMPLETE_IFS": "\013",
        "COMP_TYPE": "9",
    }
    environment = {
        **os.environ,
        **shell,
        "_ARGCOMPLETE_COMP_WORDBREAKS": " ",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(told),
    }
    # PyTorch is nowhere imported: a shell does not wait for it.
    code = "import sys; sys.modules['torch'] = None; from tenfold.cli.main import main; sys.exit(main([]))"
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=folder, capture_output=True, check=False)
    assert (done.stdout, done.stderr) == (b"", b"")
    return [word.strip() for word in told.read_text().split("\013")] if told.exists() else []


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("tenfold ", {"train", "list", "help", "discrepancy"}),
        ("tenfold help sa", {"sample"}),
        ("tenfold train tarflow-dig", {"tarflow-digits", "tarflow-digits-noise"}),
        ("tenfold train tarflow-digits --model.wi", {"--model.width"}),
        ("tenfold train tarflow-digits --train.parallel ", {"auto", "ddp", "fsdp", "single"}),
    ],
)
def test_a_line_goes_on(line: str, some: set[str], tmp_path: Path) -> None:
    found = set(offered(line, tmp_path))
    assert some <= found
    start = line.rpartition(" ")[2]
    assert all(word.startswith(start) for word in found)


def test_what_cannot_be_read_yet_is_silent(tmp_path: Path) -> None:
    assert offered("tenfold train no-such-recipe --mod", tmp_path) == []
    assert offered("tenfold nothing ", tmp_path) == []
