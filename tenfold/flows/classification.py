"""Classification with a class-conditional flow: by Bayes' rule, and by one gradient."""

import torch
from jaxtyping import Float
from torch import Tensor

from tenfold import progress
from tenfold.errors import UsageError
from tenfold.flows.density import fitting, log_prob, log_prob_mixture
from tenfold.flows.flow import Flow
from tenfold.flows.network import evaluating
from tenfold.nn.attention import first_derivatives
from tenfold.nn.border import Values, floats


@torch.no_grad()
def bayes_log_posterior(
    flow: Flow, x: Values, prior: Values | None = None, chunk: int = 512
) -> Float[Tensor, "b classes"]:
    """log p(y|x) = log p(x|y) + log prior(y) − log Σ, in nats; one forward pass per class and row.

    ``prior`` are class probabilities, uniform by default. The argmax is the Bayes-rule classifier. Raises
    UsageError for a flow without classes."""
    by_class = log_prob_mixture(flow, x, chunk)[1]
    if prior is not None:
        shares = floats(prior, "the prior").to(by_class)
        if shares.shape != by_class.shape[1:] or bool((shares < 0).any()) or not float(shares.sum()) > 0:
            raise UsageError(
                f"the prior is {shares.tolist()}; give a probability for each of {by_class.shape[1]} classes"
            )
        by_class = by_class + shares.log()
    return by_class.log_softmax(dim=1)


def one_gradient_scores(flow: Flow, x: Values, chunk: int = 256) -> Float[Tensor, "b classes"]:
    """∂ log p(x | softmax(λ)) / ∂λ at λ = 0: a first-order form of Bayes' rule for one forward and one backward
    pass (R-REPA, arXiv 2511.22345).

    At λ = 0 the class vector is the mean of the table, this flow's unconditional branch; rows sum to 0 and
    their argmax predicts the class. ``chunk`` rows share a pass, which holds all activations. Raises UsageError for
    a flow without classes."""
    if not flow.config.classes:
        raise UsageError("this flow has no classes; the one-gradient classifier needs a class-conditional flow")
    flow, x = flow.taken(x)
    parts = []
    for part in progress.track(x.split(fitting(flow, chunk, kept=True)), "one-gradient classifier", "chunks"):
        with torch.enable_grad(), first_derivatives(), evaluating(flow):
            logits = part.new_zeros(part.shape[0], flow.config.classes, requires_grad=True)
            (gradient,) = torch.autograd.grad(log_prob(flow, part, logits.softmax(dim=1)).sum(), logits)
        parts.append(gradient)
    return torch.cat(parts)
