# SPDX-License-Identifier: Apache-2.0
"""An emulated machine that runs Godwit, whichever the emulator: its ESP, its console, what is typed there.

What differs is in qemu.py (AMD: SVM) and bochs.py (Intel: VT-x).
"""
import os
import re
import secrets
import shutil
import signal
import subprocess
from pathlib import Path

from basics import BOOT_TIMEOUT_S, COMMAND_TIMEOUT_S, EFI, GUEST, PREFIX, Trouble, until

# Of a kernel's boot, what takes two thirds of its instructions here: tests of its own ciphers, lists and files for tracing, and all
# for which it reads what it knows of its types (BTF: a TCP, BPF's kfuncs). With the initrd that spares it as much (mkinitramfs).
# plain=True: as anybody would have it, for what is shown or measured.
UNNEEDED = ["crypto_kdf108_init", "init_kprobe_trace", "trace_eval_init", "tracer_init_tracefs", "init_blk_tracer",
            "ftrace_check_for_weak_functions", "cubictcp_register", "bpf_rstat_kfunc_init", "bpf_key_sig_kfuncs_init",
            "bpf_prog_test_run_init", "bpf_tcp_ca_kfunc_init", "kfunc_init"]
SPARING = f"cryptomgr.notests initcall_blacklist={','.join(UNNEEDED)} "
SPARING_INITRD = "sparing.img"
GUEST_CONFIG = """name = "{name}"
uuid = "{uuid}"
memory = {memory}
vcpus = {vcpus}
kernel = "vmlinuz"
ramdisk = "{ramdisk}"
extra = "console=ttyS0 quiet {extra}"
vif = ['mac={mac}']
"""


# The cluster's key, another one in every run.
CLUSTER_KEY = secrets.token_hex(32)


def firmware_places(directory, whole):
    """Where an emulator's firmware may be, the best first: without the drivers that nothing here uses, hosts boot in half the time."""
    return [directory / name for name in (["OVMF.fd"] if whole else ["OVMF_trimmed.fd", "OVMF.fd"])]


def guest_ip(number):
    return f"10.77.0.{100 + number}"


def guest_config(name="web", memory=256, number=1, *, vcpus=1, dhcp=False, mac=None, extra="", config="", plain=False):
    """The text of a guest's NAME.cfg that boots the stock kernel with the test's initrd.

    The number, 1 to 99, gives it its MAC and address. Guests that can be on the segment at once need different ones: hosts
    that tests share may still be up with their guests.
    """
    ip = None if dhcp else guest_ip(number)
    mac = mac or f"52:54:00:77:01:{number:02x}"
    uuid = "6d6f7665-6d65-4d6f-8000-" + mac.replace(":", "")
    address = f"ip={ip}/{PREFIX} " if ip else ""
    return GUEST_CONFIG.format(name=name, memory=memory, vcpus=vcpus, mac=mac, uuid=uuid,
                               ramdisk="initrd.img" if plain else SPARING_INITRD,
                               extra=f"{'' if plain else SPARING}{address}hostname={name} {extra}") + config


class Host:
    """One machine that boots Godwit from its own ESP (a directory that the emulator shows as a FAT disk)."""

    VENDOR = None           # whose CPUs
    EMULATOR = None
    NIC = CPU = SMP = None  # unless told
    EXTENSION = None        # as `info` calls it
    PATIENCE = 2            # times what a quiet machine takes: these are slow and shared, and what hangs is rare
    CONFIG = ""             # lines of its godwit.cfg
    APICV = ""              # another, unless the test has its own
    SPARING = ""            # what guests' kernels are told besides, where they are to spare emulated time
    standing_faults = ()    # fault points that stay armed

    def __init__(self, segment, name, ip, directory, *, number=1, smp=None, memory=1024, nic="", peers=None, files=None,
                 config=None, key=CLUSTER_KEY, guests=(), cpu=None, extra=(), settings="", whole_firmware=False):
        """It has the stock guest's kernel and an initrd where a guest's file names them."""
        self.segment = segment
        self.name = name
        self.ip = ip
        self.directory = Path(directory)
        self.number = number
        self.smp, self.memory = smp or self.SMP, memory
        self.nic = self.NIC if nic == "" else nic
        self.cpu = cpu or self.CPU
        self.whole_firmware = whole_firmware
        self.extra = list(extra)    # words of QEMU's command line, lines of Bochs' configuration
        self.tap = f"tap-{name}"[:15]
        self.mac = f"52:54:00:77:00:{number:02x}"
        self.process = None
        self.line = None
        self.prompt = f"godwit {name}> "
        self.esp = self.directory / "esp"
        self._make_esp(peers or {}, files or {}, config, key, guests, settings)

    def _make_esp(self, peers, files, config, key, guests, settings):
        shutil.rmtree(self.directory, ignore_errors=True)
        (self.esp / "EFI/BOOT").mkdir(parents=True)
        (self.esp / "godwit").mkdir()
        shutil.copy(EFI, self.esp / "EFI/BOOT/BOOTX64.EFI")
        if config is None:
            peer_list = ", ".join(f"'{name}={ip}'" for name, ip in peers.items())
            guest_list = ", ".join(f"'{name}'" for name in guests)
            config = (f"name = '{self.name}'\naddress = '{self.ip}/{PREFIX}'\npeers = [{peer_list}]\n"
                      f"guests = [{guest_list}]\n{self.CONFIG}{settings}" + (f"key = '{key}'\n" if key else ""))
        if config and "apicv" not in config:
            config += self.APICV
        if config is not False:
            files = {"godwit.cfg": config, **files}
        needed = "".join(str(content) for name, content in files.items() if name.endswith(".cfg"))
        for name in ("vmlinuz", "initrd.img", SPARING_INITRD):
            if name in needed:
                os.link(GUEST / name, self.esp / "godwit" / name)
        for name, content in files.items():
            data = content if isinstance(content, bytes) else content.replace(SPARING, SPARING + self.SPARING).encode()
            (self.esp / "godwit" / name).write_bytes(data)

    def start(self):
        """Switches the machine on; its serial line is self.line from then on."""
        raise NotImplementedError

    def terminal_command(self):
        """A shell command that runs the machine with its console on the terminal."""
        raise NotImplementedError

    def running(self):
        return self.process is not None and self.process.poll() is None

    def ask_race(self, guest="race"):
        """At the console of a guest that stores (tests/guests/tiny/race.asm): has it "lost" a store, or is it "alive"?"""
        self.line.skip()
        self.line.send(f"console {guest}\r")
        self.expect(f"console of {guest}")
        self.line.send("?")
        seen = self.expect(r"race: (lost|alive)").group(1)
        self.line.send("\x1d")
        self.wait_prompt()
        return seen

    def expect(self, pattern, timeout=COMMAND_TIMEOUT_S):
        return self.line.expect(pattern, timeout * self.PATIENCE, self.running)

    def wait_prompt(self, timeout=BOOT_TIMEOUT_S):
        self.expect(re.escape(self.prompt), timeout)
        return self

    def boot(self):
        self.start().wait_prompt()
        if self.standing_faults:
            self.clear_faults()
        return self

    def command(self, text, timeout=COMMAND_TIMEOUT_S):
        """Types a line at the prompt; returns what was printed until the next prompt."""
        self.line.skip()
        self.line.send(text + "\r")
        self.expect(re.escape(text) + r"\n", timeout)
        begin = self.line.position
        match = self.expect(r"(?:^|\n)" + re.escape(self.prompt), timeout)
        return self.line.text[begin:match.start()].strip("\n")

    def clear_faults(self):
        """No fault point is armed any more, but those that the tests keep armed on this host."""
        self.command("fault --clear")
        for name in self.standing_faults:
            self.command(f"fault {name}")

    def to_prompt(self):
        """Back to the prompt from wherever a failed test left the console."""
        self.line.skip()
        self.line.send("\x1d\x03")
        self.expect(r"\^C\n" + re.escape(self.prompt))

    def recover(self):
        """To the prompt, and no guests."""
        self.to_prompt()
        for name in self.guests():
            self.command(f"destroy {name}")

    def free_pages(self):
        return int(re.search(r"free_pages\s*: (\d+)", self.command("info")).group(1))

    def wait_pages(self, wanted):
        """Until that many pages are free again: a connection that was refused lingers for a few seconds."""
        until(lambda: self.free_pages() == wanted, f"{self.name} to have its {wanted} pages back")

    def guests(self):
        """{name: state} as `list` says, once none is starting any more (its memory is being cleared)."""
        def listed():
            rows = self.command("list").splitlines()[1:]
            return not any(row.endswith("starting") for row in rows) and (rows,)

        found = {}
        for row in until(listed, f"{self.name}'s guests to start")[0]:
            match = re.match(r"(\S+)\s+\d+\s+\d+\s+\d+\s+[\d.]+\s+(.*)", row)
            if match:
                found[match.group(1)] = match.group(2)
        return found

    def migrate(self, guest, peer, *options, timeout=120, verify=None):
        """Moves a guest, with both copies of its memory compared; returns the summary's figures, or raises Trouble with what
        the console said. verify=False: where the pause is measured, or shown; and of a Linux guest in Bochs, which hashes
        a few MB a second."""
        if verify is None:
            verify = self.VENDOR == "amd" or guest in TINY_GUESTS
        options = [*options, *(["--verify"] if verify else [])]
        output = self.command(" ".join(["migrate", *options, guest, peer]), timeout)
        figures = summary(output)
        if verify != ("verified_pages" in figures):
            raise Trouble(f"memory was {'not ' if verify else ''}verified: {output.strip()}")
        return figures

    def wait_end(self, timeout=30):
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Trouble(f"{self.name}: {self.EMULATOR} still runs {timeout} s later; the last lines were:\n{self.line.tail()}") from None

    def freeze(self):
        """The machine stands still and takes no CPU; its time stands, too."""

    def thaw(self):
        """It goes on."""

    def kill(self):
        """The machine loses its power."""
        self.thaw()
        if self.running():
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        if self.nic and self.tap in self.segment.taps:
            self.segment.remove_tap(self.tap)

    def logs(self):
        text = self.line.tail(40) if self.line else ""
        return f"--- {self.name}: last lines of {self.directory}/serial.log\n{text}\n"


TINY_GUESTS = ("race", "twin", "writer", "tsc", "t")

SUMMARY = re.compile(r"(\S+) (?:runs|is paused) on (\S+): ([\d.]+) s in all, ([\d.]+) ms down, (\d+) rounds?, ([\d.]+) MB sent for (\d+) MiB"
                     r"(?:, (\d+) pages verified in (\d+) ms)?")


def summary(output):
    match = SUMMARY.search(output)
    if not match:
        raise Trouble(f"no migration: {output.strip().splitlines()[-1] if output.strip() else '(nothing printed)'}")
    return {"guest": match.group(1), "peer": match.group(2), "total_s": float(match.group(3)),
            "downtime_ms": float(match.group(4)), "rounds": int(match.group(5)), "sent_mb": float(match.group(6)),
            "memory_mib": int(match.group(7)),
            **({"verified_pages": int(match.group(8)), "verify_ms": int(match.group(9))} if match.group(8) else {})}
