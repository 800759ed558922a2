# SPDX-License-Identifier: Apache-2.0
"""This machine as a node of the segment: ssh to guests, sessions that stay open, ping."""
import re
import signal
import subprocess
import threading
import time

from basics import GUEST, Trouble, run, spawn, until

BOOT_ID = "/proc/sys/kernel/random/boot_id"
# (The usual key exchange is a post-quantum one, which takes long in an emulated CPU.)
SSH_OPTIONS = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o",
               "BatchMode=yes", "-o", "KexAlgorithms=curve25519-sha256", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=60", "-F", "none"]


def ssh_command(ip, *command):
    # ssh refuses a key that others may read, and the file's owner is not ours inside the namespace.
    return ["ssh", "-i", str(GUEST / "id_ed25519"), *SSH_OPTIONS, f"root@{ip}", *command]


def ssh(ip, command, timeout=180):
    """Runs a command in the guest over a new ssh connection."""
    return run(*ssh_command(ip, command), timeout=timeout).stdout


def boot_id(ip):
    """What is another after every boot of the guest; None while it does not answer."""
    try:
        return ssh(ip, f"cat {BOOT_ID}", timeout=60).strip()
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
