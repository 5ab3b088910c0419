"""Files of arrays that the verbs write and read."""

import json
import math
import os
import tempfile
import warnings
import zipfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

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


class Parts(NamedTuple):
    """An array that is written part by part, along its first axis, and never held as a whole."""

    shape: tuple[int, ...]
    dtype: str
    parts: Iterable[Any]


def saved(out: str, facts: dict[str, Any], **arrays: Any) -> Path:
    """Write arrays, and what they are as JSON text, into an .npz file, beside and renamed."""
    import numpy as np

    check_output("--out", out, ".npz")
    return write_arrays(Path(out), about=np.array(json.dumps(facts, allow_nan=False)), **arrays)


def write_arrays(path: Path, **arrays: Any) -> Path:
    """Write arrays, whole or in ``Parts``, as the members of a compressed .npz file, beside and renamed."""
    import numpy as np

    from tenfold.files import disk_errors

    temporary = path.with_name(f".{path.name}.writing")
    with disk_errors(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as content:
                for name, array in arrays.items():
                    given = array if isinstance(array, Parts) else Parts(array.shape, array.dtype.str, [array])
                    header = {"descr": given.dtype, "fortran_order": False, "shape": given.shape}
                    with content.open(f"{name}.npy", "w", force_zip64=True) as member:
                        np.lib.format.write_array_header_1_0(member, header)
                        for part in given.parts:
                            member.write(np.ascontiguousarray(part, given.dtype).tobytes())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


class Spool:
    """Rows of numbers of growing width, put aside in a file without a name until an array is made of them.

    >>> import numpy as np
    >>> with Spool(Path(".")) as spool:
    ...     first, second = spool.put(np.array([[1.0, 2.0], [3.0, 4.0]]))
    ...     spool.get(second, 2).tolist()
    [3.0, 4.0]
    """

    def __init__(self, folder: Path) -> None:
        above = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
        self._file = tempfile.TemporaryFile(dir=above)  # noqa: SIM115 closed by ``__exit__``
        self._at = 0

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def put(self, rows: Any) -> Any:
        """Put rows (n, width) of float64 aside, and tell where they begin, as (n,) whole numbers of float64."""
        import numpy as np

        from tenfold.files import disk_errors

        data = np.ascontiguousarray(rows, np.float64)
        with disk_errors("the file of states beside the results"):
            self._file.seek(self._at)
            self._file.write(data.data)
        at = self._at + 8.0 * data.shape[1] * np.arange(len(data))
        self._at += data.nbytes
        return at

    def get(self, at: float, width: int) -> Any:
        """The row of ``width`` numbers that begins at ``at``."""
        import numpy as np

        self._file.seek(int(at))
        return np.frombuffer(self._file.read(8 * width), np.float64)


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
