"""A filter of system calls for Linux: classic BPF, as the kernel and ``bwrap --seccomp`` read it.

A list of what is refused. It takes from the code what namespaces leave: processes and threads, sockets of every kind,
memory that no limit of a process counts (memfd, shared memory, message queues), tracing, mounting, keys, io_uring, and
calls newer than this list.
"""

from __future__ import annotations

import platform
import struct

from rung.core.errors import Unsupported

_ARCHES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""Audit architecture, and which number of a pair below is its own."""

_REFUSED = {
    "fork": (57, None), "vfork": (58, None), "clone": (56, 220), "clone3": (435, 435),
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    "accept": (43, 202), "accept4": (288, 242), "sendto": (44, 206), "sendmsg": (46, 211), "sendmmsg": (307, 269),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424), "process_madvise": (440, 440),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "open_tree": (428, 428), "move_mount": (429, 429),
    "mount_setattr": (442, 442), "unshare": (272, 97), "setns": (308, 268), "mknod": (133, None), "mknodat": (259, 33),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "seccomp": (317, 277),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "io_setup": (206, 0), "io_submit": (209, 2),
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195),
    "msgget": (68, 186), "msgsnd": (69, 189), "semget": (64, 190), "semop": (65, 193), "semtimedop": (220, 192),
    "mq_open": (240, 180),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89),
    "syslog": (103, 116), "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171),
    "clock_adjtime": (305, 266), "sethostname": (170, 161), "setdomainname": (171, 162), "iopl": (172, None),
    "ioperm": (173, None), "modify_ldt": (154, None), "quotactl": (179, 60), "quotactl_fd": (443, 443),
    "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264), "lookup_dcookie": (212, 18), "vhangup": (153, 58),
    "fanotify_init": (300, 262), "inotify_init1": (294, 26), "inotify_init": (253, None), "mlock": (149, 228),
    "mlock2": (325, 284), "mlockall": (151, 230), "mbind": (237, 235), "set_mempolicy": (238, 237),
    "migrate_pages": (256, 238), "move_pages": (279, 239), "personality": (135, 92), "landlock_create_ruleset": (444, 444),
    "setpriority": (141, 140), "sched_setscheduler": (144, 119), "sched_setattr": (314, 274), "ioprio_set": (251, 30),
    "timer_create": (222, 107),
}  # fmt: skip
"""Name -> its number on x86_64 and on aarch64 (None: it is not there)."""

_NEWEST = 450
"""The last number that this list knows (set_mempolicy_home_node, Linux 5.17)."""
_X32 = 0x40000000
_KILL, _ALLOW, _ERRNO = 0x80000000, 0x7FFF0000, 0x00050000
_EPERM, _ENOSYS = 1, 38
_LOAD, _EQUAL, _ABOVE, _AT_LEAST, _RETURN = 0x20, 0x15, 0x25, 0x35, 0x06
"""BPF: load a word; jump if equal, if above, if at least; return."""


def program(machine: str = "") -> bytes:
    """The filter for this machine (or the one named as ``platform.machine()`` names it). Raises Unsupported for another
    processor."""
    machine = machine or platform.machine()
    if machine not in _ARCHES:
        raise Unsupported(
            f"the bubblewrap sandbox has no list of system calls for {machine} processors",
            remedy="use the sandbox monty: pip install 'rung[sandbox]'",
            code="no-sandbox",
        )
    arch, column = _ARCHES[machine]
    refused = sorted(number for pair in _REFUSED.values() if (number := pair[column]) is not None)
    steps: list[tuple[int, int, int, int]] = [
        (_LOAD, 0, 0, 4),  # the architecture of the call
        (_EQUAL, 1, 0, arch),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),  # its number
    ]
    if machine == "x86_64":
        steps += [(_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _KILL)]
    steps += [(_ABOVE, 0, 1, _NEWEST), (_RETURN, 0, 0, _ERRNO | _ENOSYS)]
    for number in refused:
        # glibc asks for clone3 first and takes clone where it is not there.
        code = _ENOSYS if number == 435 else _EPERM
        steps += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERRNO | code)]
    steps.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("<HBBI", *step) for step in steps)
