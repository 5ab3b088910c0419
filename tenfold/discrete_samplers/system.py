"""What the system is. Imports nothing heavy."""

from tenfold.runs.system import System

SYSTEMS = (
    System(
        name="dnfs",
        title="DNFS: discrete neural flow samplers",
        paper="arXiv:2505.17741",
        state="not yet",
    ),
)
