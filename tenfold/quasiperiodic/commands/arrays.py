"""Files of arrays that the verbs write and read."""

import json
from pathlib import Path
from typing import Any

from tenfold.errors import UsageError


def saved(out: str, facts: dict[str, Any], **arrays: Any) -> Path:
    """Write arrays, and what they are as JSON text, into an .npz file, beside and renamed."""
    import numpy as np

    from tenfold.files import disk_errors

    path = Path(out)
    if path.suffix != ".npz":
        raise UsageError(f"--out is {out!r}; expected a file name that ends in .npz")
    temporary = path.with_name(f".{path.name}.writing.npz")
    with disk_errors(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(temporary, about=np.array(json.dumps(facts)), **arrays)
        temporary.replace(path)
    return path


def loaded(file: str) -> Any:
    """Points of an .npz (array "points", or its only array), .npy or .csv file.

    Raises UsageError for missing or foreign files; nothing is unpickled."""
    import numpy as np

    path = Path(file)
    if not path.exists():
        raise UsageError(f"{path} does not exist; give a .npz, .npy or .csv file of points (N, d)")
    try:
        if path.suffix == ".csv":
            return np.loadtxt(path, delimiter=",", ndmin=2)
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content
        names = list(content)
        name = "points" if "points" in names else names[0] if len(names) == 1 else None
        if name is None:
            raise UsageError(f"{path} holds {', '.join(names)}; name the array of points 'points'")
        return content[name]
    except (ValueError, OSError, EOFError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{path} is no .npz, .npy or .csv file of numbers") from None
