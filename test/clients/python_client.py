"""A client in Python's own library: the arguments are the gateway's address, a service's path, a user and a password.

Prints what it saw as JSON.
"""

import http.client
import json
import sys
import urllib.error
import urllib.parse
import urllib.request
import xmlrpc.client

url, path, user, password = sys.argv[1:]
host = urllib.parse.urlsplit(url).netloc


def call(method, *params):
    """Calls the XenAPI as XenAPI.py does."""
    return getattr(xmlrpc.client.ServerProxy(url), method)(*params)


def login(*more):
    return call("session.login_with_password", user, password, *more)["Value"]


def status_of(open_url):
    try:
        with urllib.request.urlopen(open_url, timeout=10) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


seen = {"logins": [login(), login("1.0"), login("1.0", "python")]}
session = seen["logins"][0]
seen["wrong"] = call("session.login_with_password", user, "not the password")
seen["originator"] = call("session.get_originator", session, seen["logins"][2])["Value"]
seen["pools"] = len(call("pool.get_all", session)["Value"])

connection = http.client.HTTPConnection(host, timeout=10)
cookie = {"Cookie": "session_id=" + session}
connection.request("GET", path + "/hello?a=%20", headers=cookie)
response = connection.getresponse()
seen["get"] = [response.status, response.read().decode()]
connection.request("PUT", path + "/echo", body=iter([b"one ", b"two ", b"three"]), headers=cookie, encode_chunked=True)
response = connection.getresponse()
seen["chunked"] = [response.status, response.read().decode()]
connection.request("POST", path + "/echo", body=b"a body", headers=cookie)
response = connection.getresponse()
seen["post"] = [response.status, response.read().decode()]

query = url + path + "/hello?" + urllib.parse.urlencode({"session_id": session})
with urllib.request.urlopen(query, timeout=10) as response:
    seen["query"] = [response.status, response.read().decode()]

seen["without"] = status_of(url + path + "/hello")
seen["logout"] = call("session.logout", session)
seen["after"] = status_of(query)
connection.request("GET", path + "/hello", headers=cookie)
seen["after on the kept connection"] = connection.getresponse().status
seen["again"] = call("session.logout", session)
print(json.dumps(seen))
