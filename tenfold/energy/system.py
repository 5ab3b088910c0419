"""What the system is. Imports nothing heavy."""

from tenfold.runs.system import System

SYSTEMS = (
    System(
        name="energy",
        title="Distilled energy diffusion with Feynman-Kac SMC",
        paper="arXiv:2502.12786",
        state="not yet",
    ),
)
