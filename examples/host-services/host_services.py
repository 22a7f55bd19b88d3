#!/usr/bin/env python3
"""Three plugins of XCP-ng hosts as live services, in one process: sensors (ipmitool.py), health of disks (smartctl.py) and updates (updater.py).

    host_services.py [DIRECTORY [GROUP]]

Each has the name of its plugin, and its functions and values, so that host.call_plugin of programs that are there goes on unchanged. What a plugin
cannot have, these do: what was read is kept for a while and shared by all who ask, reading happens once however many wait for it, and clients are
told of progress and of changes as they come.

    POST /services/plugin/smartctl.py/health    a call, as host.call_plugin makes it: arguments as a JSON object
    GET  /services/plugin/smartctl.py/health    what was read last, and in Age how old it is
    GET  /services/plugin/smartctl.py/events    server-sent events: progress while it is read, changed when it is another
"""

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'libraries', 'python'))

import xengate_service  # noqa: E402

REPOSITORIES = ['xcp-ng-base', 'xcp-ng-updates']
# How long a client that only listens waits between two signs of life, in seconds.
HEARTBEAT_SECONDS = 15
# Events that a client may be behind.
EVENTS_MAX = 100


class Failed(Exception):
    """What a call fails with: a code and parameters of the XenAPI."""


def run(*argv, codes=(0,)):
    """The standard output of a program that ends with one of `codes`."""
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    except OSError as error:
        raise Failed('XENAPI_PLUGIN_FAILURE', argv[0], error.strerror, '')
    if done.returncode not in codes:
        raise Failed('XENAPI_PLUGIN_FAILURE', '%s ended with %d' % (argv[0], done.returncode), done.stdout, done.stderr)
    return done.stdout


class Listeners:
    """Who is told of what happens, each by a queue. One that is too far behind is let go."""

    def __init__(self):
        self._lock = threading.Lock()
        self._queues = set()

    def join(self):
        events = queue.Queue(EVENTS_MAX)
        with self._lock:
            self._queues.add(events)
        return events

    def leave(self, events):
        with self._lock:
            self._queues.discard(events)

    def tell(self, event, data):
        with self._lock:
            for events in list(self._queues):
                try:
                    events.put_nowait((event, data))
                except queue.Full:
                    self._queues.discard(events)

    def close(self):
        """Tells all that nothing more comes."""
        self.tell(None, None)


class Reading:
    """A value that takes long to read: it is read once for all who wait, and kept for `seconds`."""

    def __init__(self, name, read, seconds, listeners):
        self._name = name
        self._read = read
        self._seconds = seconds
        self._listeners = listeners
        self._lock = threading.Lock()
        self._value = None
        self._read_at = None

    def get(self):
        """The value, and how old it is in seconds."""
        # Who comes while it is read waits here, and finds it read.
        with self._lock:
            if self._read_at is None or time.monotonic() - self._read_at > self._seconds:
                value = self._read(lambda text: self._listeners.tell('progress', {'function': self._name, 'text': text}))
                if value != self._value:
                    self._listeners.tell('changed', {'function': self._name})
                self._value, self._read_at = value, time.monotonic()
            return self._value, time.monotonic() - self._read_at


def read_sensors(progress):
    progress('asking the board for its sensors')
    lines = [line.split('|') for line in run('ipmitool', 'sdr', 'list').splitlines() if line.count('|') >= 2]
    return [{'name': name.strip(), 'value': value.strip(), 'event': event.strip()} for name, value, event in (line[:3] for line in lines)]


def has_ipmi(_progress):
    try:
        run('ipmitool', 'chassis', 'status')
        return True
    except Failed as error:
        if 'Could not open device' in error.args[-1]:
            return False
        raise


def read_disks(progress, *options):
    """What smartctl says of each disk, by its type and name as the plugin has them."""
    found = {}
    # Each line is "/dev/sda -d sat # a comment".
    disks = [line.split() for line in run('smartctl', '--scan').splitlines() if line]
    for number, words in enumerate(disks, 1):
        device, kind = words[0], words[2]
        progress('%s, %d of %d' % (device, number, len(disks)))
        # Its exit code says what is wrong with the disk, in bits; only the first two say that nothing was read.
        text = run('smartctl', '-j', *options, '-d', kind, device, codes=[code for code in range(256) if not code & 3])
        found[kind] = found[device] = json.loads(text)
    return found


def read_health(progress):
    disks = read_disks(progress, '-H')
    return {disk: 'PASSED' if said.get('smart_status', {}).get('passed') else 'FAILED' for disk, said in disks.items()}


def read_updates(progress):
    progress('reading the repositories')
    # 100 says that there are updates.
    text = run('yum', '-q', '--disablerepo=*', '--enablerepo=' + ','.join(REPOSITORIES), 'check-update', codes=(0, 100))
    progress('reading what is new')
    updates = []
    for line in text.splitlines():
        words = re.match(r'^(\S+)\.(\w+)\s+(?:\d+:)?([^\s-]+)-(\S+)\s+(\S+)$', line)
        if words is not None:
            name, architecture, version, release, repository = words.groups()
            updates.append({'name': name, 'arch': architecture, 'version': version, 'release': release, 'repository': repository})
    return updates


def plugin(name, readings, listeners):
    """A service in the place of the plugin `name`. `readings` has for each function how its value is read, and for how many seconds it is kept."""
    functions = {fn: Reading(fn, read, seconds, listeners) for fn, (read, seconds) in readings.items()}
    prefix = '/services/plugin/%s/' % name

    def fail(response, status, *error):
        response.start(status, [('Content-Type', 'application/json')])
        response.end(json.dumps({'error': error}))

    def follow(response):
        events = listeners.join()
        try:
            response.start(200, [('Content-Type', 'text/event-stream'), ('Cache-Control', 'no-store')])
            response.write(': %s\n\n' % name)
            while True:
                try:
                    event, data = events.get(timeout=HEARTBEAT_SECONDS)
                    if event is None:
                        return
                    response.write('event: %s\ndata: %s\n\n' % (event, json.dumps(data)))
                except queue.Empty:
                    response.write(': it goes on\n\n')
        finally:
            listeners.leave(events)

    def handler(request, response):
        fn = request.path[len(prefix):]
        # As the XenAPI has it for host.call_plugin.
        if 'pool-admin' not in request.caller.roles:
            return fail(response, 403, 'RBAC_PERMISSION_DENIED', name, 'The role pool-admin is needed')
        if fn == 'events' and request.method == 'GET':
            return follow(response)
        if fn not in functions:
            return fail(response, 404, 'UNKNOWN_XENAPI_PLUGIN_FUNCTION', fn)
        try:
            value, age = functions[fn].get()
        except Failed as error:
            return fail(response, 500, *error.args)
        response.start(200, [('Content-Type', 'application/json'), ('Age', str(int(age)))])
        response.end(json.dumps(value))

    return handler


PLUGINS = {
    'ipmitool.py': {'is_ipmi_device_available': (has_ipmi, 300), 'get_all_sensors': (read_sensors, 10)},
    'smartctl.py': {'health': (read_health, 60), 'information': (lambda progress: read_disks(progress, '-a'), 60)},
    'updater.py': {'check_update': (read_updates, 600)},
}


def main():
    if len(sys.argv) > 3:
        sys.stderr.write('usage: %s [DIRECTORY [GROUP]]\n' % sys.argv[0])
        sys.exit(2)
    directory = sys.argv[1] if len(sys.argv) > 1 else '/var/xapi/plugin'
    group = sys.argv[2] if len(sys.argv) > 2 else None
    services, threads = [], []
    for name, readings in PLUGINS.items():
        listeners = Listeners()
        handler = plugin(name, readings, listeners)
        service = xengate_service.Service(name, handler, directory=directory, group=group)
        services.append((service, listeners))
        threads.append(threading.Thread(target=service.run))

    def stop(*_):
        for service, listeners in services:
            service.stop()
            listeners.close()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    for thread in threads:
        thread.start()
    print('ready', flush=True)
    for thread in threads:
        thread.join()


if __name__ == '__main__':
    main()
