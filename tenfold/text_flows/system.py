"""What the system is. Imports nothing heavy."""

from tenfold.runs.system import System

SYSTEMS = (
    System(
        name="tarflowlm",
        title="TarFlowLM: language modelling with continuous flows",
        paper="arXiv:2507.00425",
        state="the mixture bijectors work; the language model is missing",
        benchmarks=("text_flows",),
    ),
)
