"""A link that loses, delays and holds packets, between this network namespace and another: bad_link.py NAMESPACE SOCKET NEAR FAR SEED.

NEAR and FAR are the addresses of its ends, here and there. Whoever connects to SOCKET, a Unix socket, and sends a line HOST:PORT, gets a
connection from there to that place, whose packets pass the link. Lines of JSON on standard input say how bad it is:
{"lost": part of all packets, "delayMs": each waits for up to so long, so that they overtake each other}.
"""

import asyncio
import contextlib
import ctypes
import fcntl
import json
import os
import random
import struct
import subprocess
import sys

TUNSETIFF = 0x400454CA
IFF_TUN = 1
IFF_NO_PI = 0x1000
CLONE_NEWNET = 0x40000000
# Larger than on a wire: what is copied here costs by the packet.
MTU = 4000
BYTES_AT_ONCE = 65536


def tun(name, address, peer):
    """Makes a device in the namespace of this process, with an address."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    subprocess.run(["ip", "address", "add", address, "peer", peer, "dev", name], check=True)
    subprocess.run(["ip", "link", "set", name, "mtu", str(MTU), "up"], check=True)
    return device


class Link:
    """Copies packets from each device to the other."""

    def __init__(self, devices, seed):
        self.lost = 0.0
        self.delay = 0.0
        self.random = random.Random(seed)
        self.loop = asyncio.get_running_loop()
        for one, other in (devices, devices[::-1]):
            self.loop.add_reader(one, self.arrived, one, other)

    def arrived(self, one, other):
        with contextlib.suppress(BlockingIOError):
            while True:
                packet = os.read(one, MTU + 100)
                if self.random.random() < self.lost:
                    continue
                if self.delay == 0:
                    self.send(other, packet)
                else:
                    self.loop.call_later(self.random.random() * self.delay, self.send, other, packet)

    @staticmethod
    def send(device, packet):
        # A queue that is full, or a packet that the kernel does not like, is one lost packet more.
        with contextlib.suppress(OSError):
            os.write(device, packet)


async def copy(reader, writer):
    while data := await reader.read(BYTES_AT_ONCE):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def join(near, near_writer):
    """Connects over the link for one client; whoever breaks off, breaks off both."""
    writers = [near_writer]
    try:
        host, port = (await near.readline()).decode().strip().rsplit(":", 1)
        far, far_writer = await asyncio.open_connection(host, int(port))
        writers.append(far_writer)
        await asyncio.gather(copy(near, far_writer), copy(far, near_writer))
        for writer in writers:
            writer.close()
    except (OSError, ValueError):
        for writer in writers:
            writer.transport.abort()


async def main(namespace, path, near, far, seed):
    name = f"xg{os.getpid()}"
    near_device = tun(name, near, far)
    with open(f"/run/netns/{namespace}", encoding="ascii") as there:
        if ctypes.CDLL(None, use_errno=True).setns(there.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    link = Link((near_device, tun(name, far, near)), seed)
    await asyncio.start_unix_server(join, path)
    commands = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    print("ready", flush=True)
    while line := await commands.readline():
        told = json.loads(line)
        link.lost, link.delay = told["lost"], told["delayMs"] / 1000
        print("told", flush=True)


asyncio.run(main(*sys.argv[1:5], int(sys.argv[5])))
