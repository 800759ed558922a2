# SPDX-License-Identifier: Apache-2.0
"""Other stock kernels than the one that all the tests use."""
import pytest

import bed
from conftest import OUT, switched_on
from machine import SPARING_INITRD

NUMBER = 81
GUEST_IP = bed.guest_ip(NUMBER)
KERNELS = {"trixie": r"6.12", "full": r"6.1"}


# (A second vCPU, more memory and a larger kernel only make it longer in Bochs, and so do a kernel's tests of itself.)
VCPUS = {"amd": 2, "intel": 1}
MEMORY = {"amd": 320, "intel": 160}


@pytest.fixture(scope="module")
def host(segment, vendor):
    files = {}
    for name in list(KERNELS)[:2 if vendor == "amd" else 1]:
        config = bed.guest_config(name, MEMORY[vendor], NUMBER, vcpus=VCPUS[vendor], plain=vendor == "amd")
        files[f"{name}.cfg"] = config.replace("vmlinuz", f"{name}.bin").replace("initrd.img", f"{name}.img").replace(SPARING_INITRD, f"{name}.img")
        files[f"{name}.bin"] = (bed.GUEST / name / "vmlinuz").read_bytes()
        files[f"{name}.img"] = (bed.GUEST / name / ("initrd.img" if vendor == "amd" else SPARING_INITRD)).read_bytes()
    made = bed.host(segment, "kernels", "10.77.0.81", OUT / vendor / "kernels", vendor, number=NUMBER, files=files)
    with switched_on({"kernels": made}):
        yield made


@pytest.mark.parametrize("name", KERNELS)
def test_other_kernel(host, name, vendor):
    """Debian 13's cloud kernel, and Debian 12's for all machines: network, both vCPUs, an orderly end."""
    if f"{name}.cfg" not in host.command("files"):
        pytest.skip("its boot takes a minute in Bochs")
    host.command(f"create {name}")
    bed.wait_guest(GUEST_IP)
    release = bed.ssh(GUEST_IP, "uname -r").strip()
    assert release.startswith(KERNELS[name] + ".") and ("cloud" in release) == (name == "trixie")
    assert int(bed.ssh(GUEST_IP, "nproc")) == VCPUS[vendor]
    assert [line for line in bed.complaints(GUEST_IP).splitlines() if "TSCs unsynchronized" not in line] == []
    host.line.skip()
    host.line.send(f"shutdown {name}\r")
    host.expect(f"guest {name} .*switched itself off")
    host.recover()
    assert host.guests() == {}
