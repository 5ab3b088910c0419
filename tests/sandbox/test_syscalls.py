"""The filter of system calls, run by an interpreter of its own language."""

import struct

import pytest

from tenfold.errors import TenfoldError
from tenfold.sandbox import syscalls

ALLOW, KILL, NO_SUCH, NOT_PERMITTED = 0x7FFF0000, 0x80000000, 0x00050026, 0x00050001
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
REFUSED = {  # numbers from the kernel's tables
    "x86_64": {"socket": 41, "ptrace": 101, "mount": 165, "unshare": 272, "bpf": 321, "keyctl": 250,
               "memfd_create": 319, "io_uring_setup": 425, "clone3": 435, "shmget": 29, "setns": 308,
               "process_vm_readv": 310, "chroot": 161},
    "aarch64": {"socket": 198, "ptrace": 117, "mount": 40, "unshare": 97, "bpf": 280, "keyctl": 219,
                "memfd_create": 279, "io_uring_setup": 425, "clone3": 435, "shmget": 194, "setns": 268, "chroot": 51},
}  # fmt: skip
NEEDED = {
    "x86_64": {"read": 0, "write": 1, "mmap": 9, "execve": 59, "exit_group": 231, "openat": 257, "getrandom": 318},
    "aarch64": {"read": 63, "write": 64, "mmap": 222, "execve": 221, "exit_group": 94, "openat": 56, "getrandom": 278},
}


def answer(program: bytes, architecture: int, number: int, argument: int = 0) -> int:
    """What the kernel would answer."""
    data = struct.pack("=IIQQ", number, architecture, 0, argument)
    code, at, held = list(struct.iter_unpack("=HBBI", program)), 0, 0
    while True:
        operation, yes, no, k = code[at]
        at += 1
        if operation == 0x06:
            return k
        if operation == 0x20:
            held = struct.unpack_from("=I", data, k)[0]
            continue
        held_true = {0x15: held == k, 0x35: held >= k, 0x25: held > k, 0x45: bool(held & k)}[operation]
        at += yes if held_true else no


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_what_is_listed_exists_and_nothing_else(machine: str) -> None:
    program, own = syscalls.program(machine), ARCHITECTURES[machine]
    listed = set(syscalls.allowed(machine).values())
    for number in range(600):
        assert answer(program, own, number) == (ALLOW if number in listed else NO_SUCH), number
    assert set(NEEDED[machine].values()) <= listed
    assert not set(REFUSED[machine].values()) & listed
    for name, number in NEEDED[machine].items():
        assert syscalls.allowed(machine)[name] == number


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_clone_makes_no_namespaces(machine: str) -> None:
    program, own = syscalls.program(machine), ARCHITECTURES[machine]
    clone = syscalls.allowed(machine)["clone"]
    for flag in (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert answer(program, own, clone, flag | 17) == NOT_PERMITTED
    assert answer(program, own, clone, 0x3D0F00) == ALLOW  # a thread
    assert answer(program, own, clone, 17) == ALLOW  # a child


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_calls_of_other_machines_kill(machine: str) -> None:
    program = syscalls.program(machine)
    for name, other in {**ARCHITECTURES, "i386": 0x40000003}.items():
        if name != machine:
            assert answer(program, other, 1) == KILL
    assert answer(program, ARCHITECTURES[machine], 0x40000000 + 39) == KILL


def test_other_machines_are_told() -> None:
    with pytest.raises(TenfoldError, match="no list of system calls for riscv64; use it on x86_64 or aarch64"):
        syscalls.program("riscv64")
