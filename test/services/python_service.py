"""A service on the Python library, for the tests of service libraries: python_service.py DIRECTORY NAME [JSON of options].

With the option "wsgi" it is a WSGI application.
"""

import json
import os
import signal
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'libraries', 'python'))

import xengate_service  # noqa: E402

released = threading.Event()


def lowered(headers):
    return {name.lower(): ('; ' if name.lower() == 'cookie' else ', ').join(headers.get_all(name)) for name in headers}


def described(caller):
    """The caller, by the names that the tests have for all languages."""
    made = caller._asdict()
    made['sessionId'] = made.pop('session_id') or ''
    made['task'] = made['task'] or ''
    return made


def handler(request, response):
    name = request.path.rsplit('/', 1)[-1]
    answer = ANSWERS.get(name)
    if answer is None:
        body = request.body.read().decode('latin-1')
        if 'XENGATE_TELL' in os.environ:
            sys.stdout.write('saw %s\n' % json.dumps('%s %s %s' % (request.method, request.target, body)))
            sys.stdout.flush()
        response.start(200, [('Content-Type', 'application/json')])
        seen = {
            'method': request.method, 'target': request.target, 'fields': request.headers.items(),
            'headers': lowered(request.headers), 'caller': described(request.caller), 'body': body,
            'trailers': lowered(request.trailers), 'listenFds': os.environ.get('LISTEN_FDS', ''),
        }  # fmt: skip
        response.end(json.dumps(seen))
        return None
    return answer(request, response)


def wait_for_release():
    """Waits for the next SIGUSR1."""
    following = released
    sys.stdout.write('asked\n')
    sys.stdout.flush()
    following.wait()


def release(*_):
    global released
    before, released = released, threading.Event()
    before.set()


signal.signal(signal.SIGUSR1, release)


def pieces(_request, response):
    response.write('one')
    wait_for_release()
    response.end('last')


def lines(request, response):
    for line in request.body:
        sys.stdout.write('read %s' % line.decode())
        sys.stdout.flush()
    response.end('all read')


def duplex(request, response):
    response.write('one')
    for line in request.body:
        response.write(line)
    response.end('last')


def endless(_request, response):
    while True:
        response.write(b'x' * 100000)


def fail(_request, _response):
    raise ValueError('on purpose')


def fail_late(_request, response):
    response.write('begun')
    raise ValueError('on purpose')


def fail_done(_request, response):
    response.end('done')
    raise ValueError('on purpose')


def returns(_request, _response):
    return 'this is no way to answer'


def short(_request, response):
    response.start(200, [('Content-Length', '10')])
    response.end('abc')


def slow(_request, response):
    wait_for_release()
    response.end('done')


def empty(_request, response):
    response.start('204 Nothing Here')


def smuggled(_request, response):
    response.start(200, [('X-A', 'b\r\nX-C: d')])


def hello(request, response):
    if request.method == 'DELETE':
        response.start(405, [('Allow', 'GET, HEAD, PUT, POST')])
    else:
        response.end('hello %s\n' % request.caller.user)


ANSWERS = {
    'hello': hello, 'none': lambda _request, response: response.start(404), 'pieces': pieces, 'lines': lines, 'duplex': duplex,
    'endless': endless, 'fail': fail, 'fail-late': fail_late, 'fail-done': fail_done, 'returns': returns, 'short': short,
    'slow': slow, 'empty': empty, 'smuggled': smuggled,
    'length': lambda request, response: response.end('%d' % len(request.body.read())),
}  # fmt: skip


def wsgi(environ, start_response):
    name = environ['PATH_INFO']
    if name == '/late':
        start_response('200 OK', [])
        try:
            raise ValueError('on purpose')
        except ValueError:
            start_response('418 Teapot', [('X-Late', 'yes')], sys.exc_info())
        return [b'short ', b'and ', b'stout']
    if name == '/file':
        start_response('200 OK', [('Content-Type', 'text/plain')])
        return environ['wsgi.file_wrapper'](open(os.path.abspath(__file__), 'rb'))
    if name == '/written':
        start_response('200 OK', [])(b'by write')
        return []
    body = environ['wsgi.input'].read()
    start_response('200 OK', [('Content-Type', 'application/json')])
    seen = {key: value for key, value in environ.items() if isinstance(value, str) and key.isupper() and key not in os.environ}
    seen['caller'] = described(environ['xengate.caller'])
    seen['body'] = body.decode('latin-1')
    return [json.dumps(seen).encode()]


def main():
    directory, name = sys.argv[1:3]
    options = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
    options['drain_seconds'] = options.pop('drainMs', 30000) / 1000
    is_wsgi = options.pop('wsgi', False)
    options['wsgi' if is_wsgi else 'handler'] = wsgi if is_wsgi else handler
    try:
        xengate_service.serve(name, directory=directory, **options)
    except xengate_service.ServiceError as error:
        sys.exit(str(error))


if __name__ == '__main__':
    main()
