"""The kernel's calls that a jailed program may make, as a filter of the kernel (seccomp): what is not listed does not
exist for it. No sockets but pairs, no mounts, namespaces, tracing, keys, shared memory, modules or io_uring.

The list is what CPython needs to compute, to work with files and to run threads and children.
"""

import platform
import struct
from collections.abc import Iterator

from tenfold.errors import TenfoldError

# Name, then its number on x86_64 and on aarch64 ("-" where there is none).
_ALLOWED = """
access=21,-  alarm=37,-  arch_prctl=158,-  brk=12,214  chdir=80,49  chmod=90,-  chown=92,-  clock_getres=229,114
clock_gettime=228,113  clock_nanosleep=230,115  clone=56,220  close=3,57  close_range=436,436
copy_file_range=326,285  creat=85,-  dup=32,23  dup2=33,-  dup3=292,24  epoll_create=213,-  epoll_create1=291,20
epoll_ctl=233,21  epoll_pwait=281,22  epoll_pwait2=441,441  epoll_wait=232,-  eventfd=284,-  eventfd2=290,19
execve=59,221  execveat=322,281  exit=60,93  exit_group=231,94  faccessat=269,48  faccessat2=439,439
fadvise64=221,223  fallocate=285,47  fchdir=81,50  fchmod=91,52  fchmodat=268,53  fchown=93,55  fchownat=260,54
fcntl=72,25  fdatasync=75,83  flock=73,32  fork=57,-  fstat=5,80  fstatfs=138,44  fsync=74,82  ftruncate=77,46
futex=202,98  futimesat=261,-  get_robust_list=274,100  getcwd=79,17  getdents=78,-  getdents64=217,61
getegid=108,177  geteuid=107,175  getgid=104,176  getgroups=115,158  getitimer=36,102  getpgid=121,155
getpgrp=111,-  getpid=39,172  getppid=110,173  getpriority=140,141  getrandom=318,278  getresgid=120,150
getresuid=118,148  getrlimit=97,163  getrusage=98,165  getsid=124,156  gettid=186,178  gettimeofday=96,169
getuid=102,174  ioctl=16,29  kill=62,129  lchown=94,-  link=86,-  linkat=265,37  lseek=8,62  lstat=6,-
madvise=28,233  membarrier=324,283  mincore=27,232  mkdir=83,-  mkdirat=258,34  mlock2=325,284  mmap=9,222
mprotect=10,226  mremap=25,216  msync=26,227  munmap=11,215  nanosleep=35,101  newfstatat=262,79  open=2,-
openat=257,56  pause=34,-  pidfd_open=434,434  pidfd_send_signal=424,424  pipe=22,-  pipe2=293,59  poll=7,-
ppoll=271,73  prctl=157,167  pread64=17,67  preadv=295,69  prlimit64=302,261  pselect6=270,72  pwrite64=18,68
pwritev=296,70  read=0,63  readlink=89,-  readlinkat=267,78  readv=19,65  recvfrom=45,207  recvmsg=47,212
rename=82,-  renameat=264,38  renameat2=316,276  restart_syscall=219,128  rmdir=84,-  rseq=334,293
rt_sigaction=13,134  rt_sigpending=127,136  rt_sigprocmask=14,135  rt_sigreturn=15,139  rt_sigsuspend=130,133
rt_sigtimedwait=128,137  sched_get_priority_max=146,125  sched_get_priority_min=147,126  sched_getaffinity=204,123
sched_getparam=143,121  sched_getscheduler=145,120  sched_setaffinity=203,122  sched_yield=24,124  select=23,-
sendfile=40,71  sendmsg=46,211  sendto=44,206  set_robust_list=273,99  set_tid_address=218,96  setgid=106,144
setgroups=116,159  setitimer=38,103  setpgid=109,154  setpriority=141,140  setresgid=119,149  setresuid=117,147
setrlimit=160,164  setsid=112,157  setuid=105,146  shutdown=48,210  sigaltstack=131,132  socketpair=53,199
splice=275,76  stat=4,-  statfs=137,43  statx=332,291  symlink=88,-  symlinkat=266,36  sysinfo=99,179  tee=276,77
tgkill=234,131  time=201,-  timer_create=222,107  timer_delete=226,111  timer_getoverrun=225,109
timer_gettime=224,108  timer_settime=223,110  timerfd_create=283,85  timerfd_gettime=287,87  timerfd_settime=286,86
times=100,153  tkill=200,130  truncate=76,45  umask=95,166  uname=63,160  unlink=87,-  unlinkat=263,35  utime=132,-
utimensat=280,88  utimes=235,-  vfork=58,-  wait4=61,260  waitid=247,95  write=1,64  writev=20,66
"""
_MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}  # number of the architecture, column
_NAMESPACES = 0x7E020000  # flags of clone that make new ones
_X32 = 0x40000000  # from here on x86_64 has its calls a second time
_LOAD, _EQUAL, _AT_LEAST, _ABOVE, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x25, 0x45, 0x06
_ALLOW, _KILL, _REFUSE = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS = 1, 38
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in seccomp_data


def allowed(machine: str) -> dict[str, int]:
    """The calls and their numbers. Raises TenfoldError for a machine whose numbers are not known."""
    if machine not in _MACHINES:
        raise TenfoldError(f"the sandbox has no list of system calls for {machine}; use it on {' or '.join(_MACHINES)}")
    column = _MACHINES[machine][1]
    rows = (row.partition("=") for row in _ALLOWED.split())
    return {name: int(number) for name, _, both in rows if (number := both.split(",")[column]) != "-"}


def program(machine: str = "") -> bytes:
    """The filter as classic BPF for this machine (or another)."""
    machine = machine or platform.machine()
    calls = allowed(machine)
    made = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, _MACHINES[machine][0]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _KILL),
        (_EQUAL, 0, 4, calls["clone"]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_ANY_BIT, 0, 1, _NAMESPACES),
        (_RETURN, 0, 0, _REFUSE | _EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
    for first, last in _runs(sorted(set(calls.values()))):
        made += [(_AT_LEAST, 0, 2, first), (_ABOVE, 1, 0, last), (_RETURN, 0, 0, _ALLOW)]
    made.append((_RETURN, 0, 0, _REFUSE | _ENOSYS))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in made)


def _runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """First and last of the runs of neighbours."""
    first = last = numbers[0]
    for number in numbers[1:]:
        if number > last + 1:
            yield first, last
            first = number
        last = number
    yield first, last
