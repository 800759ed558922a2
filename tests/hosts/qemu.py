# SPDX-License-Identifier: Apache-2.0
"""AMD hosts: QEMU, which translates SVM in software (TCG)."""
import json
import shlex
import time
from pathlib import Path

from basics import TOP, Trouble, spawn
from line import SerialLine, connect_unix
from machine import Host, firmware_places


def qemu_program():
    """The QEMU that tools/setup chose (10.0 or newer)."""
    private = TOP / "third_party/qemu/qemu-system-x86_64"
    return str(private) if private.exists() else "qemu-system-x86_64"


def firmware(whole):
    """OVMF, of tools/setup or of the machine."""
    for place in (*firmware_places(TOP / "third_party/qemu", whole), Path("/usr/share/ovmf/OVMF.fd")):
        if place.exists():
            return place
    raise Trouble("there is no OVMF.fd: run tools/setup")


class QemuHost(Host):
    VENDOR, EMULATOR, EXTENSION = "amd", "QEMU", "SVM"
    NIC, CPU, SMP = "virtio-net-pci", "max", 2

    def command_line(self):
        """QEMU's, to be run in self.directory: a path in an option must hold no comma, and a socket's must be short."""
        words = [qemu_program(), "-name", self.name, "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", self.cpu,
                 "-smp", str(self.smp), "-m", str(self.memory), "-nodefaults", "-display", "none", "-no-reboot",
                 # With a boot order the firmware connects nothing else, and by virtio it reads a kernel and an initrd in half the time.
                 "-global", "ICH9-LPC.disable_s3=1", "-bios", str(firmware(self.whole_firmware)),
                 "-drive", "file=fat:rw:esp,format=raw,if=none,id=esp", "-device", "virtio-blk-pci,drive=esp,bootindex=0",
                 "-chardev", "socket,id=console,path=serial.sock,server=on,wait=on,logfile=serial.log",
                 "-serial", "chardev:console",
                 "-qmp", "unix:qmp.sock,server=on,wait=off"]
        if self.nic:
            words += ["-netdev", f"tap,id=net0,ifname={self.tap},script=no,downscript=no",
                      "-device", f"{self.nic},netdev=net0,mac={self.mac},romfile="]
        return words + self.extra

    def terminal_command(self):
        self.segment.add_tap(self.tap)
        words = self.command_line()
        words[words.index("-chardev") + 1] = "stdio,id=console,signal=off,logfile=serial.log"
        return f"cd {shlex.quote(str(self.directory))} && exec {shlex.join(words)}"

    def start(self):
        if self.nic:
            self.segment.add_tap(self.tap)
        with open(self.directory / "qemu.log", "w") as log:
            self.process = spawn(self.command_line(), cwd=self.directory, stdout=log, stderr=log)
        end = time.monotonic() + 30
        while True:
            try:
                sock = connect_unix(self.directory, "serial.sock")
                break
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    raise Trouble(f"QEMU did not start: {(self.directory / 'qemu.log').read_text()}") from None
                time.sleep(0.05)
        self.line = SerialLine(sock, self.name)
        return self

    def freeze(self):
        """Its time stands still, too."""
        if self.running():
            self.qmp("stop")

    def thaw(self):
        if self.running():
            self.qmp("cont")

    def qmp(self, command, **arguments):
        with connect_unix(self.directory, "qmp.sock") as sock:
            stream = sock.makefile("rw")
            stream.readline()
            for request in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                stream.write(json.dumps(request) + "\n")
                stream.flush()
                answer = json.loads(stream.readline())
                while "event" in answer:
                    answer = json.loads(stream.readline())
            return answer
