# SPDX-License-Identifier: Apache-2.0
"""The stock Linux guest: boots, has network, reboots and powers off by itself; memory comes back; guests that misbehave."""
import re

import pytest

import bed
from conftest import GUEST_IP, MEMORY, OUT, amd_only, started

FAULTS = {
    # What the guest says ("tiny..."), or the hypervisor's log.
    "triple": r"\] tiny: triple fault at 0x[0-9a-f]+: reset",
    "mmio": r"tiny: mmio 00000000ffffffff 00000000ffffffff 00000000000000ff\n[^\n]*tiny: far fault 000000000000000e",
    "rdmsr": r"tiny: rdmsr exception 000000000000000d\n[^\n]*tiny: wrmsr exception 000000000000000d",
    "port": r"tiny: port 00000000ffffffff",
    "cr": r"tiny: cr4 exception 000000000000000d\n[^\n]*tiny: efer exception 000000000000000d\n[^\n]*tiny: cr0 (exception 000000000000000d|came back)",
    "undecodable": r"guest tiny .*crashed: .*\n",
    "virtualization": r"tiny: vmrun exception 000000000000000[6d]\n[^\n]*tiny: vmxon exception 0000000000000006",
    "loop": r"tiny: (debug came back|exception 0000000000000001)",
    "xcr0": r"tiny: xsetbv exception 000000000000000d",
}


def tiny_config(program, argument, name="tiny"):
    return (f"name = '{name}'\nmemory = 16\nkernel = '{program}.bin'\nextra = '{argument}'\non_crash = 'preserve'\n"
            f"on_reboot = 'destroy'\n")


@pytest.fixture(scope="module")
def tiny_host(segment, vendor):
    """One host for all tiny guests: what one of them does must not hurt the next."""
    files = {"faults.bin": (bed.GUEST / "faults.bin").read_bytes()}
    for word in [*FAULTS, "spin", "halt"]:
        files[f"{word}.cfg"] = tiny_config("faults", word)
    files["other.cfg"] = tiny_config("faults", "spin", "other")
    files["multiboot.bin"] = (bed.GUEST / "multiboot.bin").read_bytes()
    files["module.txt"] = "NR_CPUS=1\n"
    files["memtest.bin"] = (bed.TOP / "third_party/memtest/memtest86+x64.bin").read_bytes()
    files["memtest.cfg"] = tiny_config("memtest", "console=ttyS0,115200 nosmp")
    files["multiboot.cfg"] = tiny_config("multiboot", "one two=3") + "ramdisk = 'module.txt'\ntest_ports = 1\n"
    host = bed.host(segment, "tiny", "10.77.0.10", OUT / vendor / "tiny", vendor, number=10, files=files, memory=512)
    started.append(host)
    host.boot()
    host.pages_before = host.free_pages()
    yield host
    host.kill()
    started.remove(host)


@pytest.fixture
def tiny(tiny_host):
    """The host without guests, at its prompt, whatever the test before did."""
    tiny_host.recover()
    yield tiny_host
    tiny_host.recover()
    assert tiny_host.free_pages() == tiny_host.pages_before


@pytest.mark.parametrize("word", FAULTS)
def test_guest_faults(tiny, word):
    tiny.line.skip()
    tiny.line.send(f"create {word}\r")
    if FAULTS[word].startswith("tiny"):
        tiny.line.send("console tiny\r")
    tiny.expect(FAULTS[word], 60)


def test_modes(new_host):
    """A guest goes to real mode by every way station, and back; each prints a letter."""
    files = {"modes.bin": (bed.GUEST / "modes.bin").read_bytes(), "modes.cfg": tiny_config("modes", "")}
    host = new_host(memory=512, files=files).boot()
    host.line.send("create -c modes\r")
    host.expect("tiny: modes 3PRI came back", 60)


def test_multiboot(tiny):
    """A kernel by the multiboot specification finds what that says, and ends itself with a value."""
    tiny.line.skip()
    tiny.line.send("create -c multiboot\r")
    tiny.expect(r"tiny: cmdline \[multiboot.bin one two=3\] loader \[Godwit\] module \[module.txt\] \[NR_CPUS=1\s+\]", 60)
    tiny.expect(r"tiny \(ID \d+\) ended itself with value 0\b")


@amd_only()
def test_memtest(tiny):
    """memtest86+, by Linux' boot protocol, passes one round, moved all the while. (Of its tests the last one sleeps for minutes, and is left out.)"""
    tiny.command("create memtest")
    tiny.line.send("console tiny\r")
    tiny.expect(r"Memtest86\+ v6", 60)
    for keys, shown in (("1", "Test selection"), ("1", "Remove one test"), ("2", "Enter test #"), ("10\r", r"\*\.\*{8}\."), ("0", "Settings:"),
                        ("0", r"Pass: +0 +Errors: +0")):
        tiny.line.send(keys)
        tiny.expect(shown)
    passed, moves = 0, 0
    while not passed:
        tiny.line.send("\x1d")
        tiny.wait_prompt()
        tiny.migrate("tiny", "localhost", "--live")
        moves += 1
        tiny.line.skip()
        tiny.line.send("console tiny\r")
        found = tiny.expect(r"Pass: +(\d+) +Errors: +(\d+)", 60)
        passed = int(found.group(1))
        assert int(found.group(2)) == 0
    assert moves >= 3


def test_guests_that_never_exit(tiny):
    """One that spins and one that halts for ever: the console answers, both can be paused and destroyed."""
    tiny.command("create spin")
    tiny.command("create other")
    assert tiny.guests() == {"tiny": "running", "other": "running"}
    tiny.command("pause tiny")
    assert tiny.guests()["tiny"] == "paused"
    tiny.command("unpause tiny")
    tiny.command("destroy tiny")
    tiny.command("create halt")
    tiny.command("destroy tiny")
    tiny.command("destroy other")


def test_create_paused(tiny):
    """Built, but it does nothing before unpause; it may be moved like that."""
    tiny.command("create --paused port")
    assert tiny.guests() == {"tiny": "paused"}
    tiny.migrate("tiny", "localhost")
    bed.until(lambda: tiny.guests() == {"tiny": "paused"}, "the paused guest's move")
    tiny.line.send("console tiny\r")
    tiny.line.send("\x1d")
    tiny.expect(r"Ctrl-\] leaves\)\s*\(left\)")
    tiny.wait_prompt()
    tiny.command("unpause tiny")
    tiny.line.skip()
    tiny.line.send("console tiny\r")
    tiny.expect(FAULTS["port"], 60)


def test_linux_whole_life(new_host, vendor):
    """Boot to a shell, network, pause, a clean reboot, the power button; then all memory is back."""
    ip = bed.guest_ip(6)
    host = new_host(files={"web.cfg": bed.guest_config(memory=MEMORY[vendor], number=6)}).boot()
    before = host.free_pages()
    host.line.send("create -c web\r")
    host.expect("godwit-guest: ready", 180)
    host.line.send("\r")
    host.line.send("echo sum $((6*7))\r")
    host.expect(r"sum 42")
    host.line.send("cat /sys/devices/system/clocksource/clocksource0/current_clocksource\r")
    host.expect(r"(kvm-clock|tsc)")
    host.line.send("\x1d")
    host.wait_prompt()
    bed.wait_guest(ip)
    assert "Linux version" in bed.ssh(ip, "cat /proc/version")
    assert bed.complaints(ip) == ""
    assert bed.ssh(ip, "cat /proc/interrupts").count("MSI") >= 2
    assert int(bed.ssh(ip, "head -c 4096 /dev/hwrng | wc -c")) == 4096
    # Pause: it does nothing; unpause: it goes on.
    host.command("pause web")
    assert " 100% packet loss" in bed.run("ping", "-n", "-c", "2", "-W", "1", ip, check=False).stdout
    host.command("unpause web")
    assert "ok" in bed.ssh(ip, "echo ok")
    host.line.send("console web\r")
    host.line.send("\rreboot\r")
    host.expect("godwit-guest: ready", 180)
    host.line.send("\x1d")
    host.wait_prompt()
    # The power button.
    bed.until(lambda: "/event" in bed.ssh(ip, "ls -l /proc/$(pidof acpid)/fd"), "the guest to listen to its power button")
    host.command("shutdown web")
    host.expect(r"guest web .*(shut|ended|off)", 60)
    bed.until(lambda: not host.guests(), "the guest's end")
    host.wait_pages(before)


@amd_only("the power button ends it the same way, and a boot takes a minute in Bochs")
def test_poweroff_by_itself(new_host):
    host = new_host(files={"web.cfg": bed.guest_config(number=6)}).boot()
    before = host.free_pages()
    host.line.send("create -c web\r")
    host.expect("godwit-guest: ready", 180)
    host.line.send("\rpoweroff\r")
    host.expect(r"\n" + re.escape(host.prompt), 60)
    assert host.guests() == {}
    host.wait_pages(before)


def test_console_scroll_back(pair):
    """What the guest prints while nobody looks is there at the next look, and never at the prompt."""
    bed.ssh(GUEST_IP, "echo nobody-sees-this-$((1000+234)) > /dev/ttyS0")
    pair.alpha.line.skip()
    assert "nobody-sees" not in pair.alpha.command("info")
    pair.alpha.line.send("console web\r")
    pair.alpha.expect("nobody-sees-this-1234")
    pair.alpha.line.send("\x1d")
    pair.alpha.wait_prompt()


@amd_only()
def test_several_guests_at_once(new_host):
    files = {f"g{n}.cfg": bed.guest_config(f"g{n}", 96, 30 + n) for n in range(3)}
    host = new_host(files=files, guests=[f"g{n}.cfg" for n in range(3)], memory=1024).boot()
    for n in range(3):
        bed.wait_guest(bed.guest_ip(30 + n), 240)
    assert host.guests() == {f"g{n}": "running" for n in range(3)}
    # They reach each other over the switch inside.
    assert " 0% packet loss" in bed.ssh(bed.guest_ip(30), f"ping -c 3 {bed.guest_ip(32)}")
    host.command("destroy g1")
    assert "ok" in bed.ssh(bed.guest_ip(32), "echo ok")


@amd_only("40 MB take minutes through Bochs' NIC")
def test_transfer_through_the_guest(pair):
    """40 MB in and out, by ssh, with a checksum on both sides."""
    size = 40_000_000
    make = f"head -c {size} /dev/urandom > /tmp/x && sha256sum /tmp/x | cut -d' ' -f1"
    text = bed.ssh(GUEST_IP, "mount -t tmpfs -o size=120M t /tmp 2>/dev/null; " + make, timeout=200).split()[-1]
    ssh = " ".join(f"'{w}'" for w in bed.ssh_command(GUEST_IP, "cat /tmp/x"))
    got = bed.run("sh", "-c", f"{ssh} | sha256sum | cut -d' ' -f1", timeout=300).stdout.strip()
    bed.ssh(GUEST_IP, "rm /tmp/x")
    assert got == text
