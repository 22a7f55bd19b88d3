// Templates of a service in Python. `%NAME%` is the service's name.

import { tryIt } from './readme.ts'

export const PYTHON_SERVICE = `#!/usr/bin/env python3
"""The custom service %NAME%: service.py [DIRECTORY], where the gateway looks; by default /var/xapi/plugin."""

import os
import sys

import xengate_service

NAME = '%NAME%'
PREFIX = '/services/plugin/' + NAME


def handler(request, response):
    if request.path == PREFIX and request.method == 'GET':
        response.end('hello %s\\n' % request.caller.user)
    elif request.path == PREFIX + '/size' and request.method in ('PUT', 'POST'):
        # The body is read as it comes, and never kept whole.
        size = sum(len(part) for part in iter(lambda: request.body.read(65536), b''))
        response.end('%d bytes\\n' % size)
    else:
        response.start(404)
        response.end('There is nothing here.\\n')


if __name__ == '__main__':
    directory = sys.argv[1] if len(sys.argv) > 1 else '/var/xapi/plugin'
    try:
        xengate_service.serve(
            NAME, handler, directory=directory,
            on_listening=lambda: print('listening on ' + os.path.join(directory, NAME), flush=True),
        )
    except xengate_service.ServiceError as error:
        sys.exit(str(error))
`

export const PYTHON_TEST = `#!/usr/bin/env python3
"""Signs in at a gateway and calls the service, which has to run: test_service.py

XENGATE_URL is the gateway (by default http://127.0.0.1:8080), XENGATE_USER and XENGATE_PASSWORD who signs in (by default root, with the
password that \`xengate dev\` has left in .xengate/password, here or in the nearest directory above).
"""

import json
import os
import sys
import unittest
import urllib.error
import urllib.request

URL = os.environ.get('XENGATE_URL', 'http://127.0.0.1:8080')
SERVICE = URL + '/services/plugin/%NAME%'


def password():
    if 'XENGATE_PASSWORD' in os.environ:
        return os.environ['XENGATE_PASSWORD']
    # That of the nearest gateway: this directory's, or that of one above.
    directory = os.path.dirname(os.path.abspath(__file__))
    looked = []
    while True:
        path = os.path.join(directory, '.xengate/password')
        if os.path.exists(path):
            with open(path) as file:
                return file.read().strip()
        looked.append(path)
        if directory == '/':
            sys.exit(
                'there is no password: set XENGATE_PASSWORD, or start a gateway with xengate dev; looked for ' + ' '.join(looked)
            )
        directory = os.path.dirname(directory)


def call(method, *params):
    """Calls the XenAPI."""
    body = json.dumps({'jsonrpc': '2.0', 'id': 1, 'method': method, 'params': params}).encode()
    with urllib.request.urlopen(urllib.request.Request(URL + '/jsonrpc', body), timeout=20) as answer:
        said = json.loads(answer.read().decode())
    if 'result' not in said:
        raise RuntimeError('%s at %s: %s' % (method, URL, json.dumps(said.get('error'))))
    return said['result']


class Service(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        user = os.environ.get('XENGATE_USER', 'root')
        cls.session = call('session.login_with_password', user, password(), '1.0', 'test of %NAME%')
        cls.addClassCleanup(call, 'session.logout', cls.session) if hasattr(cls, 'addClassCleanup') else None
        cls.user = user

    def ask(self, path='', data=None):
        request = urllib.request.Request(SERVICE + path, data, {'Cookie': 'session_id=' + self.session})
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.read().decode()

    def test_says_who_asks(self):
        self.assertEqual(self.ask(), 'hello %s\\n' % self.user)

    def test_reads_a_body(self):
        self.assertEqual(self.ask('/size', b'x' * 1000000), '1000000 bytes\\n')

    def test_has_nothing_elsewhere(self):
        with self.assertRaises(urllib.error.HTTPError) as caught:
            self.ask('/none')
        self.assertEqual(caught.exception.code, 404)
        # The gateway itself says 404, too, when no service runs.
        self.assertEqual(caught.exception.read().decode(), 'There is nothing here.\\n')
        caught.exception.close()

    def test_is_not_reached_without_a_session(self):
        with self.assertRaises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(SERVICE, timeout=20)
        self.assertEqual(caught.exception.code, 403)
        caught.exception.close()


if __name__ == '__main__':
    unittest.main()
`

export const PYTHON_README: string = `# %NAME%

A custom service in Python 3.6 or later, on \`xengate_service.py\`, which is beside it: nothing has to be installed.

${tryIt('python3 service.py', 'python3 test_service.py')}
## Install it on a host

\`\`\`sh
mkdir -p /opt/%NAME% && cp *.py /opt/%NAME%/
cp %NAME%.service %NAME%.socket /etc/systemd/system/
systemctl daemon-reload && systemctl enable --now %NAME%.socket
\`\`\`

systemd listens on the sockets, and starts the service at the first request. \`journalctl -u %NAME%\` shows what it prints.
`
