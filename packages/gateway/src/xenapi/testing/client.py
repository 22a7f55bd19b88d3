"""Calls the XenAPI at the URL argv[1] as XenAPI.py does, and prints what came back as JSON."""

import json
import sys
import xmlrpc.client

server = xmlrpc.client.ServerProxy(sys.argv[1])
user, password = "root", "root-pw"


def call(name, *params):
    method = server
    for part in name.split("."):
        method = getattr(method, part)
    return method(*params)


session = call("session.login_with_password", user, password, "1.0", "python")["Value"]
pool = call("pool.get_all", session)["Value"][0]
host = call("pool.get_master", session, pool)["Value"]
time = call("host.get_servertime", session, host)["Value"]
results = {
    "pools": call("pool.get_all_records", session)["Value"],
    "major": call("host.get_API_version_major", session, host)["Value"],
    "minor": call("host.get_API_version_minor", session, host)["Value"],
    "time": [type(time).__name__, str(time)],
    "description": call("pool.get_name_description", session, pool)["Value"],
    "events": len(call("event.from", session, ["*"], "", 1.5)["Value"]["events"]),
    "methods": "session.logout" in call("system.listMethods")["Value"],
    "unknown": call("VM.start", session, "x"),
    "logout": call("session.logout", session),
}
results["after"] = call("pool.get_all", session)["ErrorDescription"] == ["SESSION_INVALID", session]
wrong = call("session.login_with_password", "<&\u00e9\U0001f600>", "wrong")
results["wrong"] = wrong["ErrorDescription"]
print(json.dumps(results))
