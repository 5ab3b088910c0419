"""``tenfold convert``."""

from tenfold import api, progress
from tenfold.cli import show
from tenfold.cli.parser import CommandParser
from tenfold.recipes import SYSTEMS
from tenfold.recipes.settings import as_dict

EXAMPLES = """\
  tenfold convert tarflow imagenet64.pth models/imagenet64 --sigma 0.05
  tenfold convert tarflow mnist.pth models/mnist --channels 1
"""


def run(argv: list[str]) -> int:
    """Write a model folder from a published checkpoint."""
    parser = CommandParser(
        "convert",
        "SYSTEM CHECKPOINT OUT_DIR [options]",
        "Turn a published checkpoint (.pth or .safetensors; nothing is unpickled) into a model folder.",
        EXAMPLES,
    )
    parser.add_argument("system", metavar="SYSTEM", help=", ".join(n for n, s in SYSTEMS.items() if s.published))
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="the published file")
    parser.add_argument("out", metavar="OUT_DIR", help="the model folder to write")
    parser.add_option("--channels", int | None, None, help="colour channels (default: 3, or 1, whichever fits)")
    parser.add_option("--height", int | None, None, help="image height in pixels (default: the image is square)")
    parser.add_option("--head-size", int, 64, help="width of an attention head, which no tensor tells (published: 64)")
    parser.add_option("--sigma", float | None, None, help="Gaussian noise of its training, for sample --denoise")
    parser.switch("--json", "print JSON")
    given = parser.parse_args(argv)
    with progress.shown("converting"):
        model = api.convert(
            given.system,
            given.checkpoint,
            given.out,
            channels=given.channels,
            height=given.height,
            head_size=given.head_size,
            sigma=given.sigma,
        )
    settings = as_dict(model.config)
    if given.json:
        show.as_json({"model": given.out, "config": settings})
    else:
        print(f"{given.out}: {', '.join(f'{name} {value}' for name, value in settings.items())}")
    return 0
