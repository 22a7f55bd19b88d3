#!/usr/bin/env python3
"""A custom service that takes channels, with Python's standard library alone.

    service.py DIRECTORY NAME

It answers GET with who is asking, on its plain socket (requests that the gateway relays) and on channels (connections that the
gateway passes). docs/channels.md is the protocol; the numbers in brackets are the steps of "What a service must do" there.
"""

import json
import os
import re
import select
import signal
import socket
import struct
import sys
import threading
import urllib.parse

VERSION = 1
OFFER_BYTES_MAX = 65_536
RECEIVED_BYTES_MAX = 1_048_576
HEAD_BYTES_MAX = 16_384
MESSAGE_SECONDS = 5
IDLE_SECONDS = 75
REPORT_SECONDS = 5

HTTP_IN_DISGUISE = re.compile(r'(?:^|[\s,])(?:h2c?|http|tls)(?:[\s,/]|$)', re.I)


class Refused(Exception):
    """The channel cannot be taken; the text is what the gateway is told."""


class GivenUp(Exception):
    """The gateway has closed the control connection, and answered the client itself."""


# ── The first message ────────────────────────────────────────────────────────────────────────────────────────────────


def receive(control):
    """Receives the client's socket, the offer, and the bytes that the gateway had read [1]."""
    control.settimeout(MESSAGE_SECONDS)
    data, descriptors, flags, _ = socket.recv_fds(control, 4, 4, socket.MSG_CMSG_CLOEXEC)
    try:
        if not data:
            raise Refused('nothing came')
        if len(descriptors) != 1 or flags & socket.MSG_CTRUNC:
            raise Refused(f'{len(descriptors)} descriptors came, and 1 is taken')
        (length,) = struct.unpack('>I', data + receive_bytes(control, 4 - len(data)))
        if length > OFFER_BYTES_MAX:
            raise Refused(f'the offer has {length} bytes, and {OFFER_BYTES_MAX} are the most')
        offer = read_offer(receive_bytes(control, length))
        received = receive_bytes(control, offer['received'])
        # The message may have lain there for long.
        if is_readable(control, 0) and not control.recv(1, socket.MSG_PEEK):
            raise GivenUp
    except BaseException:
        for descriptor in descriptors:
            os.close(descriptor)
        raise
    return socket.socket(fileno=descriptors[0]), offer, received


def receive_bytes(control, count):
    """Receives exactly so many bytes. A descriptor among them would be discarded by recv, which is what we want."""
    parts = []
    while count > 0:
        part = control.recv(min(count, 65_536))
        if not part:
            raise Refused('the message ended early')
        parts.append(part)
        count -= len(part)
    return b''.join(parts)


def read_offer(text):
    try:
        offer = json.loads(text)
        if offer['version'] != VERSION:
            raise Refused(f'this side speaks version {VERSION} of the channel protocol')
        wanted = [(offer['service'], str), (offer['gateway'], str), (offer['methods'], list), (offer['received'], int)]
        wanted += [(offer['session'][name], str) for name in ('id', 'user')]
    except (ValueError, KeyError, TypeError):
        raise Refused('the offer lacks something') from None
    wanted += [(offer.setdefault('greeting', ''), str)]
    if not all(isinstance(value, kind) for value, kind in wanted) or not 0 <= offer['received'] <= RECEIVED_BYTES_MAX:
        raise Refused('the offer has something of a wrong type')
    return offer


# ── A channel ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Channel:
    """What is known about a passed connection."""

    def __init__(self, control, offer):
        self.control = control
        self.offer = offer
        self.requests = 0
        self.prefix = '/services/plugin/' + offer['service']
        self.is_over = threading.Event()

    def admits(self, method, target, fields):
        """Whether this service may answer the request itself [3]."""
        path = target.split('?', 1)[0]
        if path != self.prefix and not path.startswith(self.prefix + '/'):
            return False
        if method not in self.offer['methods']:
            return False
        if any(name == 'upgrade' and HTTP_IN_DISGUISE.search(value) for name, value in fields):
            return False
        cookie = session_in_cookies(fields)
        if cookie is not None:
            is_cross_site = ('sec-fetch-site', 'cross-site') in [(name, value.lower()) for name, value in fields]
            return cookie == self.offer['session']['id'] and not is_cross_site
        return session_in_query(target) == self.offer['session']['id']

    def watch(self, connection):
        """Tells of use, and ends the client's connection when the gateway ends the control connection [6, 7]."""
        told = (0, 0, 0)
        self.control.settimeout(None)
        while True:
            is_over = self.is_over.is_set()
            now = (self.requests, connection.bytes_in, connection.bytes_out)
            try:
                if now != told:
                    names = ('requests', 'bytesIn', 'bytesOut')
                    usage = {name: new - old for name, new, old in zip(names, now, told)}
                    self.control.sendall(json.dumps(usage).encode() + b'\n')
                    told = now
                if is_over:
                    break
                if is_readable(self.control, REPORT_SECONDS) and not self.control.recv(1) and not self.is_over.is_set():
                    break
            except OSError:
                break
        connection.shut()
        self.control.close()

    def end(self):
        """The client's connection is done: wakes `watch` for the last report."""
        self.is_over.set()
        try:
            self.control.shutdown(socket.SHUT_RD)
        except OSError:
            pass  # the gateway was first


def is_readable(sock, seconds=None):
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(None if seconds is None else seconds * 1000))


def session_in_cookies(fields):
    for name, value in fields:
        if name == 'cookie':
            for pair in value.split(';'):
                key, _, text = pair.strip().partition('=')
                if key == 'session_id':
                    return text
    return None


def session_in_query(target):
    for pair in target.partition('?')[2].split('&'):
        key, _, text = pair.partition('=')
        if urllib.parse.unquote(key) == 'session_id':
            return urllib.parse.unquote(text)
    return None


# ── HTTP ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Connection:
    """A connection with HTTP on it, with what was read and not used. The socket stays non-blocking for the gateway's copy:
    Python waits with poll when there is a timeout."""

    def __init__(self, sock, received=b''):
        self.sock = sock
        self.unread = received
        self.bytes_in = 0
        self.bytes_out = 0
        sock.settimeout(IDLE_SECONDS)

    def head(self):
        """Reads a request's head; None when the client has ended, or says what is no HTTP."""
        while b'\r\n\r\n' not in self.unread:
            part = b'' if len(self.unread) > HEAD_BYTES_MAX else self.sock.recv(65_536)
            if not part:
                return None
            self.unread += part
        return self.unread[: self.unread.index(b'\r\n\r\n') + 4]

    def skip(self, count):
        self.bytes_in += count
        self.unread = self.unread[count:]

    def send(self, data):
        self.sock.sendall(data)
        self.bytes_out += len(data)

    def shut(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it has ended already


def parse(head):
    """Method, target, version and fields of a head, or None."""
    line, *lines = head.decode('latin-1')[:-4].split('\r\n')
    start = re.fullmatch(r'([!#$%&\'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) HTTP/1\.([01])', line)
    fields = [re.fullmatch(r'([!#$%&\'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*', line) for line in lines]
    if start is None or not all(fields):
        return None
    return (*start.groups(), [(field[1].lower(), field[2]) for field in fields])


def serve_http(connection, channel=None):
    """Answers requests one after another [2]. What a channel must not answer goes to the gateway, with all that follows [4]."""
    while (head := connection.head()) is not None:
        request = parse(head)
        if request is None:
            connection.send(b'HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
            return
        method, target, minor, fields = request
        if channel is not None and not channel.admits(method, target, fields):
            splice(connection, channel.offer)
            return
        connection.skip(len(head))
        if channel is not None:
            channel.requests += 1
        named = dict(fields)
        # This service reads no bodies: a request that has one is the last on its connection.
        is_last = minor == '0' or 'close' in named.get('connection', '').lower() or has_body(named)
        connection.send(answer(method, who_asks(channel, named), is_last))
        if is_last:
            return


def has_body(named):
    return 'transfer-encoding' in named or named.get('content-length', '0') != '0'


def who_asks(channel, named):
    """The caller. On a channel the fields are the client's own words, and only the offer counts [5]."""
    if channel is not None:
        return channel.offer['session']['user']
    return urllib.parse.unquote(named.get('x-xen-session-user', ''))


def answer(method, user, is_last):
    status = '200 OK' if method == 'GET' else '405 Method Not Allowed\r\nAllow: GET'
    body = (f'hello {user}\n' if method == 'GET' else 'Use GET.\n').encode()
    last = 'Connection: close\r\n' if is_last else ''
    head = f'HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\n{last}\r\n'
    return head.encode() + body


def splice(connection, offer):
    """Connects the client to the gateway, from the request that is unread on. None of it is a use of this channel [6]."""
    with socket.socket(socket.AF_UNIX) as gateway:
        try:
            gateway.connect(offer['gateway'])
        except OSError:
            text = b'The gateway cannot be reached. Try again.\n'
            fields = b'Content-Type: text/plain\r\nRetry-After: 1\r\nConnection: close\r\n'
            head = b'HTTP/1.1 503 Service Unavailable\r\n%sContent-Length: %d\r\n\r\n' % (fields, len(text))
            connection.sock.sendall(head + text)
            return
        gateway.sendall(offer['greeting'].encode() + connection.unread)
        upstream = threading.Thread(target=copy, args=(connection, gateway), daemon=True)
        upstream.start()
        while data := gateway.recv(65_536):
            connection.sock.sendall(data)
        connection.shut()
        upstream.join()


def copy(connection, gateway):
    # Not settimeout(None): that clears O_NONBLOCK, which the gateway's copy shares.
    try:
        while is_readable(connection.sock) and (data := connection.sock.recv(65_536)):
            gateway.sendall(data)
        gateway.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # one of the two has ended


# ── Listening ────────────────────────────────────────────────────────────────────────────────────────────────────────


def serve_relayed(sock):
    with sock:
        serve_quietly(Connection(sock))


def serve_channel(control, name):
    try:
        client, offer, received = receive(control)
        if offer['service'] != name:
            client.close()
            raise Refused(f'this is {name}')
    except GivenUp:
        control.close()
        return
    except (Refused, OSError) as error:
        with control:
            try:
                control.sendall(json.dumps({'refused': str(error)}).encode() + b'\n')
            except OSError:
                pass  # the gateway has gone
        return
    with client:
        control.sendall(b'{"accepted":true}\n')
        connection, channel = Connection(client, received), Channel(control, offer)
        watcher = threading.Thread(target=channel.watch, args=(connection,), daemon=True)
        watcher.start()
        serve_quietly(connection, channel)
        channel.end()
        watcher.join()


def serve_quietly(connection, channel=None):
    try:
        serve_http(connection, channel)
    except OSError:
        pass  # the client has gone, or was idle for too long


def listen(path):
    """Listens on a Unix socket, in the place of a file that nobody listens on, with its mode set before anybody can connect."""
    server = socket.socket(socket.AF_UNIX)
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
            sys.exit(f'cannot listen on {path}: another program is listening there')
        except ConnectionRefusedError:
            os.unlink(path)
        except FileNotFoundError:
            pass
    server.bind(path)
    os.chmod(path, 0o660)
    server.listen(512)
    return server


def accept(server, handle, *more):
    while True:
        sock, _ = server.accept()
        threading.Thread(target=handle, args=(sock, *more), daemon=True).start()


def main():
    if len(sys.argv) != 3:
        print(f'usage: {sys.argv[0]} DIRECTORY NAME', file=sys.stderr)
        sys.exit(2)
    directory, name = sys.argv[1:]
    paths = [os.path.join(directory, name), os.path.join(directory, name + '.channel')]
    plain, channels = map(listen, paths)
    threading.Thread(target=accept, args=(plain, serve_relayed), daemon=True).start()
    threading.Thread(target=accept, args=(channels, serve_channel, name), daemon=True).start()
    print('ready', flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    for path in paths:
        os.unlink(path)


if __name__ == '__main__':
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main()
