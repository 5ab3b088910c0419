"""What the system is. Imports nothing heavy."""

from tenfold.runs.system import System

SYSTEMS = (
    System(
        name="ordering",
        title="Right-to-left factorization and multiple choice",
        paper="arXiv:2502.18435",
        state="not yet",
    ),
)
