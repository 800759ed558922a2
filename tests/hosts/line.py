# SPDX-License-Identifier: Apache-2.0
"""A serial line of an emulated machine, as text to wait for."""
import codecs
import os
import re
import socket
import threading
import time

from basics import COMMAND_TIMEOUT_S, Trouble

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

    def __init__(self, sock, name, log=None):
        self.sock = sock
        self.log = open(log, "wb") if log else None     # where the emulator keeps none
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
            if self.log:
                self.log.write(data)
                self.log.flush()
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
