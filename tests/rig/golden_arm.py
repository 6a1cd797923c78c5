"""`make golden-arm`: does the shipped model compute the very same bits on 64-bit Arm cores? With the wheels that a Pi
installs.

A kernel and an unpacked Debian for arm64 boot in QEMU, as a Pi 4's (cortex-a72) and a Pi 5's (cortex-a76) core, load
the demo's model through the device's estimator, and compare its golden output bit for bit.
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ARM = ROOT / ".rig" / "arm"
CORES = {"cortex-a72": "Raspberry Pi 4", "cortex-a76": "Raspberry Pi 5"}
PACKAGES = "python3,linux-image-arm64,libstdc++6,libatomic1"
NEEDS = ["ai-edge-litert>=2.1", "numpy", "opencv-python-headless", "msgspec", "pyyaml"]
PLATFORMS = [f"manylinux_2_{minor}_aarch64" for minor in (28, 27, 17)] + ["manylinux2014_aarch64"]
INIT = """#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin PYTHONPATH=/site HOME=/tmp
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs tmp /tmp; mount -t devtmpfs dev /dev
cd /; python3 /check.py; sync; echo o > /proc/sysrq-trigger; sleep 60
"""
CHECK = """
import json, platform, sys, time
from pathlib import Path
begin = time.time()
from edgepose.inference.estimator import Estimator
model = Estimator(Path("/model.tflite"), 1)
print("RESULT " + json.dumps({"machine": platform.machine(), "exact": model.golden_exact, "runtime": model.describe(),
    "python": platform.python_version(), "seconds": round(time.time() - begin, 1)}), flush=True)
"""


def main() -> int:
    initrd, kernel = build()
    failed = False
    for core, board in CORES.items():
        begin = time.monotonic()
        result = boot(core, initrd, kernel)
        seconds = time.monotonic() - begin
        if result is None:
            print(f"{core} ({board}): no result; see {ARM}/console-{core}.log")
        else:
            equal = "equal bit for bit" if result["exact"] else "NOT EQUAL"
            told = f"{result['runtime']}, Python {result['python']}, {seconds:.0f} s"
            print(f"{core} ({board}): golden output {equal}; {told}")
        failed |= result is None or not result["exact"]
    return int(failed)


def build() -> tuple[Path, Path]:
    """The system in memory, and the kernel; made once, edgepose and model anew each time."""
    root, wheels = ARM / "root", ARM / "wheels"
    ARM.mkdir(parents=True, exist_ok=True)
    if not (ARM / "unpacked").exists():
        shutil.rmtree(root, ignore_errors=True)
        words = [
            "debootstrap",
            "--arch=arm64",
            "--foreign",
            "--variant=minbase",
            f"--include={PACKAGES}",
            "trixie",
            str(root),
        ]
        subprocess.run([*words, mirror()], check=True, stdout=subprocess.DEVNULL)
        for package in sorted((root / "var/cache/apt/archives").glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", str(package), str(root)], check=True)
        (ARM / "unpacked").touch()
    if not wheels.exists():
        platforms = [word for name in PLATFORMS for word in ("--platform", name)]
        words = ["--python-version", "3.13", "--only-binary=:all:", *platforms, "--target", str(wheels)]
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", *words, *NEEDS], check=True)
    kernel = next((root / "boot").glob("vmlinuz-*"))
    system = ARM / "system"
    shutil.rmtree(system, ignore_errors=True)
    shutil.copytree(root, system, symlinks=True, ignore=leave_out, ignore_dangling_symlinks=True)
    shutil.copytree(wheels, system / "site")
    shutil.copytree(ROOT / "edgepose", system / "site" / "edgepose", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "edgepose" / "demo" / "demo.tflite", system / "model.tflite")
    (system / "check.py").write_text(CHECK, encoding="ascii")
    (system / "init").write_text(INIT, encoding="ascii")
    (system / "init").chmod(0o755)
    initrd = ARM / "initrd.gz"
    listed = subprocess.run("find . | cpio --quiet -o -H newc", shell=True, cwd=system, check=True, capture_output=True)
    initrd.write_bytes(gzip.compress(listed.stdout, 1))
    return initrd, kernel


def leave_out(folder: str, names: list[str]) -> set[str]:
    """What would only fill the memory."""
    where = Path(folder)
    out = {name for name in names if name in {"__pycache__", "modules", "firmware", "locale", "man", "cache", "test"}}
    return (
        out
        | ({"boot", "dev", "debootstrap"} & set(names) if where == ARM / "root" else set())
        | {name for name in names if where.name == "share" and name in {"doc", "zoneinfo", "perl", "i18n"}}
    )


def boot(core: str, initrd: Path, kernel: Path) -> dict[str, object] | None:
    words = ["qemu-system-aarch64", "-M", "virt", "-cpu", core, "-smp", "1", "-m", "2048", "-nographic", "-no-reboot"]
    words += ["-kernel", str(kernel), "-initrd", str(initrd), "-append", "console=ttyAMA0 quiet panic=-1"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900, check=False)
    (ARM / f"console-{core}.log").write_text(done.stdout + done.stderr, encoding="utf-8")
    found = re.search(r"RESULT (\{.*\})", done.stdout)
    return json.loads(found[1]) if found else None


def mirror() -> str:
    """Of this machine's apt."""
    files = [*Path("/etc/apt/sources.list.d").glob("*.sources"), Path("/etc/apt/sources.list")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files if path.exists())
    found = re.search(r"^(?:URIs:|deb(?: \[.*\])?) (\S+)", text, re.MULTILINE)
    assert found is not None, "no mirror of Debian in /etc/apt"
    return found[1]


if __name__ == "__main__":
    sys.exit(main())
