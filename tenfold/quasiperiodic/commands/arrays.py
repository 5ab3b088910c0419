"""Files of arrays that the verbs write and read."""

import json
import math
import os
import warnings
import zipfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tenfold.errors import UsageError


def check_output(option: str, out: str | None, suffix: str) -> None:
    """Refuse a file that could not be written, before the work whose result goes there."""
    if out is None:
        return
    path = Path(out)
    if path.suffix != suffix:
        raise UsageError(f"{option} is {out!r}; expected a file name that ends in {suffix}")
    above = next(folder for folder in path.parents if folder.exists())
    if path.is_dir() or not above.is_dir() or not os.access(path if path.exists() else above, os.W_OK):
        raise UsageError(f"{option} is {out!r}, which cannot be written; name a file in a folder of yours")


def saved(out: str, facts: dict[str, Any], **arrays: Any) -> Path:
    """Write arrays, and what they are as JSON text, into an .npz file, beside and renamed."""
    import numpy as np

    from tenfold.files import disk_errors

    check_output("--out", out, ".npz")
    path = Path(out)
    temporary = path.with_name(f".{path.name}.writing.npz")
    with disk_errors(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(temporary, about=np.array(json.dumps(facts, allow_nan=False)), **arrays)
        temporary.replace(path)
    return path


def loaded(file: str) -> Any:
    """Points of an .npz (array "points", or its only array), .npy or .csv file.

    Raises UsageError for missing or foreign files, and for arrays beyond the memory; nothing is unpickled."""
    import numpy as np

    from tenfold.shifts.costs import require

    path = Path(file)
    if not path.exists():
        raise UsageError(f"{path} does not exist; give a .npz, .npy or .csv file of points (N, d)")
    refused = UsageError(f"{path} is no .npz, .npy or .csv file of numbers")
    try:
        if path.suffix == ".csv":
            require(8 * path.stat().st_size, f"{path}", "give a smaller file")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # an empty file has no points, which is told elsewhere
                return np.loadtxt(path, delimiter=",", ndmin=2)
        with path.open("rb") as whole, ExitStack() as opened:
            part: Any = whole
            if zipfile.is_zipfile(whole):
                content = opened.enter_context(zipfile.ZipFile(whole))
                names = [name.removesuffix(".npy") for name in content.namelist()]
                name = "points" if "points" in names else names[0] if len(names) == 1 else None
                if name is None:
                    raise UsageError(f"{path} holds {', '.join(names)}; name the array of points 'points'")
                part = opened.enter_context(content.open(content.namelist()[names.index(name)]))
            else:
                whole.seek(0)
            version = np.lib.format.read_magic(part)
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            shape, order, kind = read[version](part)
            if kind.hasobject or kind.kind not in "biufc" or min(shape, default=0) < 0:
                raise refused
            size = math.prod(shape) * kind.itemsize
            require(2 * size, f"{path}", "give a smaller file")
            raw = part.read(size)
            if len(raw) != size:
                raise refused
            return np.frombuffer(raw, kind).reshape(shape, order="F" if order else "C")
    except UsageError:
        raise
    except Exception:  # whatever a broken file does to the parsers of its parts
        raise refused from None
