"""Text files, also members of archives: what a package carries is read from its download, and nothing is unpacked."""

import re
import tarfile
import zipfile
from pathlib import Path

from tenfold.errors import UsageError
from tenfold.settings.arguments import read_arguments

_ARCHIVE = re.compile(r"(?P<archive>.+?(?:\.whl|\.zip|\.tar\.gz|\.tgz|\.tar)):(?P<member>.+)")
_MOST = 2**30  # bytes of a member


@read_arguments
def read_text(source: str | Path) -> str:
    """The text of a file in UTF-8, or of a member of a .whl, .zip or .tar(.gz) archive, as ARCHIVE:MEMBER; the end of a
    member's path is enough where there is one such member.

    Raises UsageError for what is missing, is no text or no archive, and for no or several such members."""
    match = _ARCHIVE.fullmatch(str(source))
    try:
        if match is None or Path(source).exists():
            return Path(source).read_text(encoding="utf-8-sig")
        archive = Path(match["archive"])
        read = _from_zip if archive.suffix in (".whl", ".zip") else _from_tar
        return read(archive, match["member"]).decode("utf-8-sig")
    except (OSError, ValueError, EOFError, tarfile.TarError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{source} cannot be read as text: {reason}") from None


def _is(name: str, member: str) -> bool:
    return name == member or name.endswith(f"/{member}")


def _from_zip(archive: Path, member: str) -> bytes:
    with zipfile.ZipFile(archive) as inside:
        found = [entry for entry in inside.infolist() if _is(entry.filename, member)]
        if len(found) != 1 or found[0].file_size > _MOST:
            raise UsageError(f"{archive} holds {_said(len(found))} {member}; give more of its path")
        return inside.read(found[0])


def _from_tar(archive: Path, member: str) -> bytes:
    # Streamed: a large archive is not listed first. The first member of the name is taken.
    with tarfile.open(archive, "r|*") as inside:
        for entry in inside:
            if entry.isfile() and _is(entry.name, member) and entry.size <= _MOST:
                file = inside.extractfile(entry)
                assert file is not None
                return file.read()
    raise UsageError(f"{archive} holds no {member}; give the end of a member's path")


def _said(count: int) -> str:
    return "no" if not count else f"{count} times"
