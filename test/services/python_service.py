"""A service on the Python library, for its tests: python_service.py DIRECTORY NAME [handler|wsgi] [JSON of options]."""

import json
import os
import signal
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'libraries', 'python'))

import xengate_service  # noqa: E402

released = threading.Event()
signal.signal(signal.SIGUSR1, lambda *_: released.set())


def handler(request, response):
    name = request.path.rsplit('/', 1)[-1]
    answer = ANSWERS.get(name)
    if answer is None:
        body = request.body.read().decode('latin-1')
        response.start(200, [('Content-Type', 'application/json')])
        seen = {
            'method': request.method, 'target': request.target, 'fields': request.headers.items(),
            'caller': request.caller._asdict(), 'body': body, 'trailers': request.trailers.items(),
        }  # fmt: skip
        response.end(json.dumps(seen))
        return None
    return answer(request, response)


def pieces(request, response):
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


def returns(_request, _response):
    return 'this is no way to answer'


def short(_request, response):
    response.start(200, [('Content-Length', '10')])
    response.end('abc')


def slow(_request, response):
    sys.stdout.write('asked\n')
    sys.stdout.flush()
    released.wait()
    response.end('done')


def empty(_request, response):
    response.start('204 Nothing Here')


def smuggled(_request, response):
    response.start(200, [('X-A', 'b\r\nX-C: d')])


ANSWERS = {
    'hello': lambda request, response: response.end('hello %s\n' % request.caller.user),
    'pieces': pieces, 'endless': endless, 'fail': fail, 'fail-late': fail_late, 'returns': returns, 'short': short,
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
    seen['caller'] = environ['xengate.caller']._asdict()
    seen['body'] = body.decode('latin-1')
    return [json.dumps(seen).encode()]


def main():
    directory, name, kind = (sys.argv[1:] + ['handler'])[:3]
    options = json.loads(sys.argv[4]) if len(sys.argv) > 4 else {}
    options['wsgi' if kind == 'wsgi' else 'handler'] = wsgi if kind == 'wsgi' else handler
    try:
        xengate_service.serve(name, directory=directory, **options)
    except xengate_service.ServiceError as error:
        sys.exit(str(error))


if __name__ == '__main__':
    main()
