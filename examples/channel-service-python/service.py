#!/usr/bin/env python3
"""A custom service on libraries/python/xengate_service.py, which takes channels as it takes relayed requests.

    service.py DIRECTORY NAME

It answers GET with who is asking.
"""

import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'libraries', 'python'))

import xengate_service  # noqa: E402


def handler(request, response):
    if request.method == 'GET':
        response.end('hello %s\n' % request.caller.user)
    else:
        response.start(405, [('Allow', 'GET')])
        response.end('Use GET.\n')


def main():
    if len(sys.argv) != 3:
        sys.stderr.write('usage: %s DIRECTORY NAME\n' % sys.argv[0])
        sys.exit(2)
    directory, name = sys.argv[1:]
    service = xengate_service.Service(name, handler, directory=directory)
    signal.signal(signal.SIGTERM, lambda *_: service.stop())
    print('ready', flush=True)
    service.run()


if __name__ == '__main__':
    main()
