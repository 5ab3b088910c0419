# ruff: noqa: E501 - programs are easier to read whole
"""Programs that try to forge a pass, to use up the machine, or to get out. None of them computes what the tests ask."""

FORGED = {
    "exit 0": "import os; os._exit(0)",
    "sys.exit": "import sys\ndef f(x): sys.exit(0)",
    "exit in a call": "import os\ndef f(x): os._exit(0)",
    "atexit": "import atexit, os\natexit.register(lambda: os._exit(0))\ndef f(x): raise SystemExit(0)",
    "exit in __del__": "import os\nclass D:\n    def __del__(self): os._exit(0)\nd = D()\ndel d\n",
    "exit thread": "import os, threading, time\nthreading.Thread(target=lambda: (time.sleep(.05), os._exit(0))).start()\n"
    "def f(x):\n    time.sleep(1)",
    "patched builtins": "import builtins\nbuiltins.AssertionError = type(None)\nbuiltins.compile = lambda *a, **k: 0\n"
    "builtins.exec = lambda *a: None\nbuiltins.isinstance = lambda *a: True\ndef f(x): return 1",
    "no AssertionError": "import builtins\ndel builtins.AssertionError\ndef f(x): return 1",
    "settrace": "import sys\nsys.settrace(lambda *a: sys.exit(0))\nsys.setprofile(lambda *a: None)\ndef f(x): return 1",
    "always equal": "class Yes(int):\n    def __eq__(self, other): return True\n    def __ne__(self, other): return False\n"
    "    def __hash__(self): return 1\ndef f(x): return Yes(1)",
    "always equal object": "class Yes:\n    __eq__ = lambda self, other: True\ndef f(x): return Yes()",
    "always equal text": "class Yes(str):\n    __eq__ = lambda self, other: True\ndef f(x): return Yes('7301234567890123')",
    "always equal inside": "class Yes(list):\n    __eq__ = lambda self, other: True\ndef f(x): return [Yes()]",
    "fake type": "class Yes(int):\n    __class__ = int\n    __eq__ = lambda self, other: True\ndef f(x): return Yes()",
    "not a number": "def f(x): return float('nan')",
    "every descriptor": "import os\nfor n in range(256):\n    try: os.write(n, b'00000030l3;s7:verdicts6:passeds0:' * 5)\n"
    "    except OSError: pass\ndef f(x): return 1",
    "every descriptor in a call": "import os\ndef f(x):\n    for n in range(256):\n        try: os.write(n, b'passed\\n' * 9)\n"
    "        except OSError: pass\n    return 1",
    "forged verdict as a value": "def f(x): return ['verdict', 'passed', '']",
    "forged verdict as an exception": "def f(x): raise AssertionError('passed')",
    "exception that is caught nowhere": "class E(BaseException): pass\ndef f(x): raise E()",
    "generator exit": "def f(x): raise GeneratorExit",
    "stop": "def f(x): raise StopIteration(7301234567890123)",
    "patched messages": "import sys\nwire = [m for n, m in sys.modules.items() if n.endswith('wire')][0]\n"
    "wire.encode = lambda value: b'd1;s5:valueT'\ndef f(x): return 1",
    "patched guest": "import sys\nfor n, m in list(sys.modules.items()):\n    if n.endswith(('guest', '__main__')):\n"
    "        m.__dict__.clear()\ndef f(x): return 1",
    "frames": "import sys\nframe = sys._getframe()\nwhile frame:\n    for name, value in list(frame.f_locals.items()):\n"
    "        if isinstance(value, list): value.append('passed')\n    frame = frame.f_back\ndef f(x): return 1",
    "objects of the collector": "import gc\nfor o in gc.get_objects():\n    if type(o) is list: o.clear()\ndef f(x): return 1",
    "expected answer in memory": "import gc\ndef f(x):\n    wanted = ''.join(['73012345', '67890123'])\n"
    "    known = [o for o in gc.get_objects() if wanted in repr(o)[:10000]]\n    return int(wanted) if known else 0",
    "expected answer in files": "import os\ndef f(x):\n    for root, _, files in os.walk('/'):\n        for name in files:\n"
    "            if 'test' in name and root == '/tmp': return 3 * 2433744855963374 + 1\n    return 0",
    "module files": "import os, sys\nfor path in list(sys.modules.values()):\n    name = getattr(path, '__file__', None)\n"
    "    if name: open(name, 'a').write('x')\ndef f(x): return 1",
    "standard library shadowed": "open('/tmp/math.py', 'w').write('1/0')\nimport sys\nsys.path.insert(0, '/tmp')\ndef f(x): return 1",
    "pickle": "import pickle, os\nclass P:\n    def __reduce__(self): return (print, ('passed',))\n"
    "def f(x): return bytearray(pickle.dumps(P()))",
    "garbage by ctypes": "import ctypes\ndef f(x): ctypes.string_at(0)",
    "integers patched by ctypes": "import ctypes\ndef f(x):\n    ctypes.c_long.from_address(id(7301234567890123) + 24).value = 2\n    return 2",
    "huge answer": "def f(x): return 'x' * 3_000_000",
    "deep answer": "def f(x):\n    a = []\n    for _ in range(90_000): a = [a]\n    return a",
    "huge number": "def f(x): return 1 << 40_000_000",
}  # fmt: skip

GREEDY = {
    "fork bomb": "import os\nwhile True: os.fork()",
    "quiet fork bomb": "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
    "threads": "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(9,)).start()",
    "memory": "a = []\nwhile True: a.append(bytearray(1 << 24))",
    "memory at once": "def f(x): return bytearray(1 << 40)",
    "memory of children": "import os, time\nfor _ in range(4):\n    if os.fork() == 0: a = b'1' * (200 << 20); time.sleep(9)\n"
    "time.sleep(9)",
    "disk": "k = 0\nwhile True:\n    k += 1\n    open(f'/tmp/{k}', 'wb').write(bytes(1 << 20))",
    "one large file": "f = open('/tmp/x', 'wb')\nwhile True: f.write(bytes(1 << 20))",
    "inodes": "import os\nk = 0\nwhile True:\n    k += 1\n    os.mkdir(f'/tmp/{k}')",
    "descriptors": "a = []\nwhile True: a.append(open('/dev/null'))",
    "output": "while True: print('x' * 10000)",
    "output to the pipe": "import os\nwhile True:\n    for n in range(3, 20):\n        try: os.write(n, b'1' * 65536)\n"
    "        except OSError: pass",
    "endless": "while True: pass",
    "endless in a call": "def f(x):\n    while True: pass",
    "sleep": "import time\ntime.sleep(1000)",
    "signals ignored": "import signal, time\nfor s in range(1, 65):\n    try: signal.signal(s, signal.SIG_IGN)\n"
    "    except (OSError, ValueError): pass\nwhile True: time.sleep(1)",
    "children that stay": "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(1000)\ndef f(x): return 1",
    "children in sessions of their own": "import os, time\nfor _ in range(5):\n    if os.fork() == 0:\n        os.setsid()\n"
    "        if os.fork() == 0: time.sleep(1000)\n        os._exit(0)\ndef f(x): return 1",
    "recursion": "import sys\nsys.setrecursionlimit(10**9)\ndef f(x): return f(x) + 1",
    "regular expression": "import re\ndef f(x): return re.match('(a*)*b', 'a' * 40)",
    "kill all": "import os, signal\nos.kill(-1, signal.SIGKILL)",
    "kill the first process": "import os, signal\nfor n in range(1, 5000):\n    try: os.kill(n, signal.SIGKILL)\n"
    "    except OSError: pass\ndef f(x): return 1",
    "stop itself": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
    "pipes": "import os, fcntl\na = []\nwhile True:\n    a.append(os.pipe())\n    fcntl.fcntl(a[-1][1], 1031, 1 << 20)\n"
    "    os.write(a[-1][1], bytes(1 << 20))",
    "shared memory": "from multiprocessing import shared_memory\nshared_memory.SharedMemory(create=True, size=1 << 30)",
}  # fmt: skip

_CALL = (
    "import ctypes\nC = ctypes.CDLL(None, use_errno=True)\ndef call(*a):\n    assert C.syscall(*a) >= 0, 'refused'\n"
)
ESCAPES = {
    "network": "import socket\nsocket.create_connection(('1.1.1.1', 80), 1)",
    "name server": "import urllib.request\nurllib.request.urlopen('http://example.com', timeout=1)",
    "listen": "import socket\ns = socket.socket()\ns.bind(('127.0.0.1', 0))",
    "unix socket": "import socket\nsocket.socket(socket.AF_UNIX)",
    "netlink": "import socket\nsocket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "proc": "open('/proc/1/environ').read()",
    "memory of the parent": "import os\nopen(f'/proc/{os.getppid()}/mem', 'rb')",
    "sys": "open('/sys/kernel/mm/transparent_hugepage/enabled').read()",
    "home": "import os\nos.listdir(os.path.expanduser('~root/..') + 'home')",
    "passwords": "open('/etc/passwd').read()",
    "secrets of the environment": "import os\nassert set(os.environ) - {'LANG', 'HOME', 'PATH', 'PYTHONHASHSEED', 'PWD', 'LC_CTYPE'}",
    "symbolic link": "import os\nos.symlink('/etc/passwd', '/tmp/x')\nopen('/tmp/x').read()",
    "working folder": "import os\nos.chdir('/proc/self/cwd/..')",
    "write to the system": "open('/usr/lib/x', 'w').write('x')",
    "write to the root": "open('/x', 'w').write('x')",
    "devices": "import os\nos.mknod('/tmp/sda', 0o60666, os.makedev(8, 0))",
    "disk device": "open('/dev/sda', 'rb')",
    "become root": "import os\nos.setuid(0)",
    "setuid file": "import os, shutil\nos.chown('/tmp', 0, 0)",
    "mount": _CALL + "call(165, b'none', b'/tmp', b'tmpfs', 0, 0)",
    "unmount": _CALL + "call(166, b'/tmp', 2)",
    "new namespaces": _CALL + "call(272, 0x10000000)",
    "clone with namespaces": _CALL + "call(56, 0x10000011, 0, 0, 0, 0)",
    "chroot": "import os\nos.chroot('/tmp')",
    "ptrace": _CALL + "call(101, 16, 1, 0, 0)",
    "read another's memory": _CALL + "call(310, 1, 0, 0, 0, 0, 0)",
    "io_uring": _CALL + "call(425, 8, 0)",
    "bpf": _CALL + "call(321, 0, 0, 0)",
    "keys": _CALL + "call(250, 0, -3, 0)",
    "reboot": _CALL + "call(169, 0xfee1dead, 672274793, 0x1234567)",
    "clock": "import time\ntime.clock_settime(time.CLOCK_REALTIME, 0)",
    "host name": _CALL + "call(170, b'x', 1)",
    "32-bit calls": _CALL + "call(0x40000000 + 39)",
    "anonymous files": "import os\nos.memfd_create('x')",
    "other programs": "import subprocess\nsubprocess.run(['/bin/sh', '-c', 'true'], check=True)",
    "raise limits": "import resource\nresource.setrlimit(resource.RLIMIT_NPROC, (10**6, 10**6))",
}  # fmt: skip
