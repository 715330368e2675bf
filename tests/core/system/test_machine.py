import os
import subprocess
import sys
from pathlib import Path

import pytest

from rung.core.system import machine as module
from rung.core.system.machine import Machine, features, machine

LAPTOP = "fpu sse4_2 avx f16c fma avx2 bmi2"
SERVER = f"{LAPTOP} avx_vnni avx512f avx512_vnni avx512_bf16 avx512_fp16 amx_bf16 amx_int8 amx_tile"


def of(flags: str, architecture: str = "x86_64", ceiling: str = "") -> Machine:
    return Machine("Linux", architecture, "P", features(flags.split(), {"ONEDNN_MAX_CPU_ISA": ceiling}), 2, 4 << 30)


@pytest.mark.parametrize(
    ("flags", "ceiling", "kind", "bfloat16", "exact"),
    [
        (LAPTOP, "", "avx2", False, False),
        (f"{LAPTOP} avx_vnni", "", "avx-vnni", False, True),
        (f"{LAPTOP} avx512f", "", "avx512f", False, False),
        (SERVER, "", "amx", True, True),
        (SERVER, "AVX2", "avx2", False, False),
        (SERVER, "avx512_core", "avx512f", False, False),
        (SERVER, "AVX512_CORE_VNNI", "avx512-vnni", False, True),
        (SERVER, "AVX512_CORE_BF16", "avx512-bf16", True, True),
        (SERVER, "ALL", "amx", True, True),
        ("", "", "x86_64", False, False),
    ],
)
def test_what_a_processor_computes_by_itself(flags: str, ceiling: str, kind: str, bfloat16: bool, exact: bool) -> None:
    it = of(flags, ceiling=ceiling)
    assert (it.kind, it.bfloat16, it.exact_int8) == (kind, bfloat16, exact)


def test_arm_under_the_names_of_linux_and_macos() -> None:
    assert of("fp asimd asimdhp asimddp i8mm bf16", "arm64").features == ("neon", "fp16", "dotprod", "i8mm", "bf16")
    apple = of("AdvSIMD FEAT_FP16 FEAT_DotProd FEAT_BF16", "arm64")
    assert apple.bfloat16
    assert apple.exact_int8
    assert not of("fp asimd", "arm64").bfloat16


def test_this_machine_in_one_line() -> None:
    here = machine()
    assert here is machine()
    assert 1 <= here.cores <= (os.cpu_count() or 1)
    assert here.memory > 1 << 28
    assert f"{here.cores} core" in here.describe()
    assert "\n" not in here.describe()


def test_limits_of_control_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "memory.max").write_text(f"{1 << 26}\n")
    monkeypatch.setattr(module, "_groups", lambda _: [tmp_path, tmp_path / "absent"])
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert module.cores() == 2
    assert module.memory() == 1 << 26
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert module.cores() == 8
    assert module.memory() > 1 << 26


def test_it_imports_nothing_heavy() -> None:
    code = "import sys; from rung.core.system.machine import machine; machine(); print({'numpy', 'torch'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "set()"
