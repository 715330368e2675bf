"""What this machine computes with: processor, instruction sets, usable cores and memory, as the operating system tells
them.

Nothing heavy is imported. The instruction sets are cut by ``ONEDNN_MAX_CPU_ISA`` where it is set, since the libraries
that compute (OpenVINO, torch) then keep to it as well; so one variable makes every part behave as on a lesser
processor.
"""

from __future__ import annotations

import math
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

X86 = (
    "sse4_2",
    "avx",
    "f16c",
    "fma",
    "avx2",
    "avx_vnni",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_int8",
    "amx_bf16",
)
"""Instruction sets of x86-64 that decide how something is computed, from the least to the most."""

ARM = ("neon", "fp16", "dotprod", "i8mm", "bf16", "sve")
"""The same of 64-bit ARM."""

_CEILINGS = {
    "SSE41": "sse4_2",
    "AVX": "avx",
    "AVX2": "avx2",
    "AVX2_VNNI": "avx_vnni",
    "AVX2_VNNI_2": "avx_vnni",
    "AVX512_CORE": "avx512f",
    "AVX512_CORE_VNNI": "avx512_vnni",
    "AVX512_CORE_BF16": "avx512_bf16",
    "AVX512_CORE_FP16": "avx512_fp16",
}
"""Values of ONEDNN_MAX_CPU_ISA and the last instruction set that each leaves; others leave all."""

_OTHER_NAMES = {"asimd": "neon", "asimdhp": "fp16", "asimddp": "dotprod", "advsimd": "neon", "feat_bf16": "bf16"}
_OTHER_NAMES |= {"feat_dotprod": "dotprod", "feat_i8mm": "i8mm", "feat_fp16": "fp16"}
"""What Linux and macOS call some of ARM's sets."""


@dataclass(frozen=True, slots=True)
class Machine:
    """``architecture`` is "x86_64" or "arm64" on the processors that are known; ``features`` the names of X86 or ARM
    that it has and may use; ``cores`` those that this process may use; ``memory`` the bytes that it may use (0: not
    known)."""

    system: str
    architecture: str
    processor: str
    features: tuple[str, ...]
    cores: int
    memory: int

    @property
    def bfloat16(self) -> bool:
        """Whether products of 16-bit brain floats are computed by the processor; elsewhere they are emulated, several
        times slower than 32-bit floats."""
        return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(self.features)

    @property
    def bfloat16_matrices(self) -> bool:
        """Whether the processor multiplies whole tiles of 16-bit brain floats (AMX): several times as fast as 32-bit
        floats."""
        return "amx_bf16" in self.features

    @property
    def exact_int8(self) -> bool:
        """Whether sums of 8-bit products are exact. AVX2 and AVX-512 without VNNI add two products of an unsigned and a
        signed byte in 16 bits, where they saturate."""
        return self.architecture != "x86_64" or not {"avx_vnni", "avx512_vnni", "amx_int8"}.isdisjoint(self.features)

    @property
    def kind(self) -> str:
        """The processor's kind in one word, by the best that it has: figures of one kind do not hold for another."""
        known = [name for name in (*X86, *ARM) if name in self.features]
        if self.bfloat16 and self.architecture == "x86_64":
            return "amx" if self.bfloat16_matrices else "avx512-bf16"
        return known[-1].replace("_", "-") if known else self.architecture

    def describe(self) -> str:
        """One line: processor, kind, cores, memory."""
        memory = f", {self.memory / (1 << 30):.0f} GB" if self.memory else ""
        cores = f"{self.cores} core{'s' if self.cores != 1 else ''}"
        return f"{self.processor} ({self.architecture}, {self.kind}), {cores}{memory}, {self.system}"


@cache
def machine() -> Machine:
    """This machine; read once a process, in some milliseconds."""
    architecture = {"amd64": "x86_64", "aarch64": "arm64"}.get(platform.machine().lower(), platform.machine().lower())
    name, flags = _processor()
    return Machine(
        platform.system(), architecture, name or architecture, features(flags, os.environ), cores(), memory()
    )


def features(flags: Iterable[str], environment: Mapping[str, str]) -> tuple[str, ...]:
    """The names of X86 and ARM among an operating system's ``flags``, in their order, cut as the environment says."""
    known = {_OTHER_NAMES.get(flag.lower(), flag.lower()) for flag in flags}
    ceiling = environment.get("ONEDNN_MAX_CPU_ISA") or environment.get("DNNL_MAX_CPU_ISA") or ""
    last = _CEILINGS.get(ceiling.upper())
    allowed = X86 if last is None else X86[: X86.index(last) + 1]
    if last == "avx512f":  # avx_vnni came later and is no part of it
        known.discard("avx_vnni")
    return tuple(name for name in (*allowed, *ARM) if name in known)


def cores() -> int:
    """Cores that this process may use: its affinity, and the quota of its control group."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for quota, period in _quotas():
        if quota > 0 and period > 0:
            count = min(count, math.ceil(quota / period))
    return max(1, count)


def memory() -> int:
    """Bytes of memory that this process may use: the machine's, or less where its control group has a limit. 0: not
    known."""
    found = [size for size in (_physical(), *_limits()) if size > 0]
    return min(found, default=0)


def _processor() -> tuple[str, list[str]]:
    """Name and flags, as the system spells them."""
    if sys.platform == "darwin":
        said = _sysctl("machdep.cpu.brand_string", "machdep.cpu.features", "machdep.cpu.leaf7_features")
        arm = _sysctl("hw.optional.arm")
        flags = f"{said.get('machdep.cpu.features', '')} {said.get('machdep.cpu.leaf7_features', '')}".split()
        flags += [key.rpartition(".")[2] for key, value in arm.items() if value == "1"]
        return said.get("machdep.cpu.brand_string", ""), flags
    if sys.platform == "win32":
        import ctypes

        present = ctypes.windll.kernel32.IsProcessorFeaturePresent
        kinds = {38: "sse4_2", 39: "avx", 40: "avx2", 41: "avx512f", 19: "neon", 43: "dotprod"}  # winnt.h, PF_...
        return platform.processor(), [name for number, name in kinds.items() if present(number)]
    fields: dict[str, str] = {}
    for line in _read("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip().lower(), value.strip())
    return fields.get("model name", ""), (fields.get("flags") or fields.get("features") or "").split()


def _physical() -> int:
    if sys.platform == "darwin":
        return int(_sysctl("hw.memsize").get("hw.memsize", "0"))
    if sys.platform == "win32":
        import ctypes

        status = (ctypes.c_uint64 * 8)()  # MEMORYSTATUSEX: length and load, then total physical, ...
        ctypes.cast(status, ctypes.POINTER(ctypes.c_uint32))[0] = ctypes.sizeof(status)
        return int(status[1]) if ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)) else 0
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def _groups(controller: str) -> list[Path]:
    """The folders of this process's control group and of those above it, for version 2 and for one controller of
    version 1."""
    folders = []
    for line in _read("/proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if names == "" or controller in names.split(","):
            root = Path("/sys/fs/cgroup") / (controller if names else "")
            here = root / path.strip("/")
            folders += [here, *(above for above in here.parents if above.is_relative_to(root))]
    return folders


def _limits() -> list[int]:
    names = ("memory.max", "memory.limit_in_bytes")
    return [_number(_read(folder / name)) for folder in _groups("memory") for name in names]


def _quotas() -> list[tuple[int, int]]:
    out = []
    for folder in _groups("cpu"):
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        out.append((_number(quota), _number(period)))
        old = (_read(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        out.append((_number(next(old)), _number(next(old))))
    return out


def _number(text: str) -> int:
    return int(text) if text.strip().isdecimal() else 0


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _sysctl(*names: str) -> dict[str, str]:
    try:
        said = subprocess.run(
            ["/usr/sbin/sysctl", *names], capture_output=True, text=True, timeout=5, check=False
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    pairs = (line.partition(":") for line in said.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
