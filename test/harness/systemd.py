# A service manager that keeps descriptors for a service, as systemd does: systemd.py SOCKET COMMAND...
#
# It starts the command at once, and again at each line of its standard input, with the descriptors that it keeps. What it keeps is printed
# when it changes, and what it is told otherwise as it comes. At SIGTERM it ends the service and itself.

import fcntl, os, select, signal, socket, sys

path, command = sys.argv[1], sys.argv[2:]
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.bind(path)
kept = {}
service = 0


def say(line):
    os.write(1, (line + "\n").encode())


def start():
    global service
    service = os.fork()
    if service != 0:
        return
    env = dict(os.environ, NOTIFY_SOCKET=path, FDSTORE="16")
    if kept:
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100) for fd in kept.values()]
        for at, fd in enumerate(high):
            os.dup2(fd, 3 + at, inheritable=True)
        env.update(LISTEN_FDS=str(len(kept)), LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES=":".join(kept))
    os.execvpe(command[0], command, env)


def heard(text, fds):
    fields = dict(line.split("=", 1) for line in text.splitlines())
    name = fields.get("FDNAME", "stored")
    if "FDSTORE" in fields:
        assert len(fds) == 1 and name not in kept and fields["FDPOLL"] == "0", (text, fds)
        assert ":" not in name and len(name) < 256, name
        kept[name] = fds[0]
    elif "FDSTOREREMOVE" in fields:
        os.close(kept.pop(name))
    else:
        say(repr(text))
        return
    say("kept " + repr(sorted(kept)))


def stop(*_):
    if service != 0:
        try:
            os.kill(service, signal.SIGTERM)
            os.waitpid(service, 0)
        except OSError:
            pass
    os._exit(0)


signal.signal(signal.SIGTERM, stop)
start()
while True:
    ready, _, _ = select.select([manager, sys.stdin], [], [])
    if manager in ready:
        data, fds, _, _ = socket.recv_fds(manager, 65536, 16)
        heard(data.decode(), fds)
    if sys.stdin in ready:
        if sys.stdin.readline() == "":
            stop()
        os.waitpid(service, 0)
        start()
