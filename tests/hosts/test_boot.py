# SPDX-License-Identifier: Apache-2.0
"""From the firmware to the prompt, on machines of every kind, and what is said when something is missing."""
import re
import subprocess

import pytest

import bed
from conftest import amd_only


@pytest.mark.parametrize("vendor, smp", [("amd", 1), ("amd", 2), ("amd", 4), ("intel", 1), ("intel", 4)], indirect=["vendor"])
def test_all_cpus_come_up(new_host, smp):
    """With up to two CPUs by the whole firmware, as it is in the demo; the tests' other hosts have a part of it (tools/trim_ovmf)."""
    host = new_host(smp=smp, memory=512, whole_firmware=smp <= 2).boot()
    assert re.search(rf"nr_cpus\s*: {smp}, ", host.command("info"))
    assert re.search(rf"virtualization\s*: {host.EXTENSION}", host.command("info"))


def test_poweroff_and_reset(new_host):
    host = new_host(memory=512).boot()
    host.line.send("reset\r")
    if host.VENDOR == "amd":
        host.wait_end()      # -no-reboot: QEMU ends instead
        host.kill()
        host.start()
    host.wait_prompt()
    host.line.send("poweroff\r")
    host.wait_end()


@amd_only()
def test_console(new_host):
    """help is the table of commands; wrong input is answered, never swallowed; history and completion work."""
    host = new_host(memory=512).boot()
    text = host.command("help")
    for word in ("list", "create", "destroy", "pause", "unpause", "shutdown", "reboot", "console", "migrate", "info", "net",
                 "dmesg", "poweroff", "reset"):
        assert re.search(rf"^  {word}\s+\S", text, re.M), word
    assert "GUEST HOST" in host.command("help migrate")
    assert "unknown command 'frobnicate'" in host.command("frobnicate")
    assert "a quote has no end" in host.command("create 'web")
    assert "there is no guest 'web'" in host.command("destroy web")
    assert "usage: migrate" in host.command("migrate web")
    assert "no such file" in host.command("create nothing")
    assert "godwit" in host.command("dmesg")
    host.line.skip()
    host.line.send("\x1b[A\r")
    host.expect(r"dmesg\n")
    host.wait_prompt()
    host.line.send("hel\t\r")
    host.expect(r"help ")
    host.expect("Guests")
    host.wait_prompt()
    # Bytes of every value, and a line longer than any command, leave a prompt that works.
    host.line.sock.sendall(bytes(range(256)).replace(b"\x0c", b"") + b"x" * 5000 + b"\x03")
    host.expect(re.escape("^C"))
    assert "host" in host.command("info")


@amd_only("a halted Bochs hurries to its next event instead of sleeping")
def test_idle_host_sleeps(new_host):
    """A host with nothing to do halts its CPUs: QEMU's own CPU time hardly grows."""
    host = new_host(memory=512).boot()

    def cpu_seconds():
        fields = open(f"/proc/{host.process.pid}/stat").read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    host.command("info")
    begin = cpu_seconds()
    with pytest.raises(bed.Trouble):
        host.expect("this never comes", timeout=10)
    assert cpu_seconds() - begin < 5    # a spinning CPU would take all of the 10 s


@amd_only()
def test_no_configuration(new_host):
    host = new_host(config=False, memory=512)
    host.prompt = "godwit godwit> "
    host.boot()
    log = host.command("dmesg")
    assert "there is no \\godwit\\godwit.cfg" in log
    assert "name = 'alpha'" in log


@amd_only()
def test_no_folder_at_all(new_host):
    host = new_host(config=False, memory=512)
    (host.esp / "godwit").rmdir()
    host.prompt = "godwit godwit> "
    host.boot()
    assert "godwit" in host.command("dmesg")


@pytest.mark.parametrize("vendor, cpu, words", [
    ("amd", "max,svm=off", "SVM"), ("amd", "max,npt=off", "nested pag"),
    ("intel", "p4_prescott_celeron_336", "VT-x"), ("intel", "core2_penryn_t9600", "EPT"),
    ("intel", "corei5_lynnfield_750", "unrestricted guest")], indirect=["vendor"])
def test_no_virtualization(new_host, cpu, words):
    """Said by name at boot; the console comes up; create says why not."""
    host = new_host(cpu=cpu, memory=512, files={"web.cfg": bed.guest_config("web", 96, 4)}).boot()
    log = host.command("dmesg")
    assert re.search(rf"error: .*{words}", log, re.I), log
    assert "guests can't run" in log
    assert host.command("create web").strip()
    assert host.guests() == {}


@amd_only()
def test_no_nic(new_host):
    host = new_host(nic=None, memory=512).boot()
    assert re.search(r"warning: network: .*NIC", host.command("dmesg"))
    assert "NIC" in host.command("net")


@pytest.mark.parametrize("vendor, nic", [("amd", "virtio-net-pci"), ("amd", "e1000"), ("amd", "e1000e"), ("intel", "e1000")],
                         indirect=["vendor"])
def test_nics_answer_ping(new_host, nic):
    host = new_host(nic=nic, memory=512).boot()
    answer = bed.run("ping", "-n", "-c", "5", "-i", "0.2", "-W", "5", host.ip, check=False).stdout
    assert " 0% packet loss" in answer, answer + host.command("net")
    large = bed.run("ping", "-n", "-c", "2", "-s", "1472", "-W", "5", host.ip, check=False).stdout
    assert " 0% packet loss" in large, large


@amd_only()
def test_image_boots(new_host, tmp_path):
    """The image of `make image`, as a plain disk."""
    bed.run("make", "-C", bed.TOP, "image", timeout=300)
    host = new_host(nic=None, memory=1024)
    drive = next(i for i, word in enumerate(host.command_line()) if word.startswith("file=fat:"))
    words = host.command_line()
    words[drive:drive + 3] = [f"file={bed.BUILD}/godwit.img,format=raw,if=ide,snapshot=on"]
    host.command_line = lambda: words
    host.start()
    host.expect(r"godwit \S+> ", bed.BOOT_TIMEOUT_S)
    host.line.send("files\r")
    host.expect("vmlinuz")


@amd_only()
def test_wrong_configuration(new_host):
    """Every wrong line is named with its number, the right ones count, other guests start, the console comes up."""
    config = ("name = 'solo'\n"
              "adress = '10.77.0.9/24'\n"
              "address = '10.77.0.9/24'\n"
              "mtu = 'big'\n"
              "serial = 'com9'\n"
              "peers = ['beta']\n"
              "guests = ['bad.cfg', 'missing.cfg', 'nokernel.cfg', 'notakernel.cfg', 'huge.cfg', 'good.cfg', 'twin.cfg',\n"
              "          'samemac.cfg']\n")
    bad = "name = 'bad'\nmemroy = 64\nmemory = 'much'\nkernel = vmlinuz\nvif = ['mac=1:2']\nvcpus = 99\n"
    files = {
        "bad.cfg": bad,
        "nokernel.cfg": "name = 'nokernel'\nmemory = 64\nkernel = 'nothing'\n",
        "notakernel.cfg": "name = 'notakernel'\nmemory = 64\nkernel = 'bad.cfg'\n",
        "huge.cfg": "name = 'huge'\nmemory = 65536\nkernel = 'vmlinuz'\n",
        "good.cfg": bed.guest_config("good", 96, 20),
        "twin.cfg": bed.guest_config("good", 96, 21),
        "samemac.cfg": bed.guest_config("samemac", 96, 20),
    }
    host = new_host(config=config, files=files).start()
    host.wait_prompt()
    host.expect(r"samemac.cfg: .*\n")
    host.line.skip()
    text = host.line.text
    for wanted in [r"godwit.cfg line 2: unknown key 'adress': did you mean 'address'", r"godwit.cfg line 4: 'mtu' is a number",
                   r"godwit.cfg line 5: serial = 'com9'", r"godwit.cfg line 6: peer 'beta'", r"bad.cfg line 2: unknown key 'memroy'",
                   r"bad.cfg line 3: 'memory' is a number", r"bad.cfg line 4: 'vmlinuz' is no number", r"bad.cfg line 5: vif",
                   r"bad.cfg line 6: vcpus = 99", r"missing.cfg: there is no such file", r"nokernel.cfg: .*'?nothing",
                   r"notakernel.cfg: .*bzImage", r"huge.cfg: .*memory", r"twin.cfg: .*named good", r"samemac.cfg: .*same"]:
        assert re.search(wanted, text), f"no /{wanted}/ in\n{text}"
    assert host.guests() == {"good": "running"}


@amd_only()
def test_too_little_memory(new_host):
    host = new_host(memory=256, files={"web.cfg": bed.guest_config("web", 256, 5)}).boot()
    before = host.free_pages()
    assert "memory" in host.command("create web")
    host.wait_pages(before)
    assert host.guests() == {}


def test_qemu_is_new_enough():
    text = subprocess.run([bed.qemu_program(), "--version"], capture_output=True, text=True, check=True).stdout
    assert int(re.search(r"version (\d+)", text).group(1)) >= 10, "SVM needs QEMU 10 or newer (docs/status.md)"


@pytest.mark.parametrize("what", ["stack", "undefined"])
@amd_only("the same code on both")
def test_own_mistakes_stop_the_host(new_host, what):
    """A debug build's checks of itself: what they say leads to the place."""
    words, function = {
        "stack": (r"panic on CPU 0: a function has written beyond an array on its stack: .* image \+ (0x[0-9a-f]+)\s", "overflow_stack"),
        "undefined": (r"undefined behaviour: what the C at image \+ (0x[0-9a-f]+)\s", "undefined_behaviour"),
    }[what]
    host = new_host(memory=512).boot()
    host.line.send(f"crash {what}\r")
    address = host.expect(words).group(1)
    host.expect("has stopped")
    said = bed.run("addr2line", "-f", "-i", "-e", bed.EFI.with_name("godwit.elf"), address).stdout
    assert function in said and "cmd_debug.c" in said, said
