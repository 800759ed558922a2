# SPDX-License-Identifier: Apache-2.0
"""What all parts of the test bed stand on: paths, processes that end with us, waiting with a limit."""
import os
import subprocess
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
BUILD = TOP / "build"
GUEST = BUILD / "guest"
EFI = (TOP / os.environ.get("GODWIT_EFI", "build/BOOTX64.EFI")).resolve()   # make bench: the release build

NODE_IP = "10.77.0.254"
PREFIX = 24
BOOT_TIMEOUT_S = 120
COMMAND_TIMEOUT_S = 60


class Trouble(Exception):
    """Something did not happen; the text says what, and where to look."""


def run(*command, timeout=60, check=True, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=timeout,
                          stdin=subprocess.DEVNULL, **options)
    if check and done.returncode:
        raise Trouble(f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def until(condition, what, timeout=60):
    """Waits for a condition that can only be asked for."""
    timeout *= 3    # it is meant of a quiet machine
    end = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > end:
            raise Trouble(f"waited {timeout} s for {what}")
        time.sleep(0.1)
    return value


def spawn(command, **options):
    """A process that the kernel kills when this program ends, however it ends: no emulator outlives a test run."""
    # (An emulator's heap in huge pages: a fault for each small one takes it as long as a thousand instructions that it emulates.)
    environment = dict(os.environ, GLIBC_TUNABLES="glibc.malloc.hugetlb=1")
    return subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *map(str, command)], stdin=subprocess.DEVNULL, env=environment, **options)
