# SPDX-License-Identifier: Apache-2.0
"""Intel hosts: Bochs, which interprets VT-x instruction by instruction.

Its time is not ours: an instruction takes 1/IPS s of the machine's time however long it takes here, and a halted
machine runs ahead. So what waits for the machine's time is quick here, and what it computes is slow.
"""
import os
import shlex
import signal
import socket

from basics import TOP, Trouble, spawn
from line import SerialLine
from machine import Host, firmware_places

BOCHS = TOP / "third_party/bochs"
START_TIMEOUT_S = 30
TERMINAL_PORT = 7700

# The firmware ends at 4 GiB. A port of "socket-client" is the only dependable console; ours is the listening end.
# The screen ("term") goes to a file. Unknown MSRs fault, as on a real CPU.
CONFIGURATION = """display_library: term
config_interface: textconfig
plugin_ctrl: fw_cfg=true
cpu: model={cpu}, count={smp}, ips={ips}, reset_on_triple_fault=1, ignore_bad_msrs=0, cpuid_freq=ips
memory: guest={memory}, host={memory}
romimage: file=OVMF.fd, address={rom_address:#x}
vgaromimage: file=vgabios.bin
vga: extension=vbe, update_freq=1
pci: enabled=1, chipset=i440fx{slots}
fw_cfg: enabled=1
{network}ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=disk, mode=vvfat, path=esp
boot: disk
com1: enabled=1, mode=socket-client, dev=127.0.0.1:{port}
speaker: enabled=0
clock: sync=none, time0=1700000000
log: bochs.log
panic: action=fatal
error: action=report
info: action=report
debug: action=ignore
"""


def why_no_bochs():
    """None where there is one; else the reason to skip what needs it."""
    if (BOCHS / "bochs").exists():
        return None
    missing = BOCHS / "missing"
    why = missing.read_text().strip() if missing.exists() else "run tools/setup"
    return f"no Bochs, so nothing of VT-x is tested: {why}"


class BochsHost(Host):
    VENDOR, EMULATOR, EXTENSION = "intel", "Bochs", "VT-x"
    NIC, CPU = "e1000", "corei7_skylake_x"
    # With more, an exit right after an exception of the guest's saves the RIP from before the exception (Bochs'
    # cpu_run_trace() does not commit it, cpu_loop() does): no Linux guest lives long.
    PATIENCE = 5
    SMP = 1
    IPS = 50_000_000
    # A halted Bochs is past the usual ten seconds after a third of one of ours.
    CONFIG = "peer_timeout = 600\n"
    # With APICv Linux dies in a Bochs that is not repaired (tools/bochs_repair). test_apic.py has hosts with it all the same.
    APICV = "apicv = 'off'\n" if (BOCHS / "unrepaired").exists() else ""

    # Under SMAP it walks the page tables for every byte that a kernel copies from or to a program: a second for a MB.
    SPARING = "clearcpuid=smap "

    def __init__(self, *places, ips=IPS, **options):
        super().__init__(*places, **options)
        if self.nic not in (None, "e1000"):
            raise Trouble(f"Bochs has no {self.nic}")
        self.ips = ips

    def firmware(self):
        return next(place for place in firmware_places(BOCHS, self.whole_firmware) if place.exists())

    def configuration(self, port):
        firmware = self.firmware()
        network = slots = ""
        if self.nic:
            slots = ", slot1=e1000"
            network = f"e1000: enabled=1, mac={self.mac}, ethmod=tuntap, ethdev=/dev/net/tun:{self.tap}\n"
        text = CONFIGURATION.format(cpu=self.cpu, smp=self.smp, ips=self.ips, memory=self.memory, slots=slots, network=network,
                                    rom_address=2 ** 32 - firmware.stat().st_size, port=port)
        return text + "".join(line + "\n" for line in self.extra)

    def command_line(self):
        """To be run in self.directory. -unlock: a machine that was killed leaves its disk locked."""
        return [BOCHS / "bochs", "-q", "-unlock", "-f", "bochsrc"]

    def prepare(self, port):
        """All that command_line() needs; the serial line will be a connection to that port of this machine."""
        # (A path in the configuration must hold no comma.)
        for name, place in (("OVMF.fd", self.firmware()), ("vgabios.bin", BOCHS / "vgabios.bin")):
            link = self.directory / name
            if not link.exists():
                os.symlink(place, link)
        (self.directory / "bochsrc").write_text(self.configuration(port))

    def terminal_command(self):
        """The console is netcat's, and when it ends so does the machine."""
        self.segment.add_tap(self.tap, vnet_hdr=False)
        port = TERMINAL_PORT + self.number
        self.prepare(port)
        bochs = shlex.join(["setpriv", "--pdeathsig", "KILL", *map(str, self.command_line())])
        return (f"cd {shlex.quote(str(self.directory))} && {{ (sleep 1; exec {bochs}) </dev/null >bochs.out 2>&1 & "
                f"stty raw -echo; exec nc -l 127.0.0.1 {port}; }}")

    def freeze(self):
        if self.running():
            self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        if self.running():
            self.process.send_signal(signal.SIGCONT)

    def start(self):
        if why := why_no_bochs():
            raise Trouble(why)
        if self.nic:
            self.segment.add_tap(self.tap, vnet_hdr=False)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.prepare(listener.getsockname()[1])
            with open(self.directory / "bochs.out", "w") as out:
                self.process = spawn(self.command_line(), cwd=self.directory, stdout=out, stderr=out)
            listener.settimeout(START_TIMEOUT_S)
            try:
                sock, _ = listener.accept()
            except TimeoutError:
                self.kill()
                raise Trouble(f"Bochs did not start: see bochs.log and bochs.out in {self.directory}") from None
        sock.settimeout(None)
        self.line = SerialLine(sock, self.name, self.directory / "serial.log")
        return self
