"""``tenfold convert``."""

from tenfold import api
from tenfold.cli import show
from tenfold.cli.parser import CommandParser
from tenfold.recipes import COMPONENTS, SYSTEMS
from tenfold.recipes.settings import as_dict

EXAMPLES = """\
  tenfold convert tarflow imagenet64.pth models/imagenet64 --sigma 0.05
  tenfold convert tarflow mnist.pth models/mnist --channels 1
  tenfold convert autoencoder stabilityai/sd-vae-ft-ema models/autoencoder
  tenfold convert autoencoder v1-5.ckpt models/autoencoder --scale-factor 0.18215
"""


def run(argv: list[str]) -> int:
    """Write a model folder from a published checkpoint."""
    parser = CommandParser(
        "convert",
        "SYSTEM CHECKPOINT OUT_DIR [options]",
        "Turn a published checkpoint (.pth or .safetensors; nothing is unpickled) into a model folder. An autoencoder "
        "may also be a folder or hub repository of diffusers.",
        EXAMPLES,
    )
    readable = [name for name, s in {**SYSTEMS, **COMPONENTS}.items() if s.published]
    parser.add_argument("system", metavar="SYSTEM", help=", ".join(readable))
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="the published file")
    parser.add_argument("out", metavar="OUT_DIR", help="the model folder to write")
    parser.add_option("--channels", int | None, None, help="colour channels (default: 3, or 1, whichever fits)")
    parser.add_option("--height", int | None, None, help="image height in pixels (default: the image is square)")
    parser.add_option("--head-size", int | None, None, help="width of an attention head, which no tensor tells (64)")
    parser.add_option("--scale-factor", float | None, None, help="of an autoencoder's latents, where no file tells it")
    parser.add_option("--shift-factor", float | None, None, help="likewise, subtracted before scaling (0)")
    parser.add_option("--norm-groups", int | None, None, help="of an autoencoder's norms, where no file tells it (32)")
    parser.add_option("--sigma", float | None, None, help="Gaussian noise of its training, for sample --denoise")
    parser.switch("--json", "print JSON")
    given = parser.parse_args(argv)
    names = ("channels", "height", "head_size", "scale_factor", "shift_factor", "norm_groups", "sigma")
    options = {name: given[name] for name in names if given[name] is not None}
    model = api.convert(given.system, given.checkpoint, given.out, **options)
    settings = as_dict(model.config)
    if given.json:
        show.as_json({"model": given.out, "config": settings})
    else:
        print(f"{given.out}: {', '.join(f'{name} {value}' for name, value in settings.items())}")
    return 0
