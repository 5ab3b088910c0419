"""What a measurement of time depends on besides the software."""

import platform
from pathlib import Path


def cpu_name() -> str:
    """The processor's model, in the words of the system."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass  # no Linux
    return platform.processor() or platform.machine()
