# SPDX-License-Identifier: Apache-2.0
"""The ways to find out what a guest writes, by what the CPU has and by godwit.cfg's dirty_log; and what is said where there is none."""
import pytest

import bed

WAYS = [
    # vendor, CPU, dirty_log, what info says
    ("amd", "max", "auto", "D bits"),
    ("amd", "max", "none", "nothing"),
    ("intel", "corei7_skylake_x", "auto", "PML"),
    ("intel", "corei7_skylake_x", "d-bits", "D bits"),
    ("intel", "wildcat_lake", "auto", "PML"),
    ("intel", "corei7_haswell_4770", "pml", "D bits"),
    ("intel", "corei3_cnl", "auto", "D bits"),
    ("intel", "corei7_ivy_bridge_3770k", "auto", "nothing"),
]


@pytest.mark.parametrize("vendor, cpu, key, label", WAYS, indirect=["vendor"])
def test_ways_to_find_writes(new_host, cpu, key, label):
    """The guest that stores without an exit moves within its host, live, and finds all its stores; or is refused that."""
    config = f"name = 'solo'\naddress = '10.77.0.9/24'\npeers = ['localhost=127.0.0.1']\ndirty_log = '{key}'\n"
    files = {"race.cfg": "name = 'race'\nmemory = 6\nkernel = 'race.bin'\n", "race.bin": (bed.GUEST / "race.bin").read_bytes()}
    host = new_host(cpu=cpu, memory=512, config=config, files=files).boot()
    assert f"dirty pages by {label}" in host.command("info")
    if key == "pml" and label != "PML":
        assert "dirty_log = 'pml': this CPU has not got it" in host.command("dmesg")
    host.command("create race")
    if label == "nothing":
        assert "move it offline, by 'migrate race solo'" in host.command("migrate --live race localhost")
        host.migrate("race", "localhost")
    else:
        for _ in range(3):
            host.command("migrate --live --max-downtime 1 --verify race localhost", timeout=120)
    assert host.guests()["race"] == "running"
    assert host.ask_race() == "alive"
