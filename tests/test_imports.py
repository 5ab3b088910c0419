"""What must start quickly imports no PyTorch, and no other heavy library."""

import subprocess
import sys

import pytest

BLOCK = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ImportError(f"{{name}} was imported")

sys.meta_path.insert(0, Blocked())
"""
HEAVY = ("torch", "numpy", "scipy", "sklearn", "matplotlib", "accelerate", "huggingface_hub", "datasets")


def run(code: str, blocked: tuple[str, ...] = HEAVY) -> subprocess.CompletedProcess[str]:
    script = BLOCK.format(blocked=blocked) + code
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)


def command(*arguments: str) -> str:
    return f"from tenfold.cli.main import main\nsys.exit(main({list(arguments)!r}))"


@pytest.mark.parametrize(
    "code",
    [
        "import tenfold; tenfold.recipe('tarflow-digits')",
        "import tenfold.settings.changes, tenfold.runs.run_folder, tenfold.runs.measurement, tenfold.errors",
        command("--help"),
        command("list"),
        command("list", "--json"),
        command("train", "--help"),
        command("train", "tarflow-imagenet64", "--help"),
        command("train", "tarflow-digits", "--print-config"),
        command("sample", "--help"),
        command("score", "--help"),
        "import tenfold.progress, tenfold.runs.scores, tenfold.hub.tensors, tenfold.runs.machine, tenfold.files",
    ],
    ids=[
        "import",
        "settings",
        "help",
        "list",
        "list-json",
        "train-help",
        "recipe-help",
        "print-config",
        "sample-help",
        "score-help",
        "small-modules",
    ],
)
def test_nothing_heavy_is_imported(code: str) -> None:
    done = run(code)
    assert done.returncode == 0, done.stderr


def test_the_blocker_blocks() -> None:
    done = run("import tenfold; tenfold.TarFlow", ("torch",))
    assert done.returncode != 0
    assert "torch was imported" in done.stderr


def test_rooms_open_the_models_of_others_once_the_verbs_are_imported() -> None:
    """From Python, too: not only where the command is."""
    asked = "from tenfold.runs import readers, sampled_loss\nprint(readers._open is None, sampled_loss._reader is None)"
    assert run(asked).stdout.split() == ["True", "True"]
    assert run(f"import tenfold.api\n{asked}").stdout.split() == ["False", "False"]


def test_shifts_import_no_torch() -> None:
    assert run("import tenfold.shifts", ("torch",)).returncode == 0


def test_public_names_resolve() -> None:
    import tenfold

    assert {name for name in tenfold.__all__ if not hasattr(tenfold, name)} == set()
    with pytest.raises(AttributeError, match="nothing_like_that"):
        _ = tenfold.nothing_like_that
