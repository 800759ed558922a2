# SPDX-License-Identifier: Apache-2.0
"""A guest's local APIC, as the CPU virtualizes it or as Godwit emulates it: the same to the guest."""
import pytest

import bed

WAYS = [
    # vendor, CPU, apicv, what info says
    ("amd", "max", "auto", "emulated"),
    ("intel", "corei7_skylake_x", "auto", r"virtualized by the CPU \(APICv\)"),
    ("intel", "corei7_skylake_x", "off", "emulated"),
    ("intel", "wildcat_lake", "auto", r"virtualized by the CPU \(APICv\)"),
    ("intel", "corei7_ivy_bridge_3770k", "auto", "emulated, with a TPR shadow"),
]


@pytest.mark.parametrize("vendor, cpu, key, label", WAYS, indirect=["vendor"])
def test_local_apic(new_host, cpu, key, label):
    """Timer, priorities, nesting, level interrupts in both modes; then it ticks on through a move."""
    config = f"name = 'solo'\naddress = '10.77.0.9/24'\npeers = ['localhost=127.0.0.1']\napicv = '{key}'\n"
    files = {"apic.bin": (bed.GUEST / "apic.bin").read_bytes()}
    for mode in ("x2apic", "m"):
        files[f"{mode}.cfg"] = f"name = '{mode}'\nmemory = 16\nkernel = 'apic.bin'\nextra = '{mode}'\n"
    host = new_host(cpu=cpu, memory=512, config=config, files=files).boot()
    host.line.send("info\r")
    host.expect(rf"guests' APICs    : {label}\n")
    host.wait_prompt()
    for mode in ("x2apic", "m"):
        host.line.send(f"create -c {mode}\r")
        host.expect(r"apic: id 0{16}\n", 60)
        host.expect(r"apic: timer\n", 60)
        host.expect(r"apic: order H-L\.\n", 60)
        # 0x61 waits, and is in service with its own class in PPR.
        host.expect(r"apic: irr 0{15}2 isr in it 0{15}2 ppr 0{14}60\n", 60)
        host.expect(r"apic: order LHl\.HhL\.\n", 60)
        host.expect(r"apic: order NnN\.\n", 60)
        host.expect(r"apic: order EEE\.\n", 60)
        ticks = int(host.expect(r"apic: ticks ([0-9a-f]{16})\n", 60).group(1), 16)
        print(f"{mode}, {key}: {ticks / 1000} TSC ticks for an interrupt to itself")
        host.expect(r"apic: esr 0{16}\n", 60)
        host.expect(r"apic: ticking\n", 60)
        host.line.send("\x1d")
        host.wait_prompt()
        if "emulated, with" not in label:
            host.command(f"migrate --live --verify {mode} localhost", timeout=120)
        host.line.skip()
        host.line.send(f"console {mode}\r")
        for _ in range(3):
            host.expect(r"apic: ticking\n", 60)
        host.line.send("\x1d")
        host.wait_prompt()
        host.command(f"destroy {mode}")


@pytest.mark.parametrize("vendor, cpu, key", [("amd", "max", "auto"), ("intel", "corei7_skylake_x", "auto"), ("intel", "corei7_skylake_x", "off")],
                         indirect=["vendor"])
def test_two_cpus(new_host, vendor, cpu, key):
    """INIT and SIPI, interrupts by all ways to say whom for, there and back from HLT; on two CPUs, and (Bochs) on one."""
    files = {"ipi.bin": (bed.GUEST / "ipi.bin").read_bytes()}
    for mode in ("x2apic", "m"):
        files[f"{mode}.cfg"] = f"name = '{mode}'\nmemory = 16\nvcpus = 2\nkernel = 'ipi.bin'\nextra = '{mode}'\n"
    host = new_host(cpu=cpu, smp=3 if vendor == "amd" else 1, memory=512, files=files,
                    config=f"name = 'solo'\naddress = '10.77.0.9/24'\napicv = '{key}'\n").boot()
    for mode in ("x2apic", "m"):
        host.line.send(f"create -c {mode}\r")
        host.expect(r"ipi: started\n", 60)
        ticks = int(host.expect(r"ipi: ticks ([0-9a-f]{16})\n", 60).group(1), 16)
        print(f"{mode}, {key}: {ticks / 256} TSC ticks for an interrupt to the other CPU and back")
        for word in ("logical", "others"):
            host.expect(rf"ipi: {word}\n", 60)
        host.expect(r"ipi: done, strays 0{16} esr 0{16}\n", 60)
        host.line.send("\x1d")
        host.wait_prompt()
        host.command(f"destroy {mode}")
