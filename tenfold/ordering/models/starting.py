"""A model of an order that begins with the weights of a published one."""

from typing import Any

from tenfold.errors import UsageError
from tenfold.hub.folders import load_strict
from tenfold.ordering.models.model import OrderLM
from tenfold.settings.arguments import read_arguments
from tenfold.text import networks

_SAME = ("model_type", "rms_norm_eps", "rope_parameters", "hidden_act", "tie_word_embeddings")


@read_arguments
def start_from(model: OrderLM, source: str) -> None:
    """Copy the weights of a Llama network into a model of the same geometry, whatever its order.

    Args:
        model: what is to be trained on.
        source: a packaged name ("smollm2"), a folder or ``.gguf`` file, or a hub id.

    Raises UsageError for what is no causal model of transformers, for a network of another kind or geometry, and for
    weights that are not finite."""
    _, network = networks.load_causal(networks.find(source, what="language model"))
    theirs: Any = network.config
    ours: Any = model.network.config
    for name in _SAME:
        if (wanted := getattr(ours, name, None)) != (found := getattr(theirs, name, None)):
            raise UsageError(f"{source} has {name} {found!r}, but the model has {wanted!r}; set the model's to its")
    load_strict(model, {f"network.{name}": tensor for name, tensor in network.state_dict().items()}, source)
