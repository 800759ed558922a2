# SPDX-License-Identifier: Apache-2.0
"""Ethernet frames for the network's tests: watched and checked on an interface, built, and built wrongly on purpose."""
import random
import socket
import struct
import threading
import time

BROADCAST = "ff:ff:ff:ff:ff:ff"
NODE_MAC = "52:54:00:77:00:fe"   # the bridge's (bed.Segment)
ARP, IP4, RARP = 0x0806, 0x0800, 0x8035
ICMP, TCP, UDP = 1, 6, 17
ETHERNET_BYTES = 14

# Linux's <linux/if_packet.h>, <linux/virtio_net.h>
SOL_PACKET, PACKET_VNET_HDR, PACKET_OUTGOING = 263, 15, 4
VNET_HEADER = struct.Struct("<BBHHHH")
NEEDS_CSUM, GSO_TCP4, GSO_ECN = 1, 1, 0x80


def mac_bytes(mac):
    return bytes.fromhex(mac.replace(":", ""))


def ones_sum(data):
    """The sum in ones' complement of 16-bit words (RFC 1071): a multiple of 65535 is a right checksum."""
    if len(data) % 2:
        data += b"\0"
    return int.from_bytes(data, "big") % 0xffff


def checksum(data):
    return 0xffff - ones_sum(data)


# --- building ---------------------------------------------------------------------------------------------------------

def ethernet(destination, source, kind, payload):
    return (mac_bytes(destination) + mac_bytes(source) + struct.pack("!H", kind) + payload).ljust(60, b"\0")


def arp(operation, sender_mac, sender_ip, target_mac, target_ip):
    return (struct.pack("!HHBBH", 1, IP4, 6, 4, operation) + mac_bytes(sender_mac) + socket.inet_aton(sender_ip)
            + mac_bytes(target_mac) + socket.inet_aton(target_ip))


def ip4(source, destination, protocol, payload, *, total=None, words=5, fragment=0, ident=1):
    """total, words: what the header says of its lengths, true or not. fragment: flags and offset as on the wire."""
    total = 20 + len(payload) if total is None else total
    header = struct.pack("!BBHHHBBH4s4s", 0x40 | words, 0, total & 0xffff, ident, fragment, 64, protocol, 0,
                         socket.inet_aton(source), socket.inet_aton(destination))
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def pseudo_header(source, destination, protocol, length):
    return source + destination + struct.pack("!BBH", 0, protocol, length)


def tcp(source_ip, destination_ip, source, destination, flags, *, sequence=0, payload=b"", words=5, options=b""):
    data = struct.pack("!HHIIBBHHH", source, destination, sequence, 0, words << 4, flags, 8192, 0, 0) + options + payload
    pseudo = pseudo_header(socket.inet_aton(source_ip), socket.inet_aton(destination_ip), TCP, len(data))
    return data[:16] + struct.pack("!H", checksum(pseudo + data)) + data[18:]


def udp(source, destination, payload, *, length=None):
    return struct.pack("!HHHH", source, destination, 8 + len(payload) if length is None else length, 0) + payload


def icmp(kind, code, payload):
    data = struct.pack("!BBHI", kind, code, 0, 0x10001) + payload
    return data[:2] + struct.pack("!H", checksum(data)) + data[4:]


# --- checking ---------------------------------------------------------------------------------------------------------

def fault_of(frame, mtu, offload=(0, 0, 0, 0, 0, 0)):
    """What is wrong with a frame, or None. offload: what the sender left to do (struct virtio_net_hdr's words)."""
    flags, gso_type, _, gso_size, start, offset = offload
    if len(frame) < ETHERNET_BYTES:
        return "no Ethernet header"
    kind = struct.unpack_from("!H", frame, 12)[0]
    if kind != IP4:
        return None if len(frame) <= mtu + ETHERNET_BYTES else f"{len(frame)} bytes"
    ip = frame[ETHERNET_BYTES:]
    header_bytes = (ip[0] & 15) * 4
    total = struct.unpack_from("!H", ip, 2)[0]
    if ip[0] >> 4 != 4 or header_bytes < 20 or not header_bytes <= total <= len(ip):
        return f"IP header {ip[:20].hex()} in {len(ip)} bytes"
    if ones_sum(ip[:header_bytes]):
        return "IP checksum"
    ip = ip[:total]
    data = ip[header_bytes:]
    protocol, fragment = ip[9], struct.unpack_from("!H", ip, 6)[0] & 0x3fff
    if gso_type:
        if gso_type & ~GSO_ECN != GSO_TCP4 or protocol != TCP or not flags & NEEDS_CSUM or not gso_size:
            return f"segmentation of type {gso_type} for protocol {protocol}"
        if header_bytes + (data[12] >> 4) * 4 + gso_size > mtu:
            return f"segments of {gso_size} bytes"
    elif len(frame) > mtu + ETHERNET_BYTES:
        return f"{len(frame)} bytes"
    if fragment or protocol not in (ICMP, TCP, UDP):
        return None
    if protocol == ICMP:
        return "ICMP checksum" if ones_sum(data) else None
    at = 16 if protocol == TCP else 6
    pseudo = pseudo_header(ip[12:16], ip[16:20], protocol, len(data))
    if flags & NEEDS_CSUM:
        if (start, offset) != (ETHERNET_BYTES + header_bytes, at):
            return f"checksum to be completed from {start} at {offset}"
        field = struct.unpack_from("!H", data, at)[0]
        return "sum of the pseudo-header" if field % 0xffff != ones_sum(pseudo) else None
    if protocol == UDP and data[6:8] == b"\0\0":
        return None
    return f"checksum of protocol {protocol}" if ones_sum(pseudo + data) else None


class Sniffer:
    """Looks at what comes out of a machine through its TAP, by wanted(frame), until it has seen as many as `most`."""

    def __init__(self, interface, mtu=1500, wanted=None, most=20000):
        self.mtu, self.wanted, self.most = mtu, wanted, most
        self.faults, self.frames = [], []     # of all; (time, frame) of the wanted ones
        self.seen = self.large = self.partial = self.longest = 0
        self.stopped = False
        # (Bound to a protocol at once, it would have frames of all interfaces until it is bound to this one.)
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.socket.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind((interface, 3))
        self.socket.settimeout(0.1)
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        while not self.stopped and self.seen < self.most:
            try:
                data, address = self.socket.recvfrom(70000)
            except TimeoutError:
                continue
            if address[2] == PACKET_OUTGOING:
                continue
            offload = VNET_HEADER.unpack_from(data)
            frame = data[VNET_HEADER.size:]
            self.seen += 1
            self.large += bool(offload[1])
            self.partial += offload[0] & NEEDS_CSUM
            self.longest = max(self.longest, len(frame))
            if self.wanted and self.wanted(frame):
                self.frames.append((time.monotonic(), frame))
            fault = fault_of(frame, self.mtu, offload)
            if fault:
                self.faults.append(f"{fault}: {frame[:80].hex()} {offload}")

    def close(self):
        self.stopped = True
        self.thread.join(5)
        self.socket.close()
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Sender:
    """Puts frames on the wire to one machine, not faster than its TAP's queue takes them."""

    def __init__(self, interface, burst=50, pause_s=0.003):
        self.burst, self.pause_s, self.sent = burst, pause_s, 0
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self.socket.bind((interface, 0))

    def send(self, frames):
        for frame in frames:
            try:
                self.socket.send(frame)
                self.sent += 1
            except OSError:
                time.sleep(self.pause_s)     # no room, or too short for Linux
            if self.sent % self.burst == 0:
                time.sleep(self.pause_s)
        return self

    def close(self):
        self.socket.close()


# --- hostile ones -----------------------------------------------------------------------------------------------------

class Hostile:
    """Frames that a machine should survive. Their claimed addresses are of nobody, or of the victim itself."""

    SOURCES = [f"10.77.0.{n}" for n in range(200, 240)]

    def __init__(self, mac, ip, seed=1):
        self.mac, self.ip = mac, ip
        self.random = random.Random(seed)

    def stranger(self):
        return f"02:{self.random.randbytes(5).hex(':')}", self.random.choice(self.SOURCES)

    def wrap(self, packet, source_mac=None, kind=IP4):
        return ethernet(self.mac, source_mac or self.stranger()[0], kind, packet)

    def valid(self):
        """One right frame of each sort that the machine looks into."""
        mac, ip = self.stranger()
        port = self.random.randrange(1, 65536)
        return [ethernet(BROADCAST, mac, ARP, arp(1, mac, ip, "00:00:00:00:00:00", self.ip)),
                ethernet(self.mac, mac, ARP, arp(2, mac, ip, self.mac, self.ip)),
                self.wrap(ip4(ip, self.ip, ICMP, icmp(8, 0, bytes(56))), mac),
                self.wrap(ip4(ip, self.ip, TCP, tcp(ip, self.ip, port, 8002, 2, words=6, options=b"\2\4\5\xb4")), mac),
                self.wrap(ip4(ip, self.ip, TCP, tcp(ip, self.ip, port, 8002, 16, payload=bytes(64))), mac),
                self.wrap(ip4(ip, self.ip, UDP, udp(67, 68, bytes(240))), mac),
                self.wrap(ip4(ip, self.ip, ICMP, icmp(3, 1, ip4(self.ip, ip, TCP, bytes(20)))), mac)]

    def truncated(self):
        for frame in self.valid():
            for length in range(ETHERNET_BYTES, min(len(frame), 80)):
                yield frame[:length]

    def wrong_lengths(self):
        mac, ip = self.stranger()
        for total in (0, 1, 19, 20, 21, 28, 39, 40, 1500, 1501, 65535):
            for protocol, data in ((TCP, tcp(ip, self.ip, 9, 8002, 2)), (UDP, udp(67, 68, bytes(9))), (ICMP, icmp(8, 0, b"ping"))):
                yield self.wrap(ip4(ip, self.ip, protocol, data, total=total), mac)
        for words in range(16):
            yield self.wrap(ip4(ip, self.ip, ICMP, icmp(8, 0, bytes(8)), words=words), mac)
            yield self.wrap(ip4(ip, self.ip, TCP, tcp(ip, self.ip, 9, 8002, 2, words=words)), mac)
        for option in range(256):
            for length in (0, 1, 2, 39, 40, 255):
                options = bytes([option, length]).ljust(8, b"\xff")
                yield self.wrap(ip4(ip, self.ip, TCP, tcp(ip, self.ip, 9, 8002, 2, words=7, options=options)), mac)
        for length in (0, 1, 7, 8, 9, 1000, 65535):
            yield self.wrap(ip4(ip, self.ip, UDP, udp(67, 68, bytes(16), length=length)), mac)

    def fragments(self):
        """Overlapping, beyond 64 KiB, tiny, and many that never end."""
        mac, ip = self.stranger()
        more = 0x2000
        for protocol in (ICMP, TCP, UDP):
            for first, second in ((0, 0), (0, 1), (1, 0), (2, 1), (0, 8189), (8189, 8190), (8191, 0)):
                ident = self.random.randrange(65536)
                for at, flag in ((first, more), (second, more), (second + 1, 0)):
                    fragment = flag | min(at, 0x1fff)
                    yield self.wrap(ip4(ip, self.ip, protocol, self.random.randbytes(24), fragment=fragment, ident=ident), mac)
        # 64 KiB and a little more, as one echo request in fragments ("ping of death").
        for at in range(0, 65536 + 1480, 1480):
            fragment = min(at // 8, 0x1fff) | (more if at < 65536 else 0)
            yield self.wrap(ip4(ip, self.ip, ICMP, bytes(1480), fragment=fragment, ident=7), mac)
        for ident in range(1000):
            yield self.wrap(ip4(ip, self.ip, ICMP, icmp(8, 0, bytes(1000)), fragment=more, ident=ident), mac)

    def syn_flood(self, count=2000, port=8002):
        for _ in range(count):
            mac, ip = self.stranger()
            segment = tcp(ip, self.ip, self.random.randrange(1, 65536), port, 2, sequence=self.random.getrandbits(32))
            yield self.wrap(ip4(ip, self.ip, TCP, segment), mac)

    def land(self, count=100):
        """From the victim to itself."""
        for _ in range(count):
            for flags in (2, 16, 18, 4, 1):
                for source in (self.ip, "127.0.0.1"):
                    yield self.wrap(ip4(source, self.ip, TCP, tcp(source, self.ip, 8002, 8002, flags)), self.mac)
            yield self.wrap(arp(1, self.mac, self.ip, self.mac, self.ip), self.mac, ARP)
            yield self.wrap(ip4(self.ip, "10.77.0.255", ICMP, icmp(8, 0, bytes(8))), self.mac)

    def noise(self, count=8000):
        """Half of them random from the start, half right ones with a few bytes changed."""
        destinations = [mac_bytes(self.mac), mac_bytes(BROADCAST), bytes.fromhex("01005e000001"), None]
        kinds = [IP4, IP4, IP4, ARP, RARP, 0x86dd, 0x8100, 0x88a8, None]
        for turn in range(count):
            if turn % 2:
                frame = bytearray(self.random.choice(self.valid()))
                for _ in range(self.random.randrange(1, 8)):
                    frame[self.random.randrange(ETHERNET_BYTES - 2, len(frame))] = self.random.randrange(256)
                yield bytes(frame)
                continue
            destination = self.random.choice(destinations) or self.random.randbytes(6)
            kind = self.random.choice(kinds)
            payload = self.random.randbytes(self.random.choice((0, 1, 20, 46, 200, 1500)))
            yield (destination + self.random.randbytes(6)
                   + (self.random.randbytes(2) if kind is None else struct.pack("!H", kind)) + payload)
