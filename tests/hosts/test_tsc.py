# SPDX-License-Identifier: Apache-2.0
"""A guest that comes to a host whose TSC has another frequency."""
import re

import pytest

import bed
from conftest import intel_only

HASWELL = "corei7_haswell_4770"     # can't scale a guest's TSC
IPS = 50_000_000                    # Bochs: the TSC's frequency, too
PEERS = {"old": "10.77.0.27", "slow": "10.77.0.28", "new": "10.77.0.29"}


def assert_measured(host, mhz):
    """The guest makes that of its TSC now; what it printed elsewhere comes first."""
    host.line.skip()
    host.line.send("console tsc\r")
    seen = []
    right = 0
    while right < 3:
        seen.append(int(host.expect(r"tsc: khz ([0-9a-f]{16})\n").group(1), 16) / 1000)
        # (One may have an interrupt of the host's in it.)
        right = right + 1 if seen[-1] == pytest.approx(mhz, rel=0.03) else 0
        assert len(seen) < 100, seen
    host.line.send("\x1d")
    host.wait_prompt()


@intel_only("QEMU's SVM has no TSC ratio")
def test_tsc_scaling(new_host):
    """Twice as slow where the CPU can't help it, which is said; as it was on a CPU that scales, at the same clock."""
    files = {"tsc.cfg": "name = 'tsc'\nmemory = 16\nkernel = 'tsc.bin'\n", "tsc.bin": (bed.GUEST / "tsc.bin").read_bytes()}
    options = {"peers": PEERS, "memory": 512}
    old = new_host("old", PEERS["old"], cpu=HASWELL, ips=IPS, files=files, **options).boot()
    slow = new_host("slow", PEERS["slow"], cpu=HASWELL, ips=IPS // 2, **options).boot()
    new = new_host("new", PEERS["new"], ips=IPS // 2, **options).boot()
    old.command("create tsc")
    assert_measured(old, 50)
    old.migrate("tsc", "slow", "--live")
    assert_measured(slow, 25)
    assert re.search(r"tsc: its TSC had (50\.0|49\.9)\d\d MHz and has (25\.0|24\.9)\d\d MHz here, as this CPU can't scale it",
                     slow.command("dmesg"))
    slow.migrate("tsc", "new", "--live")
    assert_measured(new, 50)
    assert re.search(r"tsc: its TSC keeps (50\.0|49\.9)\d\d MHz, this host's has 25\.000", new.command("dmesg"))
