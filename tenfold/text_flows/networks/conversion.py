"""The discrete autoregressive model as a limit: a tied Mix-d coupling whose token Gaussians are narrow and far apart
reads tokens without error, and its bound is the cross-entropy of the discrete model that reads their means.

An embedding of V tokens spans at most V − 1 directions around its mean, so d = min(V − 1, width) latents carry it: the
means are its principal coordinates, the input layer turns them back.
"""

import os
from typing import Any

import torch
from torch import Tensor

from tenfold.errors import UsageError
from tenfold.hub.checkpoints import read_safetensors, tensor_index
from tenfold.hub.fetch import resolve
from tenfold.hub.folders import load_strict, read_config
from tenfold.settings.arguments import read_arguments
from tenfold.text_flows.config import TextFlowConfig
from tenfold.text_flows.networks.codebook import LEAST_LOG_SCALE
from tenfold.text_flows.networks.model import TextFlow

AUTOREGRESSIVE = "discrete-autoregressive"
_APART = 4096.0
"""Least distance between two means, in standard deviations."""


@read_arguments
def from_autoregressive(
    source: str | os.PathLike[str], log_scale: float = LEAST_LOG_SCALE, revision: str | None = None
) -> TextFlow:
    """The flow whose bound is the cross-entropy of a trained "discrete-autoregressive" model folder, up to what tokens
    overlap: means at least 4,096 σ apart, so that noise hardly turns what is read.

    Raises UsageError for another kind of model, a ``log_scale`` outside [-7, 2], positions that are learned, and two
    tokens with one embedding."""
    if not LEAST_LOG_SCALE <= log_scale <= 2:
        raise UsageError(f"log_scale is {log_scale}; the log of a standard deviation lies in [-7, 2]")
    folder = resolve(source, revision)
    file = read_config(folder)
    if file["model_type"] != AUTOREGRESSIVE:
        raise UsageError(f"{folder} holds a {file['model_type']!r} model; a flow starts from {AUTOREGRESSIVE!r}")
    old = file["config"]
    if old["positions"] != "rotary" or old["intermediate"] not in (0, 4 * old["width"]):
        raise UsageError(f"{folder} has learned positions or other feed-forward layers; retrain it with rotary ones")
    tensors = {name: value for part in {f for f, _ in tensor_index(folder).values()} for name, value in
               read_safetensors(part).items()}  # fmt: skip
    rows = tensors["network.embedding.weight"][:-1].double()
    centre = rows.mean(0)
    dim = min(len(rows) - 1, rows.shape[1])
    _, _, turned = torch.linalg.svd(rows - centre, full_matrices=False)
    means, turned = (rows - centre) @ turned[:dim].T, turned[:dim]
    nearest = float((torch.cdist(means, means) + torch.eye(len(means)) * 1e9).min())
    if not nearest > 0:
        raise UsageError(f"two tokens of {folder} have the same embedding, so no latent tells them apart")
    stretch = _APART * torch.tensor(log_scale).exp().item() / nearest
    config = TextFlowConfig(
        vocabulary=old["vocabulary"], components=(old["vocabulary"],), dim=dim, layers=(old["layers"],),
        width=old["width"], heads=old["heads"], local_mixing=old["local_mixing"], length=old["length"],
        log_scale=log_scale, alphabet=old["alphabet"],
    )  # fmt: skip
    flow = TextFlow(config)
    load_strict(flow, {
        "tokens.mean": (means * stretch).float(),
        "tokens.log_scale": torch.full((len(means),), float(log_scale)),
        "couplings.0.body.proj_in.weight": (turned.T / stretch).float(),
        "couplings.0.body.proj_in.bias": centre.float(),
        "couplings.0.body.start": tensors["network.embedding.weight"][-1],
        **{name: tensors[other] for name, other in _NAMES.items()},
        **{f"couplings.0.body.layers.{i}.{name}": value
           for i in range(old["layers"]) for name, value in _layer(tensors, i).items()},
    }, str(folder))  # fmt: skip
    return flow.eval()


def to_autoregressive(flow: TextFlow) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The configuration and the tensors of the discrete model that reads the means of one tied Mix-d coupling: a
    folder of type "discrete-autoregressive" once they are written (``hub.save_pretrained``, or the model's own class).

    Raises UsageError for a flow of another kind."""
    if not isinstance(flow, TextFlow):
        raise UsageError(f"the flow is {type(flow).__name__}; give a TextFlow")
    config = flow.config
    if len(config.couplings) != 1 or not config.ties(0) or config.patch != 1:
        raise UsageError("one tied mix-d coupling without patches has a discrete model as its limit; this flow is more")
    state = flow.state_dict()
    inner = "couplings.0.body."
    rows = state["tokens.mean"] @ state[inner + "proj_in.weight"].T + state[inner + "proj_in.bias"]
    tensors = {
        "network.embedding.weight": torch.cat([rows, state[inner + "start"][None]]),
        **{other: state[name] for name, other in _NAMES.items()},
    }
    for i in range(config.layers[0]):
        layer = {name: state[f"{inner}layers.{i}.{name}"] for name in _layer_names(config.local_mixing)}
        query, key_value = layer.pop("attention.qkv.weight").split([config.width, 2 * config.width])
        there = f"network.layers.{i}."
        tensors |= {f"{there}attention.query.weight": query, f"{there}attention.key_value.weight": key_value}
        tensors |= {there + _LAYER[name]: value for name, value in layer.items()}
    shared = ("vocabulary", "width", "heads", "length", "local_mixing", "alphabet")
    return {**{name: getattr(config, name) for name in shared}, "layers": config.layers[0]}, tensors


_NAMES = {
    "couplings.0.head.weight": "head.weight",
    "couplings.0.head.bias": "head.bias",
    "couplings.0.body.norm.weight": "network.norm.weight",
    "couplings.0.body.norm.bias": "network.norm.bias",
}
_LAYER = {
    "mixing.weight": "mixing.conv.weight",
    "mixing.bias": "mixing.conv.bias",
    "attention.norm.weight": "attention_norm.weight",
    "attention.norm.bias": "attention_norm.bias",
    "attention.proj.weight": "attention.out.weight",
    "mlp.norm.weight": "mlp_norm.weight",
    "mlp.norm.bias": "mlp_norm.bias",
    "mlp.up.weight": "mlp.0.weight",
    "mlp.up.bias": "mlp.0.bias",
    "mlp.down.weight": "mlp.2.weight",
    "mlp.down.bias": "mlp.2.bias",
}


def _layer_names(local_mixing: int) -> list[str]:
    names = [name for name in _LAYER if local_mixing or not name.startswith("mixing")]
    return [*names, "attention.qkv.weight"]


def _layer(tensors: dict[str, Tensor], number: int) -> dict[str, Tensor]:
    there = f"network.layers.{number}."
    found = {name: tensors[there + other] for name, other in _LAYER.items() if there + other in tensors}
    packed = [tensors[f"{there}attention.{name}.weight"] for name in ("query", "key_value")]
    return {**found, "attention.qkv.weight": torch.cat(packed)}
