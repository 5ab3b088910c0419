"""``tenfold convert``."""

from tenfold import api, progress
from tenfold.api import catalogue
from tenfold.reports import console as show
from tenfold.settings.changes import as_dict
from tenfold.settings.command import CommandParser
from tenfold.settings.options import options_of

EXAMPLES = """\
  tenfold convert tarflow imagenet64.pth models/imagenet64 --sigma 0.05
  tenfold convert tarflow mnist.pth models/mnist --channels 1
  tenfold convert autoencoder stabilityai/sd-vae-ft-ema models/autoencoder
  tenfold convert discrete-diffusion mdlm.ckpt models/mdlm --tokenizer openai-community/gpt2
  tenfold convert starflow starflow_3B.pth models/starflow --sigma 0.3
  tenfold convert autoencoder v1-5.ckpt models/autoencoder --scale-factor 0.18215
"""


def run(argv: list[str]) -> int:
    """Write a model folder from a published checkpoint."""
    parser = CommandParser(
        "convert",
        "SYSTEM CHECKPOINT OUT_DIR [options]",
        "Turn a published checkpoint (.pth or .safetensors; nothing is unpickled) into a model folder. An autoencoder "
        "may also be a folder or hub repository of diffusers. 'tenfold convert SYSTEM --help' lists its options.",
        EXAMPLES,
    )
    readable = [name for name, known in catalogue.systems().items() if known.published]
    parser.offer(parser.add_argument("system", metavar="SYSTEM", help=", ".join(readable)), readable)
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="the published file")
    parser.add_argument("out", metavar="OUT_DIR", help="the model folder to write")
    parser.add_option("--sigma", float | None, None, help="Gaussian noise of its training, for sample --denoise")
    parser.switch("--json", "print JSON")
    parser.add_option("--device", str, "cpu", help="where the model is put together: cpu, cuda, ...")
    named, _ = parser.peek(argv)
    reader = catalogue.reader_of(named[0]) if named and named[0] in readable else None
    if reader is not None:
        parser.add_options(reader)
    given = parser.parse_args(argv)
    told = {} if reader is None else given.options(reader)
    options = {name: value for name, value in told.items() if value != options_of(reader)[name].default}
    options |= {} if given.sigma is None else {"sigma": given.sigma}
    with progress.shown("converting"):
        model = api.convert(given.system, given.checkpoint, given.out, device=given.device, **options)
    settings = as_dict(model.config)
    if given.json:
        show.as_json({"model": given.out, "config": settings})
    else:
        print(f"{given.out}: {', '.join(f'{name} {value}' for name, value in settings.items())}")
    return 0
