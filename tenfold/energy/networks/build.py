"""Which network a configuration names, and whether one may stand inside of an energy."""

from collections.abc import Callable

from torch import Tensor, nn

from tenfold.energy.config import DenoisingConfig
from tenfold.energy.networks.equivariant import EquivariantNetwork
from tenfold.energy.networks.foreign import DiffusersNetwork
from tenfold.energy.networks.transformer import PatchTransformer
from tenfold.energy.networks.unet import UNet
from tenfold.energy.networks.vectors import Perceptron, ResidualMLP
from tenfold.errors import UsageError

Backbone = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""N(y, c_noise, label): (n, *shape), (n,), (n,) or None to (n, *shape)."""

# Their derivative is piecewise constant or jumps: the field they make could not be trained, or has kinks.
_KINKED = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Hardshrink),
    *(nn.Threshold, nn.Softshrink, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AdaptiveMaxPool2d),
)
_RANDOM = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.modules.batchnorm._BatchNorm)


def build_network(config: DenoisingConfig) -> nn.Module:
    """A fresh network of ``config.network``."""
    network = config.network
    if network.kind == "mlp":
        return ResidualMLP(network, config.shape, config.classes)
    if network.kind == "unet":
        return UNet(network, config.shape, config.classes)
    if network.kind == "transformer":
        return PatchTransformer(network, config.shape, config.classes)
    if network.kind == "egnn":
        return EquivariantNetwork(network, config.shape, config.classes)
    if network.kind == "diffusers":
        return DiffusersNetwork(config)
    return Perceptron(network, config.shape)


def check_smooth(network: nn.Module) -> None:
    """Raise UsageError, naming the module, for a network that is not smooth."""
    for name, module in network.named_modules():
        if isinstance(module, _KINKED):
            raise UsageError(
                f"{name or 'the network'} is a {type(module).__name__}, whose gradient is piecewise constant; an "
                "energy needs a smooth network, with SiLU, GELU or softplus"
            )


def check_settled(network: nn.Module) -> None:
    """Raise UsageError, naming the module, where a network draws or remembers while it computes: an energy is a
    function of its arguments alone."""
    for name, module in network.named_modules():
        rate = getattr(module, "p", 1.0)
        if module.training and isinstance(module, _RANDOM) and rate > 0:
            raise UsageError(
                f"{name or 'the network'} is a {type(module).__name__} in training mode; call eval() on the network, "
                "or build it without"
            )
