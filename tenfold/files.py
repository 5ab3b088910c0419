"""Files that are either whole or absent: atomic writes, checksums, and one sentence for a full disk."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tenfold.errors import TenfoldError, UsageError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


def fsync(path: Path) -> None:
    """Flush a file or a directory's entries to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, data: str | bytes) -> None:
    """Replace ``path`` by ``data``; a reader, or a kill at any moment, sees the old file or the new one."""
    raw = data.encode() if isinstance(data, str) else data
    temporary = path.with_name(f".{path.name}.{os.getpid()}.writing")
    try:
        with open(temporary, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync(path.parent)


def write_output(path: Path, data: str | bytes) -> Path:
    """Write a file that a user asked for, atomically, and its folder if it is missing; returns ``path``.

    Raises TenfoldError in one sentence for a full disk or a forbidden folder."""
    with disk_errors(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, data)
    return path


def write_json(path: Path, value: Any) -> None:
    """Indented JSON, atomically."""
    write_atomic(path, json.dumps(value, indent=2) + "\n")


def write_yaml(path: Path, value: Any) -> None:
    """YAML in the order given, atomically; ``value`` holds plain dictionaries, lists and scalars."""
    write_atomic(path, yaml.safe_dump(plain(value), sort_keys=False))


def plain(value: Any) -> Any:
    """Tuples as lists and paths as strings, so that YAML and JSON hold plain values only."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def read_json(path: Path) -> Any:
    """The JSON in ``path``; UsageError in one sentence when it is missing or malformed, nested too deeply or too long
    to be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist") from None
    except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, numbers of thousands of digits
        raise UsageError(f"{path} is not valid JSON: {error}") from None
    except (OSError, MemoryError) as error:
        raise UsageError(f"{path} cannot be read: {str(error) or 'too long for the memory'}") from None


def sha256(*parts: bytes | str | Path) -> str:
    """The hexadecimal SHA-256 of one file (a path), as ``sha256sum`` prints it; or of texts and bytes, each with its
    length before it, so that no two lists of parts collide by concatenation."""
    if len(parts) == 1 and isinstance(parts[0], Path):
        with open(parts[0], "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    for part in parts:
        assert not isinstance(part, Path), "a file's checksum is taken by itself"
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def replace_folder(temporary: Path, final: Path) -> None:
    """Put a finished folder in the place of another."""
    doomed = final.with_name(f".removing-{final.name}")
    shutil.rmtree(doomed, ignore_errors=True)
    if final.exists():
        final.rename(doomed)
    temporary.rename(final)
    shutil.rmtree(doomed, ignore_errors=True)


def is_full(error: BaseException | None) -> bool:
    """Whether an exception says that the disk, the quota or the file-size limit is exhausted."""
    return isinstance(error, OSError) and error.errno in _FULL


@contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turn 'no space left' and 'permission denied' while writing ``what`` into one sentence."""
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise TenfoldError(full_sentence(what, error)) from error
        if error.errno in _FORBIDDEN:
            reason = (error.strerror or str(error)).lower()
            raise TenfoldError(f"could not write {what}: {reason}; choose a folder you may write to") from error
        raise


def full_sentence(what: str, error: OSError) -> str:
    """One sentence for a full disk."""
    reason = (error.strerror or str(error)).lower()
    return f"could not write {what}: {reason}; free some space there, what was saved before is untouched"
