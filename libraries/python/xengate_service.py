"""Custom services behind Xengate, in one file, with Python 3.6 or later and nothing else.

    import xengate_service

    def handler(request, response):
        response.end('hello %s\\n' % request.caller.user)

    xengate_service.serve('com.example.hello', handler)

It listens where the gateway looks, says who is asking, and takes clients' own connections from the gateway (channels; the protocol is
docs/channels.md of Xengate). A WSGI application takes the place of the handler: `serve('com.example.hello', wsgi=app)`.

Who does what, and who owns a connection:

    dispatcher   one thread, which never blocks: accepts, receives channels, waits for the heads of requests, tells the gateway of use,
                 cuts connections whose channel the gateway has ended. It alone closes sockets.
    workers      at most `threads`: each answers the requests of one connection, for as long as there are more of them at hand
    forwarders   at most one for each channel: carries a request that is not the channel's to the gateway, and the answer back

States of a connection, by who owns it:

    idle       dispatcher   waits for a request's head      -> busy: `_readable`    -> closed: `_expire`, `_revoke`, `_drain`
    busy       worker       a request is answered           -> idle, forwarding, lingering, closed: `_returned`
    forwarding forwarder    a request is with the gateway   -> idle, lingering, closed: `_returned`
    lingering  dispatcher   the answer is out, and what the client still sends is dropped, so that no reset overtakes it
                                                            -> closed: `_linger`, `_expire`
"""

import array
import collections
import errno
import grp
import http.client
import io
import json
import os
import pwd
import re
import select
import selectors
import signal
import socket
import stat
import struct
import sys
import threading
import time
import traceback
import urllib.parse
import wsgiref.util
from email.utils import formatdate

__all__ = ['serve', 'Service', 'ServiceError', 'Caller', 'Request', 'Response']
__version__ = '0.1.0'

DIRECTORY = '/var/xapi/plugin'
# Who the packages for hosts have the gateway's workers run as.
GATEWAY_USER = 'xengate'
PREFIX = '/services/plugin/'
CHANNEL_SUFFIX = '.channel'

# Of the channel protocol.
VERSION = 1
OFFER_BYTES_MAX = 65536
RECEIVED_BYTES_MAX = 1048576
MESSAGE_SECONDS = 5
REPORT_SECONDS = 5

# Of HTTP. A gateway takes heads of at most 1 MiB, and as many as that are forwarded.
HEAD_BYTES_MAX = 1048576
FIELDS_MAX = 2000
TRAILERS_BYTES_MAX = 65536
CHUNK_LINE_BYTES_MAX = 4096
HEAD_SECONDS = 60
IDLE_SECONDS = 75
BODY_SECONDS = 60
LINGER_SECONDS = 2

READ_BYTES = 65536
BUFFER_BYTES_MAX = 262144
BACKLOG = 512
# A worker that nobody else waits for stays so long with its connection.
STAY_SECONDS = 0.02

NAME = re.compile(r'[A-Za-z0-9_][A-Za-z0-9._-]{0,99}')
TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
REQUEST_LINE = re.compile(r'(%s) ([!-~]+) HTTP/([0-9]\.[0-9])' % TOKEN)
STATUS_LINE = re.compile(r'HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n\0]*)?')
FIELD_NAME = re.compile(TOKEN)
FIELD_VALUE = re.compile(r'[\t -~\x80-\xff]*')
LENGTH = re.compile(r'0*([0-9]{1,16})')
# Beyond this others lose digits.
LENGTH_MAX = 9007199254740991
# A host and an optional port, as the gateway reads them (RFC 9110, section 7.2).
HOST = re.compile(r"(?:(?:[A-Za-z0-9\-._~!$&'()*+,;=%]+|\[[A-Za-z0-9\-._~!$&'()*+,;=%:]+\])(?::[0-9]{0,5})?)?")
# What Connection must not name (RFC 9110, section 7.6.1).
NO_OPTIONS = frozenset(['content-length', 'transfer-encoding', 'host'])
QUOTED = r'"(?:[\t !#-[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
CHUNK_LINE = re.compile(
    (r'0*([0-9A-Fa-f]{1,14})(?:;[ \t]*%s(?:[ \t]*=[ \t]*(?:%s|%s))?[ \t]*)*' % (TOKEN, TOKEN, QUOTED)).encode('latin-1')
)
# Upgrades that would carry further requests, which the gateway would not see.
HTTP_IN_DISGUISE = re.compile(r'(?:^|[\s,])(?:h2c?|http|tls)(?:[\s,/]|$)', re.I)

IDENTITY_FIELDS = ('x-xen-session-user', 'x-xen-session-subject', 'x-xen-session-roles', 'x-xen-session-originator')
# What the gateway alone may write.
GATEWAY_FIELDS = frozenset(
    IDENTITY_FIELDS + ('x-forwarded-for', 'x-forwarded-proto', 'x-forwarded-host', 'x-request-id')
)
# With `_` for `-`, CGI and WSGI take these for the true ones.
DISGUISED_FIELDS = GATEWAY_FIELDS | {
    'content-length', 'transfer-encoding', 'keep-alive', 'proxy-connection', 'sec-fetch-site',
}  # fmt: skip
# Fields of an answer that are this library's to write.
OWN_FIELDS = frozenset(['connection', 'keep-alive', 'transfer-encoding', 'upgrade', 'te', 'trailer', 'proxy-connection'])
# White space in a Latin-1 text, as the gateway trims it.
SPACES = '\t\n\x0b\x0c\r \xa0'

UNREACHABLE = b'The gateway cannot be reached. Try again.\n'
UNREADABLE = b'The answer of the gateway cannot be read.\n'
FAILED = b'The service failed.\n'


class ServiceError(Exception):
    """The service cannot be started; the text says what to do."""


class Malformed(Exception):
    """What came is no HTTP that is understood here."""

    def __init__(self, status, text):
        Exception.__init__(self, text)
        self.status = status


class Refused(Exception):
    """A channel cannot be taken; the text is what the gateway is told."""


class GivenUp(Exception):
    """The gateway has ended the control connection, and answered the client itself."""


# ── Who is asking ────────────────────────────────────────────────────────────────────────────────────────────────────

Caller = collections.namedtuple('Caller', 'user subject roles originator session_id channel task')
Caller.__doc__ = """The caller of a request, as the gateway has established it. Whoever connects to the socket without the gateway is
nobody, with an empty `user` and no `roles`, unless they write the gateway's fields: who may connect is up to the socket's mode."""
Caller.user.__doc__ = 'The name that the user signed in with.'
Caller.subject.__doc__ = '`OpaqueRef:<uuid>`; `OpaqueRef:NULL` for root.'
Caller.roles.__doc__ = 'A tuple, from the highest.'
Caller.originator.__doc__ = 'What the client called itself when it logged in; often empty.'
Caller.session_id.__doc__ = "For calls of the XenAPI on the caller's behalf; None when the gateway keeps it back."
Caller.channel.__doc__ = "Whether the client's own connection was passed to this process."
Caller.task.__doc__ = "The query parameter `task_id`, which is the client's word; None without one."


def percent_decoded(text):
    """`text` without percent-encoding; empty when that is malformed."""
    if '%' not in text:
        return text
    if re.search('%(?![0-9A-Fa-f]{2})', text):
        return ''
    try:
        return urllib.parse.unquote(text, errors='strict')
    except UnicodeDecodeError:
        return ''


def session_in_cookie(value):
    for pair in value.split(';'):
        name, _, text = pair.strip(SPACES).partition('=')
        if name == 'session_id':
            return text
    return None


def parameter_in(target, parameter):
    """The first query parameter of that name, percent-decoded; None when there is none."""
    for pair in target.partition('?')[2].split('&'):
        name, _, text = pair.partition('=')
        if percent_decoded(name) == parameter:
            return percent_decoded(text)
    return None


def caller_of_fields(fields, target):
    """The caller of a request that the gateway relays."""
    found = {}
    session_id = None
    for name, value in fields:
        name = name.lower()
        if name == 'cookie' and session_id is None:
            session_id = session_in_cookie(value)
        elif name in IDENTITY_FIELDS:
            found[name] = value
    user, subject, roles, originator = [found.get(name, '') for name in IDENTITY_FIELDS]
    if session_id is None:
        session_id = parameter_in(target, 'session_id')
    return Caller(
        percent_decoded(user), percent_decoded(subject), tuple(roles.split(', ')) if roles else (),
        percent_decoded(originator), session_id, False, parameter_in(target, 'task_id') or None,
    )  # fmt: skip


def field_text(text):
    """Text as the value of a field: everything but visible ASCII and inner spaces percent-encoded, and `%`."""
    text = re.sub('[\ud800-\udfff]', '\ufffd', text)
    return re.sub(r'[^!-$&-~ ]|^ | \Z', lambda match: urllib.parse.quote(match.group(), safe=''), text)


# ── HTTP: heads and framing (RFC 9112) ───────────────────────────────────────────────────────────────────────────────


class Headers:
    """Fields in the order in which they came. Names are compared without case."""

    def __init__(self, fields):
        self._fields = list(fields)

    def get(self, name, default=None):
        """The first value of that name."""
        values = self.get_all(name)
        return values[0] if values else default

    def get_all(self, name):
        name = name.lower()
        return [value for key, value in self._fields if key.lower() == name]

    def items(self):
        return list(self._fields)

    def __contains__(self, name):
        return bool(self.get_all(name))

    def __getitem__(self, name):
        values = self.get_all(name)
        if not values:
            raise KeyError(name)
        return values[0]

    def __iter__(self):
        return iter([name for name, _ in self._fields])

    def __len__(self):
        return len(self._fields)


def fields_in(lines):
    if len(lines) > FIELDS_MAX:
        raise Malformed(431, 'there are more than %d fields' % FIELDS_MAX)
    fields = []
    for line in lines:
        name, colon, value = line.partition(':')
        if not colon or not is_field(name, value):
            raise Malformed(400, 'a field is malformed')
        fields.append((name, value.strip(' \t')))
    return fields


def is_field(name, value):
    return FIELD_NAME.fullmatch(name) is not None and FIELD_VALUE.fullmatch(value) is not None


def tokens_of(fields, name):
    """The members of the lists in all fields of that name, in lower case."""
    text = ','.join(value for key, value in fields if key.lower() == name)
    return [token.strip(' \t').lower() for token in text.split(',') if token.strip(' \t')]


def framing_of(fields, is_http10):
    """The framing of a message by its fields; None when they say nothing. There is one reading, or none."""
    lengths = [value for name, value in fields if name.lower() == 'content-length']
    codings = [value for name, value in fields if name.lower() == 'transfer-encoding']
    if codings:
        if lengths or is_http10:
            raise Malformed(400, 'Transfer-Encoding is not expected here')
        if len(codings) > 1 or codings[0].lower() != 'chunked':
            raise Malformed(501, 'the transfer coding is not known')
        return Framing.chunked()
    if not lengths:
        return None
    match = LENGTH.fullmatch(lengths[0])
    if len(lengths) > 1 or match is None or int(match.group(1)) > LENGTH_MAX:
        raise Malformed(400, 'Content-Length is malformed')
    return Framing.sized(int(match.group(1)))


class Framing:
    """Where a body ends, told step by step.

    state     the next bytes are                         then
    size      the line of a chunk's size                 data, or trailers after a size of 0
    data      payload, `left` of it (None: all that comes)   done, or after a chunk: data-end
    data-end  CR LF                                      size
    trailers  field lines up to an empty one             done
    done      of the next message
    """

    def __init__(self, state, left, is_chunked=False):
        self.state = state
        self.left = left
        self.is_chunked = is_chunked
        self.trailers = []
        self._looked = 0

    @classmethod
    def sized(cls, length):
        return cls('data' if length else 'done', length)

    @classmethod
    def chunked(cls):
        return cls('size', 0, True)

    @classmethod
    def endless(cls):
        return cls('data', None)

    @property
    def is_done(self):
        return self.state == 'done'

    def next(self, unread):
        """How many of the bytes at hand come next, and whether they are payload; 0 when more are needed."""
        if self.state == 'data':
            return (len(unread) if self.left is None else min(self.left, len(unread))), True
        if self.state == 'data-end':
            if unread[:2] != b'\r\n'[: len(unread)]:
                raise Malformed(400, 'a chunk is longer than its size')
            return (2 if len(unread) >= 2 else 0), False
        if self.state == 'size':
            return self._line(unread, CHUNK_LINE_BYTES_MAX, b'\r\n'), False
        if self.state == 'trailers':
            if unread[:2] == b'\r\n':
                return 2, False
            return self._line(unread, TRAILERS_BYTES_MAX, b'\r\n\r\n'), False
        return 0, False

    def _line(self, unread, limit, end):
        at = unread.find(end, max(0, self._looked - 3), limit)
        self._looked = 0 if at >= 0 else len(unread)
        if at < 0 and len(unread) >= limit:
            raise Malformed(400, 'the framing of a body is too long')
        return at + len(end) if at >= 0 else 0

    def advance(self, taken):
        """The bytes `taken`, or so many of them as `next` said, are done with."""
        if self.state == 'data':
            if self.left is not None:
                self.left -= len(taken)
                if self.left == 0:
                    self.state = 'data-end' if self.is_chunked else 'done'
        elif self.state == 'data-end':
            self.state = 'size'
        elif self.state == 'size':
            match = CHUNK_LINE.fullmatch(bytes(taken[:-2]))
            if match is None:
                raise Malformed(400, 'the size of a chunk is malformed')
            self.left = int(match.group(1), 16)
            if self.left > LENGTH_MAX:
                raise Malformed(400, 'the size of a chunk is malformed')
            self.state = 'data' if self.left else 'trailers'
        elif self.state == 'trailers':
            if len(taken) > 2:
                self.trailers = fields_in(bytes(taken[:-4]).decode('latin-1').split('\r\n'))
            self.state = 'done'


class Head:
    """A request's head. Raises Malformed."""

    def __init__(self, raw):
        self.raw = raw
        lines = raw[:-4].decode('latin-1').split('\r\n')
        start = REQUEST_LINE.fullmatch(lines[0])
        if start is None:
            raise Malformed(400, 'the request line is malformed')
        self.method, self.target, version = start.groups()
        if version not in ('1.0', '1.1'):
            raise Malformed(505, 'this is HTTP/1.1')
        self.is_http10 = version == '1.0'
        self.fields = fields_in(lines[1:])
        hosts = [value for name, value in self.fields if name.lower() == 'host']
        if len(hosts) > 1 or (not hosts and not self.is_http10) or HOST.fullmatch(''.join(hosts)) is None:
            raise Malformed(400, 'there is to be one Host, and a host')
        self.framing = framing_of(self.fields, self.is_http10) or Framing.sized(0)
        self.has_body = not self.framing.is_done
        options = tokens_of(self.fields, 'connection')
        if NO_OPTIONS.intersection(options):
            raise Malformed(400, 'Connection names what is no option')
        self.is_kept = 'keep-alive' in options and 'close' not in options if self.is_http10 else 'close' not in options
        expects = [value.lower() for name, value in self.fields if name.lower() == 'expect']
        self.expects = expects if not self.is_http10 else []
        if self.expects not in ([], ['100-continue']):
            raise Malformed(417, 'only one 100-continue can be expected')
        self.upgrade = ', '.join(tokens_of(self.fields, 'upgrade'))


# ── A connection ─────────────────────────────────────────────────────────────────────────────────────────────────────


def wait(sock, event, seconds):
    """Whether `sock` is ready, or broken, in time. Not by a timeout of the socket's, which would change flags that the gateway's copy
    shares."""
    poll = select.poll()
    poll.register(sock, event)
    return bool(poll.poll(seconds * 1000))


class Connection:
    """A connection with HTTP on it, and what was read from it and not used."""

    def __init__(self, sock, channel=None, received=b''):
        sock.setblocking(False)
        self.sock = sock
        self.channel = channel
        # Whether somebody else than the gateway has connected, whose word about callers is worth nothing.
        self.is_stranger = False
        self.unread = bytearray(received)
        self.state = 'idle'
        self.deadline = None
        # Whether the client has gone, or breaks off in the middle of a body.
        self.is_broken = False
        self._looked = 0
        self._has_skipped = False

    def fill(self, seconds):
        """Reads more, and waits for it; False at the end."""
        while True:
            try:
                data = self.sock.recv(READ_BYTES)
            except BlockingIOError:
                if not wait(self.sock, select.POLLIN, seconds):
                    raise TimeoutError(errno.ETIMEDOUT, 'the client sends nothing') from None
                continue
            self.unread += data
            return bool(data)

    def send(self, data, is_use=True):
        view = memoryview(data)
        while view:
            try:
                count = self.sock.send(view)
            except BlockingIOError:
                if not wait(self.sock, select.POLLOUT, BODY_SECONDS):
                    self.is_broken = True
                    raise TimeoutError(errno.ETIMEDOUT, 'the client takes nothing') from None
                continue
            except OSError:
                self.is_broken = True
                raise
            view = view[count:]
            if is_use and self.channel is not None:
                self.channel.bytes_out += count

    def take(self, count):
        taken = bytes(self.unread[:count])
        del self.unread[:count]
        return taken

    def has_head(self):
        """Whether a whole head is there, or too much for one."""
        if not self._has_skipped and self.unread[:2] == b'\r\n':
            del self.unread[:2]  # one empty line (RFC 9112, section 2.2)
            self._has_skipped = True
        if self.unread.find(b'\r\n\r\n', max(0, self._looked - 3)) >= 0 or len(self.unread) > HEAD_BYTES_MAX:
            return True
        self._looked = len(self.unread)
        return False

    def take_head(self):
        """The bytes of the next request's head; None when it is not whole. Raises Malformed."""
        if not self.has_head():
            return None
        self._looked = 0
        self._has_skipped = False
        at = self.unread.find(b'\r\n\r\n')
        if at < 0 or at + 4 > HEAD_BYTES_MAX:
            raise Malformed(431, 'the head is longer than %d bytes' % HEAD_BYTES_MAX)
        return self.take(at + 4)

    def answer_plain(self, status, text, fields='', is_last=True):
        """Answers without a handler."""
        lines = 'HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n%s%s\r\n' % (
            status, http.client.responses.get(status, ''), len(text), fields, 'Connection: close\r\n' if is_last else '',
        )  # fmt: skip
        self.send(lines.encode('latin-1') + text, is_use=False)

    def cut(self):
        """Ends it for whoever uses it."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it has ended already

    def reset(self):
        """Ends it so that nobody takes for whole what was sent."""
        try:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        except OSError:
            pass  # as above


# ── Requests and answers ─────────────────────────────────────────────────────────────────────────────────────────────


class Body(io.RawIOBase):
    """A request's body, read from its connection as it is wanted. One that breaks off raises ConnectionError: its end is no end."""

    def __init__(self, connection, head):
        io.RawIOBase.__init__(self)
        self._connection = connection
        self._framing = head.framing
        self._is_expected = head.has_body and '100-continue' in head.expects
        self.malformed = None

    @property
    def is_expected(self):
        """Whether the client waits to be told to send it."""
        return self._is_expected and not self._framing.is_done

    @property
    def trailers(self):
        return [field for field in self._framing.trailers if not is_gateways(field[0])]

    def readable(self):
        return True

    def readinto(self, target):
        connection, framing = self._connection, self._framing
        while not framing.is_done:
            try:
                count, is_payload = framing.next(connection.unread)
                if count == 0:
                    self._fill()
                    continue
                taken = connection.take(min(count, len(target)) if is_payload else count)
                framing.advance(taken)
            except Malformed as error:
                self.malformed = error
                raise ConnectionError(errno.EPROTO, 'the body is malformed: %s' % error) from error
            except OSError:
                connection.is_broken = True
                raise
            if connection.channel is not None:
                connection.channel.bytes_in += len(taken)
            if is_payload:
                target[: len(taken)] = taken
                return len(taken)
        return 0

    def _fill(self):
        if self._is_expected:
            self._is_expected = False
            self._connection.send(b'HTTP/1.1 100 Continue\r\n\r\n')
        if not self._connection.fill(BODY_SECONDS):
            raise ConnectionError(errno.ECONNRESET, 'the body broke off')

    def skip(self):
        """Reads what is left of it, so that none of it is taken for a request."""
        rest = bytearray(READ_BYTES)
        while self.readinto(rest):
            pass


class Request:
    """A request as the handler gets it.

    `method`, `target` as it came, `path` and `query` of it (still percent-encoded), `version` ('1.1'), `headers`, `caller`, and `body`:
    a binary stream (`read`, `read1`, `readline`, iteration) over the body, whatever its framing.
    """

    def __init__(self, head, fields, caller, raw_body):
        self.method = head.method
        self.target = head.target
        self.path, _, self.query = head.target.partition('?')
        self.version = '1.0' if head.is_http10 else '1.1'
        self.headers = Headers(fields)
        self.caller = caller
        self.body = io.BufferedReader(raw_body, READ_BYTES)
        self._raw_body = raw_body

    @property
    def trailers(self):
        """The fields after a body in chunks; complete when the body was read to its end."""
        return Headers(self._raw_body.trailers)


class Response:
    """The answer: `end(data)` says it whole, or `write(data)` piece by piece, each of which goes out at once.

    What has no Content-Length is sent in chunks. When the handler returns without `end`, the answer ends there.
    """

    def __init__(self, connection, head, raw_body, is_draining):
        self.is_started = False
        self.is_ended = False
        self._connection = connection
        self._head = head
        self._raw_body = raw_body
        self.is_kept = head.is_kept
        self._is_draining = is_draining
        self._status = '200 OK'
        self._fields = []
        self._left = None
        self._is_chunked = False
        self._has_no_body = False

    def start(self, status, headers=()):
        """Sets status (a number, or text as '404 Not Found') and fields (pairs), in place of those set before. They go out with the first
        byte of the body, or at `flush`. Raises ValueError for what cannot be said, RuntimeError when they are out."""
        if self.is_started:
            raise RuntimeError('cannot start the answer: its head has been sent')
        text = '%d %s' % (status, http.client.responses.get(status, '')) if isinstance(status, int) else status
        if re.fullmatch(r'[2-5][0-9]{2}(?: [\t -~\x80-\xff]*)?', text) is None:
            raise ValueError('cannot answer with the status %r' % (status,))
        checked = []
        for name, value in headers:
            if not is_field(name, value) or name.lower() in OWN_FIELDS:
                raise ValueError('cannot send the field %r' % (name,))
            checked.append((name, value))
        lengths = [value for name, value in checked if name.lower() == 'content-length']
        if lengths and (len(lengths) > 1 or LENGTH.fullmatch(lengths[0]) is None):
            raise ValueError('cannot send this Content-Length')
        self._status, self._fields = text, checked

    def flush(self):
        """Sends the head."""
        if not self.is_started:
            self._connection.send(self._start(None))

    def write(self, data):
        """Sends a piece: bytes, or text, which goes as UTF-8."""
        data = self._bytes(data)
        head = b'' if self.is_started else self._start(None)
        self._connection.send(head + self._framed(data))

    def end(self, data=b''):
        """Sends the last piece. Raises RuntimeError when Content-Length promised more."""
        data = self._bytes(data)
        head = b'' if self.is_started else self._start(len(data))
        out = head + self._framed(data)
        if self._left:
            raise RuntimeError('cannot end the answer: %d bytes of its Content-Length are missing' % self._left)
        self.is_ended = True
        self._connection.send(out + (b'0\r\n\r\n' if self._is_chunked else b''))

    def _bytes(self, data):
        if self.is_ended:
            raise RuntimeError('cannot write: the answer has ended')
        if isinstance(data, str):
            if not self.is_started and not any(name.lower() == 'content-type' for name, _ in self._fields):
                self._fields.append(('Content-Type', 'text/plain; charset=utf-8'))
            return data.encode('utf-8')
        return bytes(data)

    def _start(self, length):
        """The bytes of the head. @param length of the body, None when it is not known"""
        head, fields = self._head, list(self._fields)
        given = [value for name, value in fields if name.lower() == 'content-length']
        status = int(self._status[:3])
        is_empty = status in (204, 304)
        if status == 204:
            fields = [field for field in fields if field[0].lower() != 'content-length']
        if given:
            self._left = int(given[0])
        elif length is not None:
            self._left = length
            if not is_empty:
                fields.append(('Content-Length', str(length)))
        elif not is_empty and not head.is_http10:
            self._is_chunked = True
            fields.append(('Transfer-Encoding', 'chunked'))
        elif not is_empty and head.method != 'HEAD':
            self.is_kept = False
        if is_empty or head.method == 'HEAD':
            self._left = None
            self._is_chunked = False
            self._has_no_body = True
        # Nobody can say whether a body follows that the client was not told to send.
        if self._raw_body.is_expected or self._is_draining():
            self.is_kept = False
        if not any(name.lower() == 'date' for name, _ in fields):
            fields.append(('Date', formatdate(usegmt=True)))
        if not self.is_kept:
            fields.append(('Connection', 'close'))
        elif head.is_http10:
            fields.append(('Connection', 'keep-alive'))
        self.is_started = True
        lines = ''.join('%s: %s\r\n' % field for field in fields)
        return ('HTTP/1.1 %s\r\n%s\r\n' % (self._status, lines)).encode('latin-1')

    def _framed(self, data):
        if self._has_no_body or not data:
            return b''
        if self._left is not None:
            if len(data) > self._left:
                raise RuntimeError('cannot write: the answer is longer than its Content-Length')
            self._left -= len(data)
        return b'%x\r\n%s\r\n' % (len(data), data) if self._is_chunked else data


# ── WSGI (PEP 3333) ──────────────────────────────────────────────────────────────────────────────────────────────────


def handler_of_wsgi(app, name):
    """A handler that calls the WSGI application `app`."""

    def handler(request, response):
        written = []

        def start_response(status, headers, exc_info=None):
            if exc_info is not None:
                try:
                    if response.is_started:
                        raise exc_info[1].with_traceback(exc_info[2])
                finally:
                    exc_info = None
            elif written:
                raise RuntimeError('cannot start the answer: start_response was called before')
            response.start(status, headers)
            written.append(status)
            return response.write

        result = app(environ_of(request, name), start_response)
        try:
            is_whole = isinstance(result, (list, tuple)) and len(result) == 1 and not response.is_started
            for piece in result:
                if not written:
                    raise RuntimeError('cannot answer: start_response was not called')
                if is_whole:
                    response.end(piece)
                elif piece:
                    response.write(piece)
            if not written:
                raise RuntimeError('cannot answer: start_response was not called')
        finally:
            if hasattr(result, 'close'):
                result.close()

    return handler


def environ_of(request, name):
    prefix = PREFIX + name
    is_below = request.path == prefix or request.path.startswith(prefix + '/')
    path = request.path[len(prefix) :] if is_below else request.path
    headers, caller = request.headers, request.caller
    host, port = re.fullmatch(r'(.*?)(?::([0-9]*))?', headers.get('host', '')).groups()
    scheme = 'https' if headers.get('x-forwarded-proto') == 'https' else 'http'
    environ = {
        'REQUEST_METHOD': request.method,
        'SCRIPT_NAME': prefix if is_below else '',
        'PATH_INFO': urllib.parse.unquote_to_bytes(path).decode('latin-1'),
        'QUERY_STRING': request.query,
        'REQUEST_URI': request.target,
        'SERVER_NAME': host or 'localhost',
        'SERVER_PORT': port or ('443' if scheme == 'https' else '80'),
        'SERVER_PROTOCOL': 'HTTP/' + request.version,
        'SERVER_SOFTWARE': 'xengate_service/' + __version__,
        'REMOTE_ADDR': headers.get('x-forwarded-for', ''),
        'REMOTE_USER': caller.user.encode('utf-8', 'replace').decode('latin-1'),
        'wsgi.version': (1, 0),
        'wsgi.url_scheme': scheme,
        'wsgi.input': request.body,
        'wsgi.input_terminated': True,
        'wsgi.errors': sys.stderr,
        'wsgi.multithread': True,
        'wsgi.multiprocess': False,
        'wsgi.run_once': False,
        'wsgi.file_wrapper': wsgiref.util.FileWrapper,
        'xengate.caller': caller,
    }
    for key, value in headers.items():
        key = key.lower()
        if '_' in key:
            continue  # it would be taken for another
        key = key.upper().replace('-', '_')
        key = key if key in ('CONTENT_TYPE', 'CONTENT_LENGTH') else 'HTTP_' + key
        if key in environ:
            value = environ[key] + ('; ' if key == 'HTTP_COOKIE' else ',') + value
        environ[key] = value
    return environ


# ── Channels: the first message ──────────────────────────────────────────────────────────────────────────────────────


class Arrival:
    """A control connection whose first message is under way."""

    def __init__(self, control):
        control.setblocking(False)
        self.control = control
        self.deadline = time.monotonic() + MESSAGE_SECONDS
        self.client = None
        self.offer = None
        self.data = bytearray()
        self.is_refused = False
        self._wanted = 4

    def read(self):
        """Reads what has come; whether the message is whole. Raises Refused, and GivenUp."""
        while len(self.data) < self._wanted:
            try:
                part = self._receive(self._wanted - len(self.data))
            except BlockingIOError:
                return False
            if not part:
                raise Refused('the message ended early')
            self.data += part
            if len(self.data) == self._wanted:
                self._step()
        try:
            # The message may have lain there for long.
            if not self.control.recv(1, socket.MSG_PEEK):
                raise GivenUp
        except BlockingIOError:
            pass
        except OSError:
            raise GivenUp from None
        return True

    def _receive(self, count):
        if self.client is not None:
            return self.control.recv(min(count, READ_BYTES))
        space = socket.CMSG_SPACE(4 * array.array('i').itemsize)
        data, ancillary, flags, _ = self.control.recvmsg(count, space, socket.MSG_CMSG_CLOEXEC)
        descriptors = array.array('i')
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(payload[: len(payload) - len(payload) % descriptors.itemsize])
        if data and len(descriptors) == 1 and not flags & socket.MSG_CTRUNC:
            self.client = stream_socket(descriptors[0])
            return data
        for descriptor in descriptors:
            os.close(descriptor)
        raise Refused('%d descriptors came, and 1 is taken' % len(descriptors) if data else 'nothing came')

    def _step(self):
        """The next part of the message is there."""
        if self.offer is not None:
            return
        if self._wanted == 4:
            (length,) = struct.unpack('>I', self.data)
            if length > OFFER_BYTES_MAX:
                raise Refused('the offer has %d bytes, and %d are the most' % (length, OFFER_BYTES_MAX))
            self._wanted += length
            if length == 0:
                raise Refused('the offer is empty')
        else:
            self.offer = read_offer(bytes(self.data[4:]))
            self.data.clear()
            self._wanted = self.offer['received']

    def refuse(self, why):
        """Tells the gateway why. What it still sends has to be read, or it would see a reset before this."""
        self.is_refused = True
        self.deadline = time.monotonic() + LINGER_SECONDS
        if self.client is not None:
            self.client.close()
        try:
            self.control.send(json.dumps({'refused': why}).encode('ascii') + b'\n')
            self.control.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the gateway has gone

    def has_ended(self):
        """Drops what has come; whether the gateway has ended the connection."""
        try:
            return not self.control.recv(READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self):
        if self.client is not None:
            self.client.close()
        self.control.close()


def stream_socket(descriptor):
    """A socket object of a descriptor, which Python 3.6 does not ask the system about."""
    try:
        with socket.socket(fileno=os.dup(descriptor)) as probe:
            kind = probe.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)
            family = probe.getsockopt(socket.SOL_SOCKET, 39)  # SO_DOMAIN
        if kind != socket.SOCK_STREAM:
            raise OSError(errno.EPROTOTYPE, 'no stream')
        return socket.socket(family, kind, 0, fileno=descriptor)
    except OSError:
        os.close(descriptor)
        raise Refused('the descriptor that came is no stream socket') from None


def read_offer(text):
    try:
        offer = json.loads(text.decode('utf-8'))
        if offer['version'] != VERSION:
            raise Refused('this side speaks version %d of the channel protocol' % VERSION)
        session, client = offer['session'], offer['client']
        offer.setdefault('greeting', '')
        offer.setdefault('proto', 'http')
        names = [offer['channel'], offer['service'], offer['gateway'], session['id']]
        texts = [session[name] for name in ('user', 'subject', 'originator')]
        texts += [client['address'], offer['greeting'], offer['proto']] + session['roles'] + offer['methods']
        received = offer['received']
        is_valid = all(isinstance(text, str) for text in names + texts) and all(names)
        is_valid = is_valid and isinstance(session['roles'], list) and isinstance(offer['methods'], list)
        is_valid = is_valid and type(received) is int and 0 <= received <= RECEIVED_BYTES_MAX
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Refused('the offer lacks something') from None
    if not is_valid:
        raise Refused('the offer has something of a wrong type')
    return offer


# ── Channels: which requests are theirs ──────────────────────────────────────────────────────────────────────────────


def is_gateways(name):
    """Whether a client may not send the field."""
    name = name.lower()
    return name in GATEWAY_FIELDS or ('_' in name and name.replace('_', '-') in DISGUISED_FIELDS)


class Channel:
    """What is known about a passed connection."""

    def __init__(self, control, offer):
        self.control = control
        self.offer = offer
        self.is_revoked = False
        self.requests = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self._told = (0, 0, 0)
        self._unsent = b''
        self._next_request = 0
        self._prefix = PREFIX + offer['service']
        # A connection to the gateway that is kept for the next request to forward.
        self.way_back = None
        session = offer['session']
        self._session_id = session['id']
        self.caller = Caller(
            session['user'], session['subject'], tuple(session['roles']), session['originator'], session['id'], True, None
        )
        texts = [session['user'], session['subject'], None, session['originator']]
        names = ('X-Xen-Session-User', 'X-Xen-Session-Subject', 'X-Xen-Session-Roles', 'X-Xen-Session-Originator')
        self._fields = [
            (name, ', '.join(session['roles']) if text is None else field_text(text)) for name, text in zip(names, texts)
        ]
        if offer['client']['address']:
            self._fields.append(('X-Forwarded-For', offer['client']['address']))
        self._fields.append(('X-Forwarded-Proto', offer['proto']))

    def admits(self, head):
        """Whether the request is this service's to answer, and this session's."""
        rest = head.target[len(self._prefix) :]
        # Servers differ on whether a `#` ends the path: the gateway refuses it.
        if not head.target.startswith(self._prefix) or rest[:1] not in ('', '/', '?') or '#' in rest:
            return False
        if head.method not in self.offer['methods'] or HTTP_IN_DISGUISE.search(head.upgrade):
            return False
        session_id = None
        is_cross_site = False
        for name, value in head.fields:
            name = name.lower()
            if name == 'cookie' and session_id is None:
                session_id = session_in_cookie(value)
            elif name == 'sec-fetch-site' and value.lower() == 'cross-site':
                is_cross_site = True
        if session_id is not None:
            # A cookie that a page of another site made a browser send proves nothing.
            return session_id == self._session_id and not is_cross_site
        return parameter_in(head.target, 'session_id') == self._session_id

    def fields_for(self, head):
        """The request's fields without what the client may have forged, and with the gateway's."""
        kept = [field for field in head.fields if not is_gateways(field[0])] + self._fields
        host = Headers(head.fields).get('host')
        if host is not None:
            kept.append(('X-Forwarded-Host', host))
        kept.append(('X-Request-Id', '%s-%d' % (self.offer['channel'], self._next_request)))
        self._next_request += 1
        return kept

    def report(self):
        """Tells the gateway of use since the last time, which keeps the caller's session alive. What it does not take now, it is told
        later."""
        now = (self.requests, self.bytes_in, self.bytes_out)
        if not self._unsent and now != self._told:
            names = ('requests', 'bytesIn', 'bytesOut')
            usage = {name: new - old for name, new, old in zip(names, now, self._told)}
            self._unsent = json.dumps(usage).encode('ascii') + b'\n'
            self._told = now
        try:
            if self._unsent:
                self._unsent = self._unsent[self.control.send(self._unsent) :]
        except OSError:
            pass  # it does not keep up, or has gone

    def close(self):
        if self.way_back is not None:
            self.way_back.close()
        self.report()
        self.control.close()


# ── Channels: what is forwarded ──────────────────────────────────────────────────────────────────────────────────────


class Answers:
    """The gateway's answers to one request, passed on as they came: interim ones, and the final one to its end."""

    def __init__(self, method, is_tunnel):
        self._method = method
        self._framing = Framing.endless() if is_tunnel else None
        self.unread = bytearray()
        self.has_begun = False
        self.is_kept = not is_tunnel

    @property
    def is_done(self):
        return self._framing is not None and self._framing.is_done

    @property
    def is_endless(self):
        """Whether the answer ends with the gateway's connection."""
        return self._framing is not None and self._framing.left is None and self._framing.state == 'data'

    def pass_on(self, out):
        """Appends to `out` what is the answer's of the bytes at hand. Raises Malformed."""
        try:
            self._pass_on(out)
        except Malformed as error:
            raise Malformed(502, str(error)) from error

    def _pass_on(self, out):
        while not self.is_done:
            if self._framing is None:
                at = self.unread.find(b'\r\n\r\n')
                if at < 0:
                    if len(self.unread) > HEAD_BYTES_MAX:
                        raise Malformed(502, 'the head of the answer is too long')
                    return
                self._framing = self._framing_of(bytes(self.unread[:at]))
                count = at + 4
            else:
                count, _ = self._framing.next(self.unread)
                if count == 0:
                    return
                self._framing.advance(self.unread[:count])
            out += self.unread[:count]
            del self.unread[:count]
            self.has_begun = True

    def _framing_of(self, head):
        """The framing of the final answer; None when the head is an interim one's."""
        lines = head.decode('latin-1').split('\r\n')
        start = STATUS_LINE.fullmatch(lines[0])
        if start is None:
            raise Malformed(502, 'the gateway answers with what is no HTTP')
        status = int(start.group(2))
        if 100 <= status < 200 and status != 101:
            return None
        fields = fields_in(lines[1:])
        is_http10 = start.group(1) == '0'
        self.is_kept = not is_http10 and 'close' not in tokens_of(fields, 'connection')
        if status == 101 or (self._method == 'CONNECT' and status < 300):
            self.is_kept = False
            return Framing.endless()
        if self._method == 'HEAD' or status in (204, 304):
            return Framing.sized(0)
        framing = framing_of(fields, is_http10)
        if framing is None:
            self.is_kept = False
        return framing or Framing.endless()


class Forwarding:
    """One request on its way to the gateway, and the answer on its way back, both at once."""

    def __init__(self, connection, head, on_error):
        self._connection = connection
        self._channel = connection.channel
        self._head = head
        self._on_error = on_error
        # All that follows is the gateway's, too, when the connection may become something else.
        self._is_tunnel = (bool(head.upgrade) and not head.has_body) or head.method == 'CONNECT'
        self._body = Framing.endless() if self._is_tunnel else head.framing

    def run(self):
        """Carries both; the outcome for the client's connection."""
        is_repeatable = self._head.method in ('GET', 'HEAD') and not self._head.has_body
        gateway, is_kept = self._connect()
        while gateway is not None:
            answers = Answers(self._head.method, self._is_tunnel)
            try:
                return self._exchange(gateway, b'' if is_kept else self._channel.offer['greeting'].encode('latin-1'), answers)
            except Malformed as error:
                gateway.close()
                if answers.has_begun:
                    return 'reset'
                if error.status != 502:
                    self._connection.answer_plain(error.status, str(error).encode() + b'\n')
                    return 'linger'
                self._tell(error)
                return self._fail(502, UNREADABLE)
            except GatewayGone as error:
                gateway.close()
                if answers.has_begun:
                    return 'reset'
                if not is_kept:
                    self._tell(error)
                    return self._fail(503, UNREACHABLE, 'Retry-After: 1\r\n')
                if not is_repeatable:
                    # For the client it is as if its own connection had ended, and it may try again.
                    return 'close'
                gateway, is_kept = self._connect()
            except BaseException:
                gateway.close()
                raise
        return self._fail(503, UNREACHABLE, 'Retry-After: 1\r\n')

    def _connect(self):
        gateway, self._channel.way_back = self._channel.way_back, None
        if gateway is not None:
            if not wait(gateway, select.POLLIN, 0):
                return gateway, True
            gateway.close()  # it has ended meanwhile
        gateway = socket.socket(socket.AF_UNIX)
        try:
            # To a Unix socket this takes no time, but when the queue is full.
            gateway.settimeout(MESSAGE_SECONDS)
            gateway.connect(self._channel.offer['gateway'])
            gateway.setblocking(False)
        except OSError as error:
            gateway.close()
            self._tell(error)
            return None, False
        return gateway, False

    def _tell(self, error):
        self._on_error('cannot forward a request to %s' % self._channel.offer['gateway'], error)

    def _fail(self, status, text, fields=''):
        """Answers for the gateway, and reads what is left of the body."""
        is_last = self._is_tunnel or not self._head.is_kept or bool(self._head.expects)
        self._connection.answer_plain(status, text, fields, is_last)
        return 'linger' if is_last else self._skip_body()

    def _skip_body(self):
        unread = self._connection.unread
        while not self._body.is_done:
            count, _ = self._body.next(unread)
            if count == 0:
                if not self._connection.fill(BODY_SECONDS):
                    return 'close'
                continue
            self._body.advance(self._connection.take(count))
        return 'idle'

    def _exchange(self, gateway, greeting, answers):
        client = self._connection.sock
        to_gateway, to_client = bytearray(greeting + self._head.raw), bytearray()
        has_client_ended = False
        while True:
            self._take_body(to_gateway)
            answers.pass_on(to_client)
            is_sent = self._body.is_done and not to_gateway
            # The gateway may answer before it has read the body, and read it still.
            if answers.is_done and not to_client and (is_sent or self._head.expects or not answers.is_kept):
                break
            wants_body = not self._body.is_done and not has_client_ended and len(to_gateway) < BUFFER_BYTES_MAX
            wants_answer = len(to_client) < BUFFER_BYTES_MAX
            poll = select.poll()
            poll.register(client, (select.POLLIN if wants_body else 0) | (select.POLLOUT if to_client else 0))
            if wants_answer or to_gateway:  # else its end would be told again and again
                poll.register(gateway, (select.POLLIN if wants_answer else 0) | (select.POLLOUT if to_gateway else 0))
            ready = dict(poll.poll())
            of_client, of_gateway = ready.get(client.fileno(), 0), ready.get(gateway.fileno(), 0)
            if of_gateway & select.POLLOUT and to_gateway:
                send_some(gateway, to_gateway, GatewayGone if not answers.has_begun else None)
                if not to_gateway and has_client_ended:
                    gateway.shutdown(socket.SHUT_WR)
            if of_gateway & ~select.POLLOUT and wants_answer:
                if answers.is_done:
                    answers.is_kept = False  # it has ended; whatever it says is no answer
                elif not receive_some(gateway, answers.unread):
                    if not answers.is_endless:
                        raise GatewayGone('the gateway has ended the connection')
                    gateway.close()
                    self._connection.send(to_client, is_use=False)
                    return 'linger'
            if of_client & select.POLLOUT and to_client:
                del to_client[: client.send(to_client)]
            if wants_body and of_client & ~select.POLLOUT:
                if not self._connection.fill(0):
                    has_client_ended = True
                    if not self._is_tunnel and not self._take_body(to_gateway):
                        raise ConnectionError(errno.ECONNRESET, 'the client has gone')
                    if not to_gateway:
                        gateway.shutdown(socket.SHUT_WR)
            elif of_client & (select.POLLERR | select.POLLHUP):
                raise ConnectionError(errno.ECONNRESET, 'the client has gone')
        return self._ended(gateway, answers, to_gateway)

    def _take_body(self, to_gateway):
        """Moves what has come of the body; whether all has."""
        unread = self._connection.unread
        while not self._body.is_done and len(to_gateway) < BUFFER_BYTES_MAX:
            count, _ = self._body.next(unread)
            if count == 0:
                break
            taken = self._connection.take(count)
            self._body.advance(taken)
            to_gateway += taken
        return self._body.is_done

    def _ended(self, gateway, answers, to_gateway):
        """The answer is out: what becomes of both connections."""
        if not self._body.is_done or to_gateway:
            gateway.close()
            if self._head.expects or not self._head.is_kept or not answers.is_kept:
                return 'linger'
            return self._skip_body()
        if answers.is_kept and self._head.is_kept:
            self._channel.way_back = gateway
            return 'idle'
        gateway.close()
        return 'linger'


class GatewayGone(Exception):
    """The connection to the gateway has ended."""


def send_some(sock, data, gone):
    try:
        del data[: sock.send(data)]
    except BlockingIOError:
        pass
    except OSError as error:
        if gone is not None and not wait(sock, select.POLLIN, 0):
            raise gone(str(error)) from error
        del data[:]  # it has answered, and does not read on


def receive_some(sock, data):
    try:
        part = sock.recv(READ_BYTES)
    except BlockingIOError:
        return True
    except OSError as error:
        raise GatewayGone(str(error)) from error
    data += part
    return bool(part)


# ── Listening ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Listener:
    """A socket to listen on. `path` is None when it was given, and its file is somebody else's matter."""

    def __init__(self, sock, path):
        self.sock = sock
        self.path = path
        self._inode = None if path is None else os.lstat(path).st_ino
        sock.setblocking(False)

    def remove_file(self):
        """Removes its file, if it is still this socket's."""
        if self.path is None:
            return
        try:
            if os.lstat(self.path).st_ino == self._inode:
                os.unlink(self.path)
        except OSError:
            pass  # gone, or not ours to remove


def bind(path, mode, gid):
    """Binds a socket in the place of one that nobody listens on. Raises ServiceError."""
    if len(os.fsencode(path)) > 107:
        raise ServiceError('cannot listen on %s: the path is longer than 107 bytes' % path)
    remove_stale(path)
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.bind(path)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            why = 'another program has just taken it'
        elif error.errno == errno.EACCES:
            why = 'this user may not write to %s' % os.path.dirname(path)
        else:
            why = os.strerror(error.errno or 0)
        raise ServiceError('cannot listen on %s: %s' % (path, why)) from error
    # Nobody can connect before somebody listens, and that comes after this.
    try:
        if gid is not None:
            os.chown(path, -1, gid)
        os.chmod(path, mode)
    except OSError as error:
        os.unlink(path)
        sock.close()
        raise ServiceError('cannot set mode and group of %s: %s' % (path, error.strerror)) from error
    return Listener(sock, path)


def remove_stale(path):
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ServiceError('cannot listen on %s: a file that is no socket is there; remove it' % path)
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except FileNotFoundError:
            return
        except OSError:
            pass  # its queue is full: somebody is there
    raise ServiceError(
        'cannot listen on %s: another program is listening there; stop it first, or choose another name' % path
    )


def given_listeners():
    """The sockets that systemd has opened for this process, plain and for channels, either of which may be None; None when there are
    none (sd_listen_fds(3)). The one for channels is told by a FileDescriptorName, or else a path, that ends in `.channel`."""
    # They are this process's only; a child could take them for its own.
    pid, count, names = [os.environ.pop(name, '') for name in ('LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES')]
    if pid != str(os.getpid()) or not count.isdigit() or int(count) < 1:
        return None
    names = names.split(':') + [''] * int(count)
    given = {}
    for index in range(int(count)):
        os.set_inheritable(3 + index, False)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=3 + index)
        path = sock.getsockname()
        path = os.fsdecode(path) if isinstance(path, (str, bytes)) else ''
        which = 'channel' if names[index].endswith(CHANNEL_SUFFIX) or path.endswith(CHANNEL_SUFFIX) else 'plain'
        if which in given:
            raise ServiceError(
                'cannot use what systemd passed: %s sockets, of which more than one is the %s one; a service has one '
                'ListenStream for its name and one for its name with "%s"' % (count, which, CHANNEL_SUFFIX)
            )
        given[which] = Listener(sock, None)
    return given.get('plain'), given.get('channel')


def gateway_user(gateway):
    """The id of the user whose connections are the gateway's; None: everybody's are."""
    if isinstance(gateway, int):
        return gateway
    try:
        return pwd.getpwnam(gateway or GATEWAY_USER).pw_uid
    except KeyError:
        if gateway is None:
            return None
        raise ServiceError('cannot believe the user "%s": there is no such user' % gateway) from None


def peer_user(sock):
    """The id of the user whose process connected the Unix socket (unix(7))."""
    return struct.unpack('=iII', sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]


def group_id(group):
    try:
        return group if isinstance(group, int) else grp.getgrnam(group).gr_gid
    except KeyError:
        raise ServiceError('cannot give the sockets to group "%s": there is no such group' % group) from None


def print_error(message, error):
    text = ''.join(traceback.format_exception(type(error), error, error.__traceback__))
    sys.stderr.write('%s: %s' % (message, text))
    sys.stderr.flush()


# ── A service ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Workers:
    """At most so many threads, which are started as they are needed."""

    def __init__(self, threads):
        self._threads = threads
        self._count = 0
        self._waiting = 0
        self._jobs = collections.deque()
        self._changed = threading.Condition()

    def submit(self, job):
        with self._changed:
            self._jobs.append(job)
            if self._waiting < len(self._jobs) and self._count < self._threads:
                self._count += 1
                threading.Thread(target=self._work, daemon=True).start()
            self._changed.notify()

    @property
    def has_waiting_jobs(self):
        return bool(self._jobs)

    def close(self):
        """Ends threads that wait."""
        with self._changed:
            self._jobs.extend([None] * self._count)
            self._changed.notify_all()

    def _work(self):
        while True:
            with self._changed:
                self._waiting += 1
                while not self._jobs:
                    self._changed.wait()
                self._waiting -= 1
                job = self._jobs.popleft()
            if job is None:
                return
            job()


class Service:
    """A service that listens from the moment it is made, and answers while `run` runs.

    name            clients ask for /services/plugin/<name>
    handler         handler(request, response) answers a request; it is called in several threads
    wsgi            a WSGI application in its place
    directory       where <name> and <name>.channel are made; ignored when systemd passes sockets
    mode, group     of the sockets' files; the group by name or id
    gateway         who the gateway's workers run as, by name or id: what another says of a caller is not believed. Root is another, too: on
                    a XenServer or XCP-ng host xapi passes on what clients claim. None: the user xengate, where there is one, else whoever
                    can connect
    channels        whether the gateway may pass clients' connections; ignored when systemd passes sockets
    threads         so many requests are answered at once; others wait
    connections     so many connections of each kind are open at once; beyond it plain ones wait, and channels are refused (then the
                    gateway relays)
    drain_seconds   how long requests under way may take at the end
    on_listening    on_listening() is called once clients can connect, and signals are looked after
    on_error        on_error(message, exception) is told of handlers that fail, and of what goes wrong outside of any request

    Raises ServiceError.
    """

    def __init__(
        self, name, handler=None, wsgi=None, directory=DIRECTORY, mode=0o660, group=None, gateway=None, channels=True, threads=32,
        connections=250, drain_seconds=30, on_listening=None, on_error=print_error,
    ):  # fmt: skip
        check_name(name)
        if callable(handler) == callable(wsgi):
            raise ServiceError('cannot serve %s: give it a handler, or a WSGI application' % name)
        for number in (threads, connections):
            if not isinstance(number, int) or number < 1:
                raise ServiceError('cannot serve %s: threads and connections are numbers from 1 on' % name)
        self._gateway = gateway_user(gateway)
        self._name = name
        self._handler = handler if wsgi is None else handler_of_wsgi(wsgi, name)
        self._on_listening = on_listening
        self._on_error = on_error
        self._drain_seconds = drain_seconds
        self._connections_max = connections
        self._plain, self._channel = given_listeners() or bind_both(name, directory, mode, group, channels)
        self._workers = Workers(threads)
        self._selector = selectors.DefaultSelector()
        self._connections = set()
        self._arrivals = set()
        self._posted = collections.deque()
        self._wake_out, self._wake_in = socket.socketpair()
        for sock in (self._wake_out, self._wake_in):
            sock.setblocking(False)
        self._selector.register(self._wake_out, selectors.EVENT_READ, self._woken)
        self._paused = {}
        self._counts = {True: 0, False: 0}
        self._is_draining = False
        self._drain_deadline = None
        self._next_report = 0
        for listener in self._listeners():
            listener.sock.listen(BACKLOG)

    def _listeners(self):
        return [listener for listener in (self._plain, self._channel) if listener is not None]

    def run(self):
        """Answers requests until `stop` is called, and those under way are finished."""
        for listener in self._listeners():
            self._selector.register(listener.sock, selectors.EVENT_READ, lambda of=listener: self._accept(of))
        if self._on_listening is not None:
            self._on_listening()
        next_tick = time.monotonic() + 1
        while not self._is_over():
            for key, _ in self._selector.select(max(0, min(1, next_tick - time.monotonic()))):
                key.data()
            if time.monotonic() >= next_tick:
                self._tick()
                next_tick = time.monotonic() + 1
        self._selector.close()
        self._workers.close()
        self._wake_in.close()
        self._wake_out.close()

    def stop(self):
        """Ends it politely: takes no new connections, finishes requests under way, removes its sockets' files. May be called in any
        thread and in handlers of signals; `run` returns when it is done."""
        self._post(self._drain)

    def remove_files(self):
        """Removes its sockets' files at once."""
        for listener in self._listeners():
            listener.remove_file()

    # Posts: what other threads have the dispatcher do.

    def _post(self, call):
        self._posted.append(call)
        try:
            self._wake_in.send(b'.')
        except OSError:
            pass  # it is full, so the dispatcher is about to wake; or all is over

    def _woken(self):
        try:
            self._wake_out.recv(4096)
        except BlockingIOError:
            pass
        while self._posted:
            self._posted.popleft()()

    # Accepting.

    def _accept(self, listener):
        is_channel = listener is self._channel
        for _ in range(64):
            if not is_channel and self._counts[False] >= self._connections_max:
                self._pause(listener)
                return
            try:
                sock, _ = listener.sock.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._on_error('cannot accept a connection, and tries again in a second', error)
                    self._pause(listener)
                    return
                continue
            if is_channel:
                arrival = Arrival(sock)
                self._arrivals.add(arrival)
                self._selector.register(sock, selectors.EVENT_READ, lambda of=arrival: self._arriving(of))
            else:
                connection = Connection(sock)
                connection.is_stranger = self._gateway is not None and peer_user(sock) != self._gateway
                self._open(connection)

    def _pause(self, listener):
        """Leaves connections in the queue until the next tick, or until there is room."""
        if listener not in self._paused:
            self._selector.unregister(listener.sock)
            self._paused[listener] = True

    def _resume(self):
        for listener in list(self._paused):
            del self._paused[listener]
            self._selector.register(listener.sock, selectors.EVENT_READ, lambda of=listener: self._accept(of))

    # Channels.

    def _arriving(self, arrival):
        if arrival.is_refused:
            if arrival.has_ended():
                self._dismiss(arrival)
            return
        try:
            if not arrival.read():
                return
            if self._is_draining:
                raise Refused('the service is about to end')
            if arrival.offer['service'] != self._name:
                raise Refused('this is %s, and not %s' % (self._name, arrival.offer['service']))
            if self._counts[True] >= self._connections_max:
                raise Refused('there are %d channels, which is the most' % self._connections_max)
            arrival.control.send(b'{"accepted":true}\n')
        except GivenUp:
            self._dismiss(arrival)
            return
        except (Refused, OSError) as error:
            arrival.refuse(str(error))
            return
        self._arrivals.discard(arrival)
        channel = Channel(arrival.control, arrival.offer)
        if arrival.client.family in (socket.AF_INET, socket.AF_INET6):
            arrival.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(arrival.client, channel, bytes(arrival.data))
        self._selector.modify(arrival.control, selectors.EVENT_READ, lambda: self._control_readable(connection))
        self._open(connection)

    def _dismiss(self, arrival):
        self._arrivals.discard(arrival)
        self._selector.unregister(arrival.control)
        arrival.close()

    def _control_readable(self, connection):
        if connection not in self._connections:
            return  # it was closed a moment ago
        try:
            if connection.channel.control.recv(4096):
                return  # nothing comes there in this version
        except BlockingIOError:
            return
        except OSError:
            pass
        self._revoke(connection)

    def _revoke(self, connection):
        """The gateway has ended the channel."""
        channel = connection.channel
        channel.is_revoked = True
        self._selector.unregister(channel.control)
        connection.cut()
        if connection.state in ('idle', 'lingering'):
            self._close(connection)

    # Connections.

    def _open(self, connection):
        self._connections.add(connection)
        self._counts[connection.channel is not None] += 1
        self._selector.register(connection.sock, selectors.EVENT_READ, lambda: self._readable(connection))
        self._await_head(connection)

    def _await_head(self, connection):
        """Looks for a head in what is there, and waits for the rest."""
        connection.state = 'idle'
        if connection.has_head():
            self._selector.unregister(connection.sock)
            connection.state = 'busy'
            self._workers.submit(lambda: self._work(connection))
            return
        seconds = HEAD_SECONDS if connection.unread else (IDLE_SECONDS if connection.channel is not None else None)
        if connection.deadline is None or not connection.unread:
            connection.deadline = None if seconds is None else time.monotonic() + seconds

    def _readable(self, connection):
        if connection.state != 'idle':
            return  # a drain was first
        try:
            data = connection.sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b''
        if not data:
            self._close(connection)
            return
        if not connection.unread:
            connection.deadline = time.monotonic() + HEAD_SECONDS
        connection.unread += data
        self._await_head(connection)

    def _returned(self, connection, outcome, head):
        """A worker or forwarder is done with it. @param outcome 'idle', 'forward', 'linger', 'reset' or 'close'"""
        if connection.channel is not None and connection.channel.is_revoked:
            outcome = 'close'
        if outcome == 'forward':
            connection.state = 'forwarding'
            threading.Thread(target=self._forward, args=(connection, head), daemon=True).start()
        elif outcome == 'linger':
            connection.state = 'lingering'
            connection.deadline = time.monotonic() + LINGER_SECONDS
            try:
                connection.sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            self._selector.register(connection.sock, selectors.EVENT_READ, lambda: self._linger(connection))
        elif outcome == 'idle' and not self._is_draining:
            connection.deadline = None
            self._selector.register(connection.sock, selectors.EVENT_READ, lambda: self._readable(connection))
            self._await_head(connection)
        else:
            if outcome == 'reset':
                connection.reset()
            self._close(connection)

    def _linger(self, connection):
        try:
            if connection.sock.recv(READ_BYTES):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._close(connection)

    def _close(self, connection):
        if connection not in self._connections:
            return
        channel = connection.channel
        if connection.state in ('idle', 'lingering') and connection.sock.fileno() in self._selector.get_map():
            self._selector.unregister(connection.sock)
        self._connections.discard(connection)
        self._counts[channel is not None] -= 1
        connection.sock.close()
        if channel is not None:
            if not channel.is_revoked:
                self._selector.unregister(channel.control)
            channel.close()
        if self._paused and not self._is_draining and channel is None:
            self._resume()

    def _tick(self):
        now = time.monotonic()
        for arrival in [arrival for arrival in self._arrivals if arrival.deadline <= now]:
            if arrival.is_refused:
                self._dismiss(arrival)
            else:
                arrival.refuse('the message did not come within %d s' % MESSAGE_SECONDS)
        is_report = now >= self._next_report
        if is_report:
            self._next_report = now + REPORT_SECONDS - 1
        for connection in list(self._connections):
            if is_report and connection.channel is not None:
                connection.channel.report()
            self._expire(connection, now)
        if not self._is_draining:
            self._resume()

    def _expire(self, connection, now):
        is_waiting = connection.state in ('idle', 'lingering')
        if is_waiting and connection.deadline is not None and connection.deadline <= now:
            self._close(connection)
        elif self._drain_deadline is not None and self._drain_deadline <= now:
            connection.cut()
            if is_waiting:
                self._close(connection)

    # Ending.

    def _drain(self):
        if self._is_draining:
            return
        self._resume()
        for listener in self._listeners():
            listener.remove_file()
            # Who has connected already is not turned away.
            self._accept(listener)
            if listener not in self._paused:
                self._selector.unregister(listener.sock)
            listener.sock.close()
        self._is_draining = True
        self._drain_deadline = time.monotonic() + self._drain_seconds
        for connection in list(self._connections):
            if connection.state == 'idle':
                # A request may have come that nobody has looked at.
                self._readable(connection)
                if connection.state == 'idle' and connection in self._connections and not connection.unread:
                    self._close(connection)

    def _is_over(self):
        if not self._is_draining:
            return False
        # A handler that goes on though its connection was cut is left to its thread.
        return not self._connections and not self._arrivals or time.monotonic() > self._drain_deadline + LINGER_SECONDS

    # In workers and forwarders.

    def _work(self, connection):
        outcome, head = 'close', None
        try:
            outcome, head = self._serve(connection)
        except OSError:
            pass  # the client has gone, or was idle for too long
        except BaseException as error:
            self._on_error('cannot serve a connection', error)
        self._post(lambda: self._returned(connection, outcome, head))

    def _forward(self, connection, head):
        outcome = 'close'
        try:
            outcome = Forwarding(connection, head, self._on_error).run()
        except (OSError, Malformed):
            pass  # the client has gone, or breaks off in the middle of a body
        except BaseException as error:
            self._on_error('cannot forward a request', error)
        self._post(lambda: self._returned(connection, outcome, None))

    def _serve(self, connection):
        """Answers requests for as long as there are some; what is to become of the connection, and the head that is to be forwarded."""
        while True:
            try:
                raw = connection.take_head()
                if raw is None:
                    if self._workers.has_waiting_jobs or not wait(connection.sock, select.POLLIN, STAY_SECONDS):
                        return 'idle', None
                    if not connection.fill(BODY_SECONDS):
                        return 'close', None
                    if not connection.has_head():
                        return 'idle', None
                    continue
                head = Head(raw)
            except Malformed as error:
                connection.answer_plain(error.status, str(error).encode() + b'\n')
                return 'linger', None
            channel = connection.channel
            if channel is not None and not channel.admits(head):
                return 'forward', head
            outcome = self._answer(connection, head)
            if outcome != 'idle':
                return outcome, None

    def _answer(self, connection, head):
        channel = connection.channel
        raw_body = Body(connection, head)
        if channel is None:
            fields = head.fields
            if connection.is_stranger:
                fields = [field for field in fields if not is_gateways(field[0])]
            caller = caller_of_fields(fields, head.target)
        else:
            channel.requests += 1
            channel.bytes_in += len(head.raw)
            task = parameter_in(head.target, 'task_id') or None
            fields, caller = channel.fields_for(head), channel.caller._replace(task=task)
        request = Request(head, fields, caller, raw_body)
        response = Response(connection, head, raw_body, lambda: self._is_draining)
        try:
            result = self._handler(request, response)
            if result is not None:
                raise TypeError('a handler returns nothing; call response.end(…) with the answer')
            if not response.is_ended:
                response.end()
        except Exception as error:
            if raw_body.malformed is not None and not response.is_started:
                connection.answer_plain(400, str(raw_body.malformed).encode() + b'\n')
                return 'linger'
            if connection.is_broken or not self._failed(request, response, error):
                return 'reset'
        if not response.is_kept:
            return 'linger'
        raw_body.skip()
        return 'idle'

    def _failed(self, request, response, error):
        """A handler has failed; whether there is a whole answer all the same."""
        # Without the query, in which there may be a session id.
        self._on_error('cannot answer %s %s' % (request.method, request.path), error)
        if response.is_ended:
            return True
        if response.is_started:
            return False
        response.start(500, [('Content-Type', 'text/plain')])
        response.end(FAILED)
        return True


def check_name(name):
    if not isinstance(name, str) or NAME.fullmatch(name) is None:
        raise ServiceError(
            'cannot serve as "%s": a name is 1 to 100 letters, digits, ".", "_" and "-", and starts with neither "." nor "-"' % name
        )
    if name.endswith(CHANNEL_SUFFIX):
        raise ServiceError(
            'cannot serve as "%s": leave out "%s", which the second socket is named by' % (name, CHANNEL_SUFFIX)
        )


def bind_both(name, directory, mode, group, channels):
    if not os.path.isdir(directory):
        raise ServiceError(
            'cannot listen in %s: there is no such directory; is the gateway started? Give the directory that it looks in' % directory
        )
    gid = None if group is None else group_id(group)
    path = os.path.join(directory, name)
    # Bodies are read to their end, also what handlers leave of them, before another request is looked for.
    plain = bind(path, mode | stat.S_ISVTX, gid)
    try:
        return plain, bind(path + CHANNEL_SUFFIX, mode, gid) if channels else None
    except BaseException:
        plain.remove_file()
        plain.sock.close()
        raise


def serve(name, handler=None, **options):
    """Serves until SIGTERM or SIGINT, which end it politely; a second one ends the process at once. The options are those of `Service`.
    To be called in the main thread. Raises ServiceError."""
    service = Service(name, handler, **options)
    signals = []

    def stop(_number, _frame):
        signals.append(_number)
        if len(signals) > 1:
            service.remove_files()
            os._exit(1)
        service.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        service.run()
    finally:
        service.remove_files()
        for number, handler_before in before.items():
            signal.signal(number, handler_before)
