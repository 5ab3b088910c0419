"""Published energies: checkpoints of PITA's ``EnergyNet`` (arXiv 2506.16471) around a network of linear layers."""

import re
from pathlib import Path

from tenfold import hub
from tenfold.energy.config import BackboneConfig, EnergyConfig
from tenfold.energy.model import EnergyModel
from tenfold.errors import UsageError
from tenfold.hub.tensors import differences, listed

_LAYER = re.compile(r"(?:.*\.)?net\.(l\d+\.(?:weight|bias))$")


def read_published(path: str | Path, inverse_temperature: float = 1.0, temper: bool = False) -> EnergyModel:
    """An energy from a checkpoint whose parameters are called ``net.l1.weight``, ``net.l1.bias``, ...: κ = 1, σ_d = 1,
    c_noise = ⅛ ln σ². Sizes are those of the tensors; nothing is unpickled but tensors.

    Args:
        path: the checkpoint.
        inverse_temperature: β, that the network is told and that the energy is used at.
        temper: whether the energy is multiplied by it (``precondition_beta``).

    Raises:
        UsageError: tensors of another network.
    """
    tensors = hub.read_state_dict(path)
    found = {match[1]: tensor for name, tensor in tensors.items() if (match := _LAYER.match(name))}
    if "l1.weight" not in found:
        raise UsageError(
            f"{path} is no energy of linear layers: it has no net.l1.weight; it has {listed(list(tensors))}; other "
            "networks are put inside of EnergyModel(config, network) in Python"
        )
    width, inward = found["l1.weight"].shape
    layers = max(int(name[1:].split(".")[0]) for name in found)
    config = EnergyConfig(
        shape=(inward - 2,),
        network=BackboneConfig(kind="perceptron", width=width, layers=layers, inverse_temperature=inverse_temperature),
        data_scale=1.0,
        scale=1.0,
        temper=temper,
    )
    model = EnergyModel(config)
    if wrong := differences(found, model.network.state_dict()):
        raise UsageError(f"the tensors of {path} do not fit {layers} linear layers: {wrong}")
    hub.load_strict(model.network, found, str(path))
    return model.eval()
