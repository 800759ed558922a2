# SPDX-License-Identifier: Apache-2.0
"""The test bed: emulated hosts that run Godwit, on one Ethernet segment with this machine as a node of it.

Everything happens inside a network namespace of its own (enter_namespace), in which the segment is a Linux
bridge, every host's NIC a TAP on it, and the real ping, ssh, curl... of this machine are what talks to the guests.
Waiting is for events (a text on a serial line, a process's end), each with a time limit that says what it waited for.
"""
import contextlib
import os
import sys
from pathlib import Path

from basics import (BOOT_TIMEOUT_S, BUILD, COMMAND_TIMEOUT_S, EFI, GUEST, NODE_IP, PREFIX, TOP, Trouble, run, spawn, until)
from bochs import BochsHost, why_no_bochs
from machine import CLUSTER_KEY, Host, guest_config, guest_ip, summary
from node import (BOOT_ID, Pinger, SshSession, boot_id, complaints, ssh, ssh_command, wait_guest)
from qemu import QemuHost, qemu_program

__all__ = ["BOOT_TIMEOUT_S", "BUILD", "COMMAND_TIMEOUT_S", "EFI", "GUEST", "NODE_IP", "PREFIX", "TOP", "Trouble", "run", "spawn",
           "until", "BochsHost", "why_no_bochs", "Host", "guest_config", "guest_ip", "summary", "Pinger", "SshSession", "boot_id",
           "complaints", "ssh", "ssh_command", "wait_guest", "QemuHost", "qemu_program", "VENDORS", "host", "vendor_argument"]

TUN = "/dev/net/tun"
VENDORS = {kind.VENDOR: kind for kind in (QemuHost, BochsHost)}


def host(segment, name, ip, directory, vendor="amd", **options):
    """An emulated machine with CPUs of that vendor."""
    return VENDORS[vendor](segment, name, ip, directory, **options)


def check_tun():
    """The hosts' NICs are TAPs: says what to type where those can't be made."""
    if not os.path.exists(TUN):
        raise Trouble(f"{TUN} is missing; as root, type:  modprobe tun   (in a container: give it the device)")
    if not os.access(TUN, os.R_OK | os.W_OK):
        raise Trouble(f"{TUN} is not open to you; as root, type:  chmod 666 {TUN}   (that is how Debian has it), "
                      "or run this as root")


def check_namespaces():
    if run("unshare", "-rn", "true", check=False).returncode:
        raise Trouble("this machine lets you make no network namespace; as root, type:  "
                      "sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000   or run this as root")


def enter_namespace():
    """Runs this program again inside its own user and network namespace, unless it is in one."""
    if os.environ.get("GODWIT_NAMESPACE") == "1":
        return
    try:
        check_tun()
        check_namespaces()
    except Trouble as why:
        sys.exit(f"{Path(sys.argv[0]).stem}: FAIL {why}")
    os.environ["GODWIT_NAMESPACE"] = "1"
    os.execvp("unshare", ["unshare", "-rn", sys.executable, *sys.argv])


def vendor_argument():
    """The vendor that a program was told as its only argument (make demo VENDOR=intel)."""
    vendor = sys.argv[1] if len(sys.argv) > 1 else "amd"
    if len(sys.argv) > 2 or vendor not in VENDORS:
        sys.exit(f"{Path(sys.argv[0]).stem}: the vendor is one of: {', '.join(VENDORS)}")
    return vendor


class Segment:
    """The bridge that all NICs are on. One a namespace."""

    def __init__(self, name="br0", mtu=1500):
        self.name = name
        self.taps = []
        check_tun()
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", name, "type", "bridge", "stp_state", "0", "forward_delay", "0", "mcast_snooping", "0")
        # A fixed address, or the bridge takes the lowest of its ports' and changes it as they come and go.
        run("ip", "link", "set", name, "address", "52:54:00:77:00:fe", "mtu", str(mtu))
        run("ip", "address", "add", f"{NODE_IP}/{PREFIX}", "dev", name)
        run("ip", "link", "set", name, "up")
        # Who is only just booting is asked for five times a second, as long as usual: an emulator's CPU is busy while we wait.
        run("ip", "ntable", "change", "name", "arp_cache", "dev", name, "retrans", "200", "mcast_probes", "15", "ucast_probes", "15")

    def add_tap(self, name, vnet_hdr=True):
        run("ip", "tuntap", "add", name, "mode", "tap", *(["vnet_hdr"] if vnet_hdr else []))
        run("ip", "link", "set", name, "master", self.name)
        run("ip", "link", "set", name, "up")
        self.taps.append(name)

    def remove_tap(self, name):
        run("ip", "link", "delete", name, check=False)
        self.taps.remove(name)

    def link(self, name, up):
        """Cuts or restores a port as a pulled cable would."""
        run("ip", "link", "set", name, "up" if up else "down")

    @contextlib.contextmanager
    def address(self, ip):
        """This machine has that address too, meanwhile."""
        run("ip", "address", "add", f"{ip}/{PREFIX}", "dev", self.name)
        try:
            yield
        finally:
            run("ip", "address", "del", f"{ip}/{PREFIX}", "dev", self.name)

    def s_client(self, own_ip, ip, port, *words):
        """What openssl's TLS client prints that connects from own_ip, says nothing and hangs up."""
        with self.address(own_ip):
            done = run("openssl", "s_client", "-connect", f"{ip}:{port}", "-bind", own_ip, *words, check=False, errors="replace")
        return done.stdout + done.stderr

    def close(self):
        for name in list(self.taps):
            self.remove_tap(name)
        run("ip", "link", "delete", self.name, check=False)
