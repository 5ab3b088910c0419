"""STARFlow's recipes (arXiv 2506.06276): an autoencoder, a flow on its latents, a decoder that removes their noise."""

from dataclasses import field, replace
from typing import ClassVar

from tenfold.data.captions.config import CaptionDataConfig, TextEncoderConfig
from tenfold.data.images.config import ImageDataConfig
from tenfold.errors import UsageError
from tenfold.flows.options import PUBLISHED_TRAINING, FlowRecipe
from tenfold.nn.config import LayerConfig
from tenfold.runs.recipe import Recipe
from tenfold.runs.system import Named
from tenfold.settings.checks import settings
from tenfold.starflow.autoencoder.config import AutoencoderEvaluation, ReconstructionConfig
from tenfold.starflow.autoencoder.recipes import AUTOENCODER_MNIST, DECODER_MNIST, AutoencoderRecipe, DecoderRecipe
from tenfold.starflow.config import LatentDataConfig, LatentObjective, StarFlowConfig, StarFlowEvaluation
from tenfold.training.config import TrainingConfig


@settings
class StarFlowRecipe(FlowRecipe):
    """A latent flow on the latents of an autoencoder that is there already."""

    system: ClassVar[str] = "starflow"
    model: StarFlowConfig = field(default_factory=StarFlowConfig)
    data: LatentDataConfig = field(default_factory=LatentDataConfig)
    objective: LatentObjective = field(default_factory=LatentObjective)
    train: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: StarFlowEvaluation = field(default_factory=StarFlowEvaluation)


@settings
class StarFlowPipeline(Recipe):
    """From images to samples: three stages, each a run of its own in a folder below."""

    system: ClassVar[str] = "starflow"
    stages: ClassVar[tuple[str, ...]] = ("autoencoder", "flow", "decoder")
    main: ClassVar[str] = "flow"
    described: ClassVar[tuple[str, ...]] = ("autoencoder", "flow")  # a decoder is as large as its autoencoder
    autoencoder: AutoencoderRecipe = field(default_factory=AutoencoderRecipe)
    flow: StarFlowRecipe = field(default_factory=StarFlowRecipe)
    decoder: DecoderRecipe = field(default_factory=DecoderRecipe)

    def __post_init__(self) -> None:
        if self.decoder.objective.sigma != self.flow.objective.sigma:
            raise UsageError(
                f"the flow's noise is {self.flow.objective.sigma} and the decoder removes "
                f"{self.decoder.objective.sigma}; set --flow.objective.sigma and --decoder.objective.sigma alike"
            )

    def stage(self, name: str, folder: str) -> AutoencoderRecipe | StarFlowRecipe | DecoderRecipe:
        """A stage's own recipe, for a run in ``folder``."""
        trained = f"{folder}/autoencoder/model"
        if name == "autoencoder":
            return self.autoencoder
        if name == "decoder":
            return replace(self.decoder, objective=replace(self.decoder.objective, start=trained))
        data = replace(
            self.flow.data, autoencoder=trained, decoder=f"{folder}/decoder/model", cache=f"{folder}/latents"
        )
        return replace(self.flow, data=data)


def _published(model: StarFlowConfig, data: LatentDataConfig) -> StarFlowRecipe:
    """The paper's training settings: AdamW (0.9, 0.95), decay 1e-4, 1e-4 to 1e-6 by a cosine, batch 512, 400 million
    images, bf16."""
    return StarFlowRecipe(
        model=model,
        data=data,
        objective=LatentObjective(sigma=0.3),
        train=replace(
            PUBLISHED_TRAINING,
            steps=400_000_000 // 512,
            batch_size=512,
            warmup_steps=10_000,
            clip=1.0,
            precision="bf16",
            parallel="fsdp",
        ),
        evaluation=StarFlowEvaluation(samples=50_000, guidance=(0.0, 3.0)),
    )


def _deep_shallow(width: int, deep: int) -> StarFlowConfig:
    layer = LayerConfig(width=width, head_size=64, rotary="interleaved")
    return StarFlowConfig(shape=(4, 32, 32), layers=(2, 2, 2, 2, 2, deep), shallow=layer, deep=layer)


_SD_VAE = "stabilityai/sd-vae-ft-ema"
_MNIST_DATA = AUTOENCODER_MNIST.data
_SMALL = LayerConfig(width=64, head_size=32, rotary="interleaved", dropout=0.1)
_MNIST_FLOW = StarFlowRecipe(
    model=StarFlowConfig(shape=(4, 7, 7), layers=(1, 1, 4), shallow=_SMALL, deep=_SMALL, order="R2L", classes=10),
    data=LatentDataConfig(images=_MNIST_DATA),
    train=TrainingConfig(
        steps=1500, batch_size=32, learning_rate=2e-3, betas=(0.9, 0.95), ema=0.995, validate_every=250, threads=1
    ),
)
_CANVAS = ImageDataConfig(source="compositions", height=32, width=32, validation=250, test=500)
_CAPTIONS_AUTOENCODER = replace(AUTOENCODER_MNIST, data=_CANVAS, evaluation=AutoencoderEvaluation(sigma=0.3))
_CAPTIONS_DECODER = replace(
    DECODER_MNIST,
    data=_CANVAS,
    reconstruction=ReconstructionConfig(),  # compositions have no classes
    evaluation=AutoencoderEvaluation(),
)
_CAPTIONS_FLOW = StarFlowRecipe(
    model=StarFlowConfig(
        shape=(4, 8, 8),
        layers=(1, 1, 4),
        shallow=replace(_SMALL, width=96, dropout=0.0),
        deep=replace(_SMALL, width=96, dropout=0.0),
        order="R2L",
        text_tokens=32,
        text_dim=384,
    ),
    data=LatentDataConfig(
        kind="captioned",
        captioned=CaptionDataConfig(
            multiple=8, most_digits=2, ratios="1:1,3:2,2:3", samples=24000, validation=250, test=600
        ),
        text=TextEncoderConfig(source="minilm", tokens=32),
    ),
    train=TrainingConfig(
        steps=8000,
        batch_size=32,
        learning_rate=2e-3,
        betas=(0.9, 0.95),
        ema=0.998,
        validate_every=250,
        checkpoint_every=1000,
        log_every=50,
        threads=1,
    ),
    evaluation=StarFlowEvaluation(guidance=(0.0, 1.0, 2.0, 4.0), timing=0),
)

RECIPES: dict[str, Named] = {
    "starflow-mnist": Named(
        "5,000 MNIST digits by class: autoencoder, flow on its latents, decoder that removes the noise",
        StarFlowPipeline(
            autoencoder=AUTOENCODER_MNIST,
            flow=_MNIST_FLOW,
            decoder=DECODER_MNIST,
        ),
    ),
    "starflow-mnist-flow": Named(
        "the flow of starflow-mnist alone, on the latents of an autoencoder-mnist run (--data.autoencoder)",
        _MNIST_FLOW,
    ),
    "starflow-captions": Named(
        "one or two real digits on canvases of three shapes, from captions that say which, where and how large, about "
        "70 min",
        StarFlowPipeline(
            autoencoder=_CAPTIONS_AUTOENCODER,
            flow=_CAPTIONS_FLOW,
            decoder=_CAPTIONS_DECODER,
        ),
    ),
    "starflow-imagenet256": Named(
        "ImageNet 256x256 by class on the latents of SD-VAE, 18(6)-2048, 1.4 billion parameters (published: FID 2.40)",
        _published(
            replace(_deep_shallow(2048, 18), classes=1000),
            LatentDataConfig(
                images=ImageDataConfig(
                    source="huggingface",
                    path="ILSVRC/imagenet-1k",
                    height=256,
                    width=256,
                    channels=3,
                    validation=10_000,
                    test="validation",
                ),
                autoencoder=_SD_VAE,
                cache="latents/imagenet256",
            ),
        ),
    ),
    "starflow-text256": Named(
        "captioned images of about 256x256 in nine aspect ratios on the latents of SD-VAE, 24(6)-3072, FLAN-T5-XL",
        _published(
            replace(_deep_shallow(3072, 24), text_tokens=128, text_dim=2048),
            LatentDataConfig(
                kind="captioned",
                captioned=CaptionDataConfig(
                    source="huggingface", path="pixparse/cc12m-wds", side=256, multiple=8, channels=3, validation=10_000
                ),
                text=TextEncoderConfig(source="google/flan-t5-xl", tokens=128, dtype="bfloat16"),
                autoencoder=_SD_VAE,
                cache="latents/cc12m",
            ),
        ),
    ),
}
