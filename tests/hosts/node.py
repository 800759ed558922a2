# SPDX-License-Identifier: Apache-2.0
"""This machine as a node of the segment: ssh to guests, sessions that stay open, ping."""
import itertools
import re
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from basics import GUEST, Trouble, run, spawn, until

BOOT_ID = "/proc/sys/kernel/random/boot_id"
# (The usual key exchange is a post-quantum one, which takes long in an emulated CPU.)
SSH_OPTIONS = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o",
               "BatchMode=yes", "-o", "KexAlgorithms=curve25519-sha256", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=60", "-F", "none"]


def ssh_command(ip, *command):
    # ssh refuses a key that others may read, and the file's owner is not ours inside the namespace.
    return ["ssh", "-i", str(GUEST / "id_ed25519"), *SSH_OPTIONS, f"root@{ip}", *command]


class Connection:
    """One ssh connection to a guest, for one command after the other: the handshake takes a second of CPU in Bochs, a command an eighth."""

    places = itertools.count()

    def __init__(self, ip, timeout=60):
        self.ip = ip
        self.path = Path(CONTROL.name) / str(next(self.places))
        # (Without its own probes: unanswered while a link is cut, they would have TCP wait long before it tries again.)
        self.process = spawn(["ssh", "-N", "-M", "-S", self.path, "-o", "ServerAliveInterval=0", *ssh_command(ip)[1:]],
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        end = time.monotonic() + timeout
        while not self.path.exists():
            if self.process.poll() is not None or time.monotonic() > end:
                self.close()
                raise Trouble(f"ssh to {ip}: {self.process.stderr.read().strip() or f'no connection within {timeout} s'}")
            time.sleep(0.02)

    def run(self, command, timeout):
        return run("ssh", "-S", self.path, *ssh_command(self.ip, command)[1:], timeout=timeout, check=False)

    def alive(self):
        return self.process.poll() is None

    def close(self):
        if self.alive():
            self.process.kill()
            self.process.wait()


CONTROL = tempfile.TemporaryDirectory(prefix="godwit-ssh-")     # (a socket's path must be short)
connections = {}


def connect(ip):
    """A new connection for ssh(), in the place of the one that there was."""
    if ip in connections:
        connections.pop(ip).close()
    connections[ip] = Connection(ip)
    return connections[ip]


def ssh(ip, command, timeout=180):
    """Runs a command in the guest, over the connection that there is; returns what it printed."""
    connection = connections.get(ip)
    if not connection or not connection.alive():
        connection = connect(ip)
    done = connection.run(command, timeout)
    if done.returncode:
        raise Trouble(f"{command} in {ip}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def boot_id(ip):
    """What is another after every boot of the guest, over a new connection; None while it does not answer."""
    try:
        return connect(ip).run(f"cat {BOOT_ID}", 60).stdout.strip() or None
    except (Trouble, subprocess.TimeoutExpired):
        return None


COMPLAINTS = "BUG:|WARNING:|Oops|Call Trace|[Uu]nstable|unchecked MSR|stall|soft lockup"


def complaints(ip):
    """What the guest's kernel found wrong with its machine or with its time (not that its CPU is of a leaky kind).

    Nor that two reads of its clock in a row took long: the emulator's thread waits for a CPU then, and the TSC is given up.
    """
    lines = ssh(ip, f"dmesg | grep -v RETBleed: | grep -E '{COMPLAINTS}' || true").strip().splitlines()
    if slow := [line for line in lines if "read-back delay" in line]:
        lines = [line for line in lines if line not in slow and "due to clocksource watchdog" not in line]
    return "\n".join(lines)


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

    def wait_lines(self, more, timeout=300):
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


def wait_guest(ip, timeout=300):
    """Until the guest answers on ssh."""
    until(lambda: boot_id(ip), f"the guest {ip} to answer on ssh", timeout)
