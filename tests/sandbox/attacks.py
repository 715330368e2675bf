"""Hostile code. Each piece prints ESCAPED when it got what it wanted; SECRET, PORT and PATH are filled in by the test."""

from __future__ import annotations

ESCAPED = "ESCAPED"

READS = {
    "a file by its path": "print('ESCAPED', open(PATH).read())",
    "passwd": "print('ESCAPED', open('/etc/passwd').read())",
    "a file above the folder": "print('ESCAPED', open('../' * 20 + PATH.lstrip('/')).read())",
    "a link to a file": "import os\nos.symlink(PATH, 'l')\nprint('ESCAPED', open('l').read())",
    "pathlib": "from pathlib import Path\nprint('ESCAPED', Path(PATH).read_text())",
    "the environment": "import os\nprint('ESCAPED' if SECRET in str(dict(os.environ)) else 'no')",
    "the environment of others": "import os\nfor p in ('1', 'self', str(os.getppid())):\n    print('ESCAPED', open(f'/proc/{p}/environ').read())",
    "descriptors": (
        "import os\nfor fd in range(3, 256):\n    try:\n        data = os.read(fd, 4096)\n    except OSError:\n        continue\n"
        "    print('ESCAPED' if SECRET.encode() in data else 'no')"
    ),
    "the list of files": "import os\nprint('ESCAPED' if 'etc' in os.listdir('/') or 'home' in os.listdir('/') else 'no')",
    "modules of the host": "import sys\nimport rung\nprint('ESCAPED')",
    "subclasses": "print('ESCAPED' if [c for c in ().__class__.__base__.__subclasses__() if 'rung' in str(c)] else 'no')",
    "globals of a method": "class A:\n    def f(self): return 1\ntext = '{0.f.__globals__}'.format(A())\nprint('ESCAPED' if 'rung' in text or 'marshal' not in dir() and len(text) > 10 ** 5 else 'no')",
    "frames": "import sys\nf = sys._getframe()\nwhile f.f_back: f = f.f_back\nprint('ESCAPED' if 'rung' in f.f_code.co_filename else 'no')",
}

NETWORK = {
    "tcp to the host": "import socket\nsocket.create_connection(('127.0.0.1', PORT), 0.3)\nprint('ESCAPED')",
    "udp": "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.sendto(b'x', ('127.0.0.1', PORT))\nprint('ESCAPED')",
    "unix sockets": "import socket\ns = socket.socket(socket.AF_UNIX)\ns.bind('\\0rung')\nprint('ESCAPED')",
    "netlink": "import socket\nsocket.socket(16, 3, 0)\nprint('ESCAPED')",
    "names": "import socket\nsocket.getaddrinfo('localhost', 80)\nimport urllib.request\nurllib.request.urlopen(f'http://127.0.0.1:{PORT}/', timeout=0.3)\nprint('ESCAPED')",
    "socketpair": "import socket\nsocket.socketpair()\nprint('ESCAPED')",
}

PROCESSES = {
    "fork": "import os\nos.fork()\nprint('ESCAPED')",
    "fork bomb": "import os\nn = 0\nfor _ in range(200):\n    try:\n        os.fork()\n        n += 1\n    except OSError:\n        pass\nprint('ESCAPED' if n else 'no')",
    "threads": "import threading\nthreading.Thread(target=print).start()\nprint('ESCAPED')",
    "system": "import os\nprint('ESCAPED' if os.system('true') == 0 else 'no')",
    "subprocess": "import subprocess, sys\nsubprocess.run([sys.executable, '-c', ''], check=True)\nprint('ESCAPED')",
    "spawn": "import os, sys\nos.posix_spawn(sys.executable, ['p', '-c', ''], {})\nprint('ESCAPED')",
    "multiprocessing": "import multiprocessing\nmultiprocessing.Process(target=print).start()\nprint('ESCAPED')",
    "unpickling": "import pickle\npickle.loads(b'cos\\nfork\\n(tR.')\nprint('ESCAPED')",
    "killing all": "import os, signal\nos.kill(-1, signal.SIGKILL)\nprint('no')",
    "killing its parent": "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nprint('no')",
}

WRITES = {
    "outside": (
        "for path in ('/x', '/usr/lib/x', '/lib/x', '/dev/x', '/etc/x', '/root/x', '../x', PATH):\n    try:\n"
        "        open(path, 'w').write('x')\n        print('ESCAPED', path)\n    except OSError:\n        pass"
    ),
    "the interpreter": "import os, sys\nopen(os.__file__, 'a').write('#')\nprint('ESCAPED')",
    "by a hard link": "import os\nos.link(os.__file__, 'l')\nopen('l', 'a').write('#')\nprint('ESCAPED')",
    "devices": "import os\nos.mknod('d', 0o600 | 0o060000, os.makedev(8, 0))\nprint('ESCAPED')",
    "memory device": "open('/dev/mem', 'rb').read(1)\nprint('ESCAPED')",
    "too much": "with open('big', 'wb') as f:\n    for _ in range(64):\n        f.write(b'x' * (1 << 20))\n    f.flush()\nprint('ESCAPED')",
    "too many large files": "for n in range(64):\n    with open(str(n), 'wb') as f:\n        f.write(b'x' * (1 << 20))\nprint('ESCAPED')",
    "too many descriptors": "kept = []\nfor n in range(1000):\n    kept.append(open('f', 'a'))\nprint('ESCAPED')",
    "memory that is no process's": "import os\nfd = os.memfd_create('x')\nos.write(fd, b'x')\nprint('ESCAPED')",
    "shared memory": "from multiprocessing.shared_memory import SharedMemory\nSharedMemory(create=True, size=1 << 20)\nprint('ESCAPED')",
    "limits": "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))\nprint('ESCAPED')",
    "root": "import os\nos.setuid(0)\nprint('ESCAPED' if os.getuid() == 0 else 'no')",
    "groups": "import os\nos.setgroups([0])\nprint('ESCAPED')",
}

_CALL = "import ctypes\ncall = ctypes.CDLL(None, use_errno=True).syscall\nif call({}) >= 0: print('ESCAPED')"
SYSCALLS = {
    name: _CALL.format(arguments)
    for name, arguments in {
        "unshare": "272, 0x10000000", "setns": "308, 0, 0", "mount": "165, b'x', b'/work', b'tmpfs', 0, 0",
        "umount": "166, b'/work', 2", "pivot_root": "155, b'.', b'.'", "chroot": "161, b'/work'", "clone": "56, 0, 0",
        "clone3": "435, 0, 0", "ptrace": "101, 0, 0, 0, 0", "bpf": "321, 5, 0, 0", "perf_event_open": "298, 0, 0, -1, -1, 0",
        "userfaultfd": "323, 0", "io_uring_setup": "425, 8, ctypes.create_string_buffer(256)", "keyctl": "250, 0, -3, 1",
        "add_key": "248, b'user', b'k', b'v', 1, -3", "memfd_secret": "447, 0", "shmget": "29, 0, 4096, 0o1600",
        "msgget": "68, 0, 0o1600", "seccomp": "317, 1, 0, 0", "kexec_load": "246, 0, 0, 0, 0", "iopl": "172, 3",
        "settimeofday": "164, 0, 0", "sethostname": "170, b'x', 1", "open_by_handle_at": "304, 0, 0, 0",
        "a call of the future": "600, 0", "mlockall": "151, 3", "personality": "135, 0x0400000",
    }.items()
}  # fmt: skip
SYSCALLS["the numbers of x32"] = _CALL.format("0x40000000 | 39")
SYSCALLS["the calls of 32 bits"] = (
    "import ctypes, mmap\nm = mmap.mmap(-1, 4096, prot=7)\nm.write(bytes.fromhex('b814000000cd80c3'))\n"  # getpid by int 0x80
    "f = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))\nprint('ESCAPED' if f() > 0 else 'no')"
)

MEMORY = {
    "a list": "x = [0] * (10 ** 9)",
    "a text that doubles": "x = 'a' * 1000\nwhile True: x = x + x",
    "a list that grows": "x = []\nwhile True: x.append('a' * 100000 + str(len(x)))",
    "a large power": "x = 10 ** (10 ** 8)\ny = x * x",
    "nested lists": "x = []\nfor _ in range(30): x = [x] * 1000 + [list(x) * 1000]",
}

TIME = {
    "a loop": "while True: pass",
    "a loop that catches all": "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    "a sleep": "import time\ntime.sleep(60)\nwhile True: time.sleep(0.01)",
    "ignored signals": "import signal\nfor s in range(1, 32):\n    try: signal.signal(s, signal.SIG_IGN)\n    except (OSError, ValueError): pass\nwhile True: pass",
    "a slow pattern": "import re\nwhile True: re.match(r'(a+)+$', 'a' * 26 + 'b')",
    "itself again and again": "import os, sys\nos.execv(sys.executable, [sys.executable, '-I', '-S', '-c', 'while True: pass'])",
}

FLOODS = {
    "one print": "print('x' * 10 ** 7)",
    "many prints": "while True: print('x' * 100)",
    "errors": "import sys\nwhile True: sys.stderr.write('x' * 1000)",
    "the descriptor": "import os\nwhile True: os.write(1, b'x' * 65536)",
    "the report": "import os\nwhile True: os.write(3, b'x' * 65536)",
    "a value": "'x' * 10 ** 7",
    "a traceback": "def f(n): return g(n)\ndef g(n): return f(n) #" + "x" * 90_000 + "\nf(1)",
    "an exception": "raise ValueError('x' * 10 ** 7)",
}

CRASHES = {
    "abort": "import os\nos.abort()",
    "a wrong address": "import ctypes\nctypes.string_at(0)",
    "deep recursion": "import sys\nsys.setrecursionlimit(10 ** 8)\ndef f(n): return f(n + 1) + 1\nf(0)",
    "a deep expression": "eval('(' * 5000 + ')' * 5000)",
    "an exit": "import os\nos._exit(3)",
    "a forged report": "import os\nos.write(3, b'v' + (2 ** 31).to_bytes(4, 'little') + b'x')\nos.write(3, b'zzzzzzzz')\nos._exit(1)",
}
