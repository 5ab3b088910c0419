"""What the system is. Imports nothing heavy."""

from tenfold.runs.system import System

SYSTEMS = (
    System(
        name="detection", title="AI-TOD-R and DCFL: oriented tiny objects", paper="arXiv:2412.11582", state="not yet"
    ),
)
