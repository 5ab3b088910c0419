"""A jump process to a lattice, as model folders hold it."""

import os
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold import hub
from tenfold.discrete_samplers.config import Curriculum, Lattice, LatticeFlowConfig
from tenfold.discrete_samplers.exact.lattice import ising_lattice
from tenfold.discrete_samplers.exact.transfer import ising_strip, potts_strip
from tenfold.discrete_samplers.flow.process import FlowProcess, see
from tenfold.discrete_samplers.flow.simulation import adapted_grid, times
from tenfold.discrete_samplers.networks.cavity import EquivariantCavity
from tenfold.discrete_samplers.networks.convolution import EquivariantConvolution
from tenfold.discrete_samplers.networks.scan import EquivariantScan
from tenfold.discrete_samplers.networks.single import EquivariantAttention, EquivariantPerceptron
from tenfold.discrete_samplers.networks.transformer import EquivariantTransformer
from tenfold.discrete_samplers.targets.annealed import ProductPrior, uniform
from tenfold.discrete_samplers.targets.binary import Ising
from tenfold.discrete_samplers.targets.couplings import spread_sites
from tenfold.discrete_samplers.targets.potts import Potts, potts_lattice
from tenfold.discrete_samplers.targets.protocol import reads_tokens
from tenfold.errors import UsageError
from tenfold.settings.arguments import read_arguments


def lattice_target(config: Lattice, share: float = 1.0) -> Ising | Potts:
    """The target with a share of its coupling (and field)."""
    if config.target == "ising":
        return Ising(config.height, config.width, share * config.beta, share * config.field)
    return potts_lattice(config.height, config.width, config.states, share * config.beta)


def share_of_coupling(objective: Curriculum, step: int, steps: int) -> float:
    """The share of the coupling at a step of so many: from ``start`` to the whole by a straight line."""
    length = objective.curriculum * steps
    return 1.0 if step >= length else objective.start + (1 - objective.start) * step / length


def lattice_state(config: Lattice) -> Float[Tensor, "6"]:
    """What a checkpoint remembers of its target."""
    potts = float(config.target == "potts")
    return torch.tensor([potts, config.height, config.width, config.beta, config.field, config.states]).double()


def check_same_target(config: Lattice, state: Mapping[str, Any]) -> None:
    """Raise UsageError where a checkpoint's target is another than that of a configuration."""
    mine = lattice_state(config)
    theirs = state.get("target", mine)  # older checkpoints did not tell
    if not torch.equal(theirs.cpu().double(), mine):
        names = ("potts", "height", "width", "beta", "field", "states")
        told = [f"{n} {b:g} instead of {a:g}" for n, a, b in zip(names, mine, theirs, strict=True) if a != b]
        raise UsageError(f"the checkpoint is of another target ({', '.join(told)}); begin a run of its own (--out)")


def exact_values(config: Lattice) -> tuple[float, float] | None:
    """log Z and U = −⟨bonds⟩ where they are known exactly; None where no oracle reaches."""
    small = config.states**config.width <= 1024
    if config.target == "ising" and not config.field and config.beta >= 0:
        found = ising_lattice(config.height, config.width, config.beta)
        return found.log_z, found.energy
    if not small:
        return None
    if config.target == "ising":
        strip = ising_strip(config.height, config.width, config.beta, config.field)
    else:
        strip = potts_strip(config.height, config.width, config.states, config.beta)
    return strip.log_z, strip.energy


def network_of(config: LatticeFlowConfig) -> nn.Module | None:
    """The network that a configuration names, with an output near 0: the conditional rates begin."""
    sites, states = config.height * config.width, config.states
    if config.network == "none":
        return None
    if config.network == "convolution":
        made: Any = EquivariantConvolution(config.height, config.width, states, config.channels, config.kernels)
        last = made.network.linear
    elif config.network == "cavity":
        made = EquivariantCavity(config.height, config.width, config.channels, config.hidden, config.field != 0)
        last = made.last.weight
    elif config.network == "transformer":
        made = EquivariantTransformer(sites, states, config.hidden, config.head, config.blocks)
        last = made.output_layer.ommega_embedder.embedding
    else:
        kinds = {"perceptron": EquivariantPerceptron, "attention": EquivariantAttention}
        if config.network == "scan":
            made = EquivariantScan(sites, states, config.hidden, config.blocks)
        else:
            made = kinds[config.network](sites, states, config.hidden)
        last = made.output.ommega_embedder.embedding
    with torch.no_grad():
        last *= 0.1
    return made


class RateNetwork(nn.Module):
    """c_t = dF/dt of a network F (arXiv 2502.10843)."""

    def __init__(self, hidden: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(1, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, 1)
        )

    def forward(self, t: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """The slope, with gradients to the weights."""
        with torch.enable_grad():
            at = t.detach().clone().requires_grad_(True)
            (slope,) = torch.autograd.grad(self.layers(at[:, None]).sum(), at, create_graph=True)
        return slope


@reads_tokens
class LatticeFlow(nn.Module):
    """A discrete neural flow sampler of a lattice (arXiv 2505.17741): ``process`` carries ``prior`` to ``target``.

    >>> from tenfold.discrete_samplers.flow.simulation import sample_flow
    >>> flow = LatticeFlow(LatticeFlowConfig())
    >>> sample_flow(flow.process, flow.target, 8, prior=flow.prior).samples.shape
    torch.Size([8, 16])
    """

    model_type: ClassVar[str] = "dnfs"
    config_class: ClassVar[type] = LatticeFlowConfig

    def __init__(self, config: LatticeFlowConfig) -> None:
        super().__init__()
        self.config, self.sites, self.states = config, config.height * config.width, config.states
        self.process = FlowProcess(network_of(config), config.conditional)
        self.coupling = 1.0
        self._fixed: tuple[Any, ProductPrior] | None = None

    @read_arguments
    def couple(self, share: float) -> None:
        """Set the share of the coupling that training is at; a curriculum ends at 1."""
        if not 0 < share <= 1:
            raise UsageError(f"share is {share}; give one in (0, 1]")
        if share != self.coupling:
            self.coupling, self._fixed = share, None
            self.process.horizon = share

    def _parts(self) -> tuple[Any, ProductPrior]:
        # Neither is a weight: they are made from the configuration, and where the weights are.
        like = next(self.parameters())
        if self._fixed is None or self._fixed[1].log_probs.device != like.device:
            target = lattice_target(self.config, self.coupling).to(like.device)
            prior = uniform(self.config.height * self.config.width, self.config.states).to(like.device)
            object.__setattr__(self, "_fixed", (target, prior))
        assert self._fixed is not None
        return self._fixed

    @property
    def target(self) -> Any:
        """Where the process leads."""
        return self._parts()[0]

    @property
    def prior(self) -> ProductPrior:
        """Where it begins."""
        return self._parts()[1]

    def forward(self, x: Int[Tensor, "b d"], t: Float[Tensor, " b"], clamp: float | None = None) -> Float[Tensor, " b"]:
        """ξ_t(x), of which training makes a constant."""
        return see(self.process, self.target, self.prior, x, t).xi(clamp)

    @read_arguments
    def way(self, steps: int, grid: str = "even", apart: int = 1, floor: float = 0.2, seed: int = 0) -> dict[str, Any]:
        """Arguments of ``sample_flow``: the process, where it leads and from where, times, sites that leap together."""
        if grid not in ("even", "adapted") or apart < 1:
            raise UsageError(f"grid and apart are {grid!r} and {apart}; give even or adapted, and 1 or more bonds")
        config, device = self.config, next(self.parameters()).device
        groups = None
        if apart > 1:
            groups = [sites.to(device) for sites in spread_sites(config.height, config.width, apart)]
        kept = {"process": self.process, "target": self.target, "prior": self.prior, "floor": floor, "groups": groups}
        adapted = grid == "adapted"
        made = adapted_grid(**kept, steps=steps, seed=seed, device=device) if adapted else times(steps)
        return {**kept, "grid": made, "device": device}

    @classmethod
    def from_pretrained(cls, source: str | os.PathLike[str], **options: Any) -> "LatticeFlow":
        """The model of a local folder or hub repository; strict."""
        model: LatticeFlow = hub.from_pretrained(cls, source, **options)
        return model

    def save_pretrained(self, folder: str | os.PathLike[str], extra: Mapping[str, Any] | None = None) -> None:
        """Write ``config.json`` and ``model.safetensors``."""
        hub.save_pretrained(self, folder, extra)
