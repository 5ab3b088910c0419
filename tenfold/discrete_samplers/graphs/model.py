"""A jump process of graph problems, as model folders hold it."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tenfold import hub
from tenfold.discrete_samplers.flow.process import FlowProcess, see
from tenfold.discrete_samplers.graphs.config import GraphFlowConfig
from tenfold.discrete_samplers.graphs.network import GraphTransformer
from tenfold.discrete_samplers.networks.conditional import TimeScale
from tenfold.discrete_samplers.targets.annealed import uniform
from tenfold.discrete_samplers.targets.graph_laws import GraphLaws, graph_laws
from tenfold.discrete_samplers.targets.graphs import PROBLEMS, Graph, GraphProblem
from tenfold.discrete_samplers.targets.protocol import reads_tokens
from tenfold.errors import UsageError


class OnGraphs(nn.Module):
    """The network with each row's graph given."""

    def __init__(self, network: GraphTransformer, laws: GraphLaws) -> None:
        super().__init__()
        self.network, self.laws = network, laws

    def forward(self, x: Int[Tensor, "b d"], t: Float[Tensor, " b"]) -> Float[Tensor, "b d 2"]:
        """G."""
        return self.network(x, t, self.laws)


@reads_tokens
class GraphFlow(nn.Module):
    """A sampler of one problem on all graphs of up to so many nodes.

    >>> import torch
    >>> from tenfold.discrete_samplers.flow.simulation import sample_flow
    >>> flow = GraphFlow(GraphFlowConfig(nodes=4))
    >>> laws = flow.laws([Graph(3, torch.tensor([[0, 1], [1, 2]]))]).of(torch.zeros(8, dtype=torch.int64))
    >>> sample_flow(flow.process(laws), laws, 8).samples.shape
    torch.Size([8, 4])
    """

    model_type: ClassVar[str] = "graph-flow"
    config_class: ClassVar[type] = GraphFlowConfig

    def __init__(self, config: GraphFlowConfig) -> None:
        super().__init__()
        self.config, self.sites, self.states = config, config.nodes, 2
        self.network = GraphTransformer(
            config.nodes, config.hidden, config.head, config.blocks, farthest=config.farthest
        )
        with torch.no_grad():
            self.network.output_layer.ommega_embedder.embedding.mul_(0.1)  # the conditional rates begin
        self.scale = TimeScale(config.conditional)
        self.prior = uniform(config.nodes, 2)
        self.prior.register_buffer("log_probs", self.prior.log_probs, persistent=False)  # it is no weight

    def problems(self, graphs: Sequence[Graph]) -> list[GraphProblem]:
        """exp(−E/T) on each graph."""
        if not isinstance(graphs, Sequence):
            raise UsageError(f"graphs is {type(graphs).__name__}; give a list of graphs")
        kind, temperature = PROBLEMS[self.config.problem], 1 / self.config.inverse_temperature
        return [kind(graph, temperature) for graph in graphs]

    def laws(self, graphs: Sequence[Graph]) -> GraphLaws:
        """The laws that the process leads to, padded to the network's nodes. Raises UsageError for larger graphs."""
        return graph_laws(self.problems(graphs), self.config.nodes, self.config.farthest).to(self.scale.values.device)

    def process(self, laws: GraphLaws) -> FlowProcess:
        """The process to laws, one a row."""
        made = FlowProcess(OnGraphs(self.network, laws), None)
        made.scale = self.scale
        return made

    def forward(
        self, x: Int[Tensor, "b d"], t: Float[Tensor, " b"], laws: GraphLaws, clamp: float | None = None
    ) -> Float[Tensor, " b"]:
        """ξ_t(x), of which training makes a constant on every graph."""
        return see(self.process(laws), laws, self.prior, x, t).xi(clamp)

    @classmethod
    def from_pretrained(cls, source: str | os.PathLike[str], **options: Any) -> "GraphFlow":
        """The model of a local folder or hub repository; strict."""
        model: GraphFlow = hub.from_pretrained(cls, source, **options)
        return model

    def save_pretrained(self, folder: str | os.PathLike[str], extra: Mapping[str, Any] | None = None) -> None:
        """Write ``config.json`` and ``model.safetensors``."""
        hub.save_pretrained(self, folder, extra)
