"""A WSGI application: says what it was asked, and sends bodies back."""

import json


def application(environ, start_response):
    if environ["PATH_INFO"].endswith("/echo"):
        body = environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(len(body)))])
        return [body]
    if environ["PATH_INFO"].endswith("/fail"):
        start_response("503 Not Now", [("Content-Type", "text/plain"), ("Retry-After", "7")])
        return [b"come ", b"back ", b"later\n"]
    seen = {name: value for name, value in environ.items() if isinstance(value, str)}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(seen).encode()]
