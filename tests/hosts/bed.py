# SPDX-License-Identifier: Apache-2.0
"""The test bed: emulated hosts that run Godwit, on one Ethernet segment with this machine as a node of it.

Everything happens inside a network namespace of its own (enter_namespace), in which the segment is a Linux
bridge, every host's NIC a TAP on it, and the real ping, ssh, curl... of this machine are what talks to the guests.
Waiting is for events (a text on a serial line, a process's end), each with a time limit that says what it waited for.
"""
import codecs
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
BUILD = TOP / "build"
GUEST = BUILD / "guest"

TUN = "/dev/net/tun"
NODE_IP = "10.77.0.254"
PREFIX = 24
BOOT_TIMEOUT_S = 120
COMMAND_TIMEOUT_S = 60


class Trouble(Exception):
    """Something did not happen; the text says what, and where to look."""


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


def run(*command, timeout=60, check=True, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=timeout,
                          stdin=subprocess.DEVNULL, **options)
    if check and done.returncode:
        raise Trouble(f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def until(condition, what, timeout=60):
    """Waits for a condition that can only be asked for."""
    end = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > end:
            raise Trouble(f"waited {timeout} s for {what}")
        time.sleep(0.1)
    return value


def spawn(command, **options):
    """A process that the kernel kills when this program ends, however it ends: no emulator outlives a test run."""
    return subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *map(str, command)], stdin=subprocess.DEVNULL, **options)


def qemu_program():
    """The QEMU that tools/setup chose (10.0 or newer)."""
    private = TOP / "third_party/qemu/qemu-system-x86_64"
    return str(private) if private.exists() else "qemu-system-x86_64"


def firmware():
    """OVMF, of tools/setup or of the machine."""
    places = [*sorted((TOP / "third_party").glob("**/OVMF.fd")), Path("/usr/share/ovmf/OVMF.fd")]
    for place in places:
        if place.exists():
            return place
    raise Trouble("there is no OVMF.fd: run tools/setup")


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

    def add_tap(self, name):
        run("ip", "tuntap", "add", name, "mode", "tap", "vnet_hdr")
        run("ip", "link", "set", name, "master", self.name)
        run("ip", "link", "set", name, "up")
        self.taps.append(name)

    def remove_tap(self, name):
        run("ip", "link", "delete", name, check=False)
        self.taps.remove(name)

    def link(self, name, up):
        """Cuts or restores a port as a pulled cable would."""
        run("ip", "link", "set", name, "up" if up else "down")

    def close(self):
        for name in list(self.taps):
            self.remove_tap(name)
        run("ip", "link", "delete", self.name, check=False)


PANIC = re.compile(r"panic on CPU(.*\n)*?.*has stopped.*")
ANSI = re.compile(r"\x1b\[[0-9;=?]*[A-Za-z]")
CLEAR_LINE = "\r\x1b[K"    # console/terminal.h
UNFINISHED = re.compile(r"\r?(\x1b(\[[0-9;=?]{0,16})?)?$")


def connect_unix(directory, name):
    """A connection to a socket in a directory whose path may be too long for a socket's address (108 bytes)."""
    sock = socket.socket(socket.AF_UNIX)
    holder = os.open(directory, os.O_PATH)
    try:
        sock.connect(f"/proc/self/fd/{holder}/{name}")
    except OSError:
        sock.close()
        raise
    finally:
        os.close(holder)
    return sock


class SerialLine:
    """A serial port over a socket: a thread reads all the time, expect() waits for a text."""

    def __init__(self, sock, name):
        self.sock = sock
        self.name = name
        self.text = ""      # all that came, without escape sequences; a line that is drawn again begins a new one
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.rest = ""      # of an escape sequence or line end that has not come whole
        self.position = 0   # behind what the last expect() matched
        self.news = threading.Condition()
        self.closed = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while True:
            try:
                data = self.sock.recv(65536)
            except OSError:
                data = b""
            with self.news:
                if not data:
                    self.closed = True
                    self.news.notify_all()
                    return
                self.text += self._clean(self.decoder.decode(data))
                self.news.notify_all()

    def _clean(self, text):
        text = self.rest + text
        whole = UNFINISHED.search(text).start()
        self.rest = text[whole:]
        return ANSI.sub("", text[:whole].replace("\r\n", "\n").replace(CLEAR_LINE, "\n")).replace("\r", "")

    def send(self, text):
        self.sock.sendall(text.encode())

    def tail(self, lines=25):
        return "\n".join(self.text.splitlines()[-lines:])

    def expect(self, pattern, timeout=COMMAND_TIMEOUT_S, alive=None):
        """The match of pattern behind the last one; Trouble when time is up or the line's other end has gone."""
        end = time.monotonic() + timeout
        compiled = re.compile(pattern, re.M)
        with self.news:
            while True:
                match = compiled.search(self.text, self.position)
                if match:
                    self.position = match.end()
                    return match
                left = end - time.monotonic()
                panic = PANIC.search(self.text, self.position)
                if panic:
                    raise Trouble(f"{self.name}: the hypervisor panicked while waiting for /{pattern}/:\n{panic.group()}")
                if self.closed or (alive and not alive()):
                    raise Trouble(f"{self.name}: ended while waiting for /{pattern}/; the last lines were:\n{self.tail()}")
                if left <= 0:
                    raise Trouble(f"{self.name}: no /{pattern}/ within {timeout} s; the last lines were:\n{self.tail()}")
                self.news.wait(min(left, 0.5))

    def skip(self):
        """Forgets what has come until now."""
        with self.news:
            self.position = len(self.text)


GUEST_CONFIG = """name = "{name}"
uuid = "{uuid}"
memory = {memory}
vcpus = 1
kernel = "vmlinuz"
ramdisk = "initrd.img"
extra = "console=ttyS0 quiet {extra}"
vif = ['mac={mac}']
"""


def guest_config(name="web", memory=256, mac="52:54:00:77:01:01", ip="10.77.0.101", extra=""):
    """The text of a guest's NAME.cfg that boots the stock kernel with the test's initrd; without ip it asks DHCP."""
    uuid = "6d6f7665-6d65-4d6f-8000-" + mac.replace(":", "")
    address = f"ip={ip}/{PREFIX} " if ip else ""
    return GUEST_CONFIG.format(name=name, memory=memory, mac=mac, uuid=uuid, extra=f"{address}hostname={name} {extra}")


class Host:
    """One emulated machine that boots Godwit from its own ESP (a directory that QEMU shows as a FAT disk)."""

    def __init__(self, segment, name, ip, directory, *, number=1, smp=2, memory=1024, nic="virtio-net-pci", peers=None,
                 files=None, config=None, guests=(), cpu="max", extra_qemu=(), guest_kernel=True, release=False):
        self.segment = segment
        self.name = name
        self.ip = ip
        self.directory = Path(directory)
        self.number = number
        self.smp, self.memory, self.nic, self.cpu = smp, memory, nic, cpu
        self.extra_qemu = list(extra_qemu)
        self.tap = f"tap-{name}"[:15]
        self.mac = f"52:54:00:77:00:{number:02x}"
        self.process = None
        self.line = None
        self.prompt = f"godwit {name}> "
        self.esp = self.directory / "esp"
        self._make_esp(peers or {}, files or {}, config, guests, guest_kernel)

    def _make_esp(self, peers, files, config, guests, guest_kernel):
        shutil.rmtree(self.directory, ignore_errors=True)
        (self.esp / "EFI/BOOT").mkdir(parents=True)
        (self.esp / "godwit").mkdir()
        shutil.copy(BUILD / "BOOTX64.EFI", self.esp / "EFI/BOOT/BOOTX64.EFI")
        if config is None:
            peer_list = ", ".join(f"'{name}={ip}'" for name, ip in peers.items())
            guest_list = ", ".join(f"'{name}'" for name in guests)
            config = (f"name = '{self.name}'\naddress = '{self.ip}/{PREFIX}'\npeers = [{peer_list}]\n"
                      f"guests = [{guest_list}]\n")
        if config is not False:
            files = {"godwit.cfg": config, **files}
        if guest_kernel:
            for name in ("vmlinuz", "initrd.img"):
                os.link(GUEST / name, self.esp / "godwit" / name)
        for name, content in files.items():
            data = content if isinstance(content, bytes) else content.encode()
            (self.esp / "godwit" / name).write_bytes(data)

    def command_line(self):
        """QEMU's, to be run in self.directory: a path in an option must hold no comma, and a socket's must be short."""
        words = [qemu_program(), "-name", self.name, "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", self.cpu,
                 "-smp", str(self.smp), "-m", str(self.memory), "-nodefaults", "-display", "none", "-no-reboot",
                 "-bios", str(firmware()), "-drive", "file=fat:rw:esp,format=raw,if=ide",
                 "-chardev", "socket,id=console,path=serial.sock,server=on,wait=on,logfile=serial.log",
                 "-serial", "chardev:console",
                 "-qmp", "unix:qmp.sock,server=on,wait=off"]
        if self.nic:
            words += ["-netdev", f"tap,id=net0,ifname={self.tap},script=no,downscript=no",
                      "-device", f"{self.nic},netdev=net0,mac={self.mac},romfile="]
        return words + self.extra_qemu

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

    def running(self):
        return self.process is not None and self.process.poll() is None

    def expect(self, pattern, timeout=COMMAND_TIMEOUT_S):
        return self.line.expect(pattern, timeout, self.running)

    def wait_prompt(self, timeout=BOOT_TIMEOUT_S):
        self.expect(re.escape(self.prompt), timeout)
        return self

    def boot(self):
        return self.start().wait_prompt()

    def command(self, text, timeout=COMMAND_TIMEOUT_S):
        """Types a line at the prompt; returns what was printed until the next prompt."""
        self.line.skip()
        self.line.send(text + "\r")
        self.expect(re.escape(text) + r"\n", timeout)
        begin = self.line.position
        match = self.expect(r"(?:^|\n)" + re.escape(self.prompt), timeout)
        return self.line.text[begin:match.start()].strip("\n")

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
        """{name: state} as `list` says."""
        found = {}
        for row in self.command("list").splitlines()[1:]:
            match = re.match(r"(\S+)\s+\d+\s+\d+\s+\d+\s+[\d.]+\s+(.*)", row)
            if match:
                found[match.group(1)] = match.group(2)
        return found

    def migrate(self, guest, peer, *options, timeout=120):
        """Moves a guest; returns the summary's figures, or raises Trouble with what the console said."""
        output = self.command(" ".join(["migrate", *options, guest, peer]), timeout)
        return summary(output)

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

    def wait_end(self, timeout=30):
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Trouble(f"{self.name}: QEMU still runs {timeout} s later; the last lines were:\n{self.line.tail()}") from None

    def kill(self):
        """The machine loses its power."""
        if self.running():
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        if self.nic and self.tap in self.segment.taps:
            self.segment.remove_tap(self.tap)

    def logs(self):
        text = self.line.tail(40) if self.line else ""
        return f"--- {self.name}: last lines of {self.directory}/serial.log\n{text}\n"


SUMMARY = re.compile(r"(\S+) (?:runs|is paused) on (\S+): ([\d.]+) s in all, ([\d.]+) ms down, (\d+) rounds?, ([\d.]+) MB sent for (\d+) MiB")


def summary(output):
    match = SUMMARY.search(output)
    if not match:
        raise Trouble(f"no migration: {output.strip().splitlines()[-1] if output.strip() else '(nothing printed)'}")
    return {"guest": match.group(1), "peer": match.group(2), "total_s": float(match.group(3)),
            "downtime_ms": float(match.group(4)), "rounds": int(match.group(5)), "sent_mb": float(match.group(6)),
            "memory_mib": int(match.group(7))}


SSH_OPTIONS = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o",
               "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5", "-F", "none"]


def ssh_command(ip, *command):
    # ssh refuses a key that others may read, and the file's owner is not ours inside the namespace.
    return ["ssh", "-i", str(GUEST / "id_ed25519"), *SSH_OPTIONS, f"root@{ip}", *command]


def ssh(ip, command, timeout=60):
    """Runs a command in the guest over a new ssh connection."""
    return run(*ssh_command(ip, command), timeout=timeout).stdout


def boot_id(ip):
    """What is another after every boot of the guest; None while it does not answer."""
    try:
        return ssh(ip, "cat /proc/sys/kernel/random/boot_id", timeout=15).strip()
    except (Trouble, subprocess.TimeoutExpired):
        return None


def complaints(ip):
    """What the guest's kernel found wrong with its machine or with its time."""
    return ssh(ip, "dmesg | grep -E 'BUG:|WARNING:|Oops|Call Trace|[Uu]nstable|unchecked MSR|stall|soft lockup' || true").strip()


class SshSession:
    """A session that stays open: runs `count` in the guest, which prints a rising number, and watches it."""

    def __init__(self, ip, command="count"):
        self.process = spawn(ssh_command(ip, command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.lines = []
        self.news = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for text in self.process.stdout:
            with self.news:
                self.lines.append((time.monotonic(), text.strip()))
                self.news.notify_all()
        with self.news:
            self.news.notify_all()

    def wait_lines(self, more, timeout=60):
        """Until so many further lines have come."""
        end = time.monotonic() + timeout
        with self.news:
            wanted = len(self.lines) + more
            while len(self.lines) < wanted:
                if self.process.poll() is not None:
                    raise Trouble(f"the ssh session has ended: {self.lines[-3:]}")
                left = end - time.monotonic()
                if left <= 0:
                    raise Trouble(f"the ssh session printed nothing more for {timeout} s (last: {self.lines[-1:]})")
                self.news.wait(min(left, 0.5))

    def numbers(self):
        return [int(match.group(1)) for _, text in self.lines if (match := re.match(r"count (\d+)", text))]

    def unbroken(self):
        """Still open, the numbers came without a gap or a repetition, and the guest's clock never stepped back."""
        seen = self.numbers()
        backwards = [text for _, text in self.lines if "ERROR" in text]
        return (self.process.poll() is None and not backwards and len(seen) > 1
                and seen == list(range(seen[0], seen[0] + len(seen))))

    def close(self):
        self.process.terminate()
        self.process.wait()


class Pinger:
    """The real ping at a fixed interval; the longest gap between two answers is the downtime as it sees it."""

    def __init__(self, ip, interval_s=0.01):
        self.interval_s = interval_s
        self.answers = []
        self.process = spawn(["ping", "-n", "-D", "-i", interval_s, ip], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             text=True)
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        for text in self.process.stdout:
            match = re.match(r"\[([\d.]+)\].*icmp_seq=(\d+).*time=([\d.]+)", text)
            if match:
                self.answers.append((float(match.group(1)), int(match.group(2)), float(match.group(3))))

    def gap_ms(self, since=0.0):
        """The longest time between two answers after `since` (time.time()), less the interval itself."""
        times = sorted(at for at, _, _ in self.answers)
        # From the last answer before it: the guest may have stopped before it answered again.
        times = times[max(0, sum(at < since for at in times) - 1):]
        if len(times) < 2:
            raise Trouble(f"ping got {len(times)} answers")
        return max(0.0, max(later - earlier for earlier, later in zip(times, times[1:])) - self.interval_s) * 1000

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait()
        self.thread.join(5)


def wait_guest(ip, timeout=120):
    """Until the guest answers on ssh."""
    until(lambda: boot_id(ip), f"the guest {ip} to answer on ssh", timeout)
    return ssh(ip, "cat /proc/version")
