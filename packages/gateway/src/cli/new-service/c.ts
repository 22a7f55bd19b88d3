// Templates of a service in C. `%NAME%` is the service's name.

import { tryIt } from './readme.ts'

export const C_SERVICE: string = String.raw`/*
 * The custom service %NAME%: service [DIRECTORY], where the gateway looks; by default /var/xapi/plugin.
 *
 * It takes the requests that the gateway relays, HTTP/1.1 on a Unix socket, in a thread for each connection, and closes the connection
 * after an answer: so nothing that is left of a body can be taken for a request. It needs nothing but libc.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define NAME "%NAME%"
#define PREFIX "/services/plugin/" NAME

enum { HEAD_BYTES_MAX = 65536, QUIET_SECONDS = 60, DRAIN_SECONDS = 30, SYSTEMD_FD = 3 };

/* ── A connection ─────────────────────────────────────────────────────────────────────────────────────────────────── */

struct connection {
    int fd;
    int is_stranger;                        /* whether somebody else than the gateway has connected */
    size_t at, end;                         /* what was read and is not used: data[at] to data[end] */
    char data[65536];
    char head[HEAD_BYTES_MAX + 1];
};

struct request {
    char *method, *path;
    char user[1024];
    int is_chunked, expects;
    long long length;
};

/* The next byte; -1 at the end, or when nothing comes for too long. */
static int next_byte(struct connection *connection)
{
    while (connection->at == connection->end) {
        ssize_t count = recv(connection->fd, connection->data, sizeof connection->data, 0);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) return -1;
        connection->at = 0;
        connection->end = count;
    }
    return (unsigned char)connection->data[connection->at++];
}

/* Drops "count" bytes of a body as they come; 0 when it breaks off. A service of your own does something with them here. */
static int skip(struct connection *connection, long long count)
{
    while (count > 0) {
        if (next_byte(connection) == -1) return 0;
        connection->at--;
        long long part = connection->end - connection->at;
        if (part > count) part = count;
        connection->at += part;
        count -= part;
    }
    return 1;
}

/* Reads a line without its CR LF into "text"; 0 when that cannot be. */
static int read_line(struct connection *connection, char *text, size_t room)
{
    size_t count = 0;
    for (int byte; (byte = next_byte(connection)) != '\n'; text[count++] = byte) {
        if (byte == -1 || byte == '\0' || count == room - 1) return 0;
    }
    if (count == 0 || text[--count] != '\r') return 0;
    text[count] = '\0';
    return 1;
}

static int send_all(int fd, const char *data, size_t count)
{
    while (count > 0) {
        ssize_t sent = send(fd, data, count, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return 0;
        data += sent;
        count -= sent;
    }
    return 1;
}

/* ── Requests ─────────────────────────────────────────────────────────────────────────────────────────────────────── */

/* Copies a field of the gateway, in which all but visible ASCII is percent-encoded. */
static void percent_decode(char *into, size_t room, const char *text)
{
    char *last = into + room - 1;
    for (unsigned code; *text != '\0' && into < last; text++) {
        if (*text == '%' && isxdigit((unsigned char)text[1]) && isxdigit((unsigned char)text[2])) {
            sscanf(text + 1, "%2x", &code);
            *into++ = code;
            text += 2;
        } else {
            *into++ = *text;
        }
    }
    *into = '\0';
}

/* Reads a head; 0 when it is none. What it points to is in "connection". */
static int read_head(struct connection *connection, struct request *request)
{
    char *line = connection->head, *end = connection->head + sizeof connection->head, *space;
    *request = (struct request){ 0 };
    if (!read_line(connection, line, end - line) || (space = strchr(line, ' ')) == NULL) return 0;
    *space = '\0';
    request->method = line;
    request->path = space + 1;
    if ((space = strchr(request->path, ' ')) == NULL || strncmp(space, " HTTP/1.", 8) != 0) return 0;
    line = space + strlen(space) + 1;
    *space = '\0';
    request->path[strcspn(request->path, "?")] = '\0';
    while (line < end && read_line(connection, line, end - line)) {
        if (*line == '\0') return 1;
        char *value = strchr(line, ':');
        if (value == NULL) return 0;
        *value++ = '\0';
        value += strspn(value, " \t");
        if (!strcasecmp(line, "x-xen-session-user") && !connection->is_stranger) {
            percent_decode(request->user, sizeof request->user, value);
        }
        if (!strcasecmp(line, "transfer-encoding")) request->is_chunked = 1;
        if (!strcasecmp(line, "content-length")) request->length = atoll(value);
        if (!strcasecmp(line, "expect")) request->expects = 1;
    }
    return 0;
}

/* Reads the body as it comes, and never keeps it whole. Returns its size; -1 when it breaks off. */
static long long read_body(struct connection *connection, const struct request *request)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    long long size = 0, part;
    char line[4096], *rest;
    if (request->expects && !send_all(connection->fd, go_on, sizeof go_on - 1)) return -1;
    if (!request->is_chunked) return skip(connection, request->length) ? request->length : -1;
    do {
        if (!read_line(connection, line, sizeof line) || !isxdigit((unsigned char)*line)) return -1;
        part = strtoll(line, &rest, 16);
        if (!skip(connection, part)) return -1;
        /* The line end after the data; after the last chunk, trailers up to an empty line. */
        do {
            if (!read_line(connection, line, sizeof line)) return -1;
        } while (part == 0 && *line != '\0');
        size += part;
    } while (part > 0);
    return size;
}

static void answer(struct connection *connection, const char *status, const char *text)
{
    char head[512];
    int bytes = snprintf(head, sizeof head,
                         "HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
                         status, strlen(text));
    if (send_all(connection->fd, head, bytes)) send_all(connection->fd, text, strlen(text));
}

static void handle(struct connection *connection, const struct request *request)
{
    char text[2048];
    if (strcmp(request->path, PREFIX) == 0 && strcmp(request->method, "GET") == 0) {
        snprintf(text, sizeof text, "hello %s\n", request->user);
        answer(connection, "200 OK", text);
    } else if (strcmp(request->path, PREFIX "/size") == 0 &&
               (strcmp(request->method, "PUT") == 0 || strcmp(request->method, "POST") == 0)) {
        long long size = read_body(connection, request);
        snprintf(text, sizeof text, "%lld bytes\n", size);
        if (size >= 0) answer(connection, "200 OK", text);
    } else {
        answer(connection, "404 Not Found", "There is nothing here.\n");
    }
}

/* ── Connections ──────────────────────────────────────────────────────────────────────────────────────────────────── */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t one_less = PTHREAD_COND_INITIALIZER;
static int open_connections;

static void count_open(int change)
{
    pthread_mutex_lock(&lock);
    open_connections += change;
    pthread_cond_signal(&one_less);
    pthread_mutex_unlock(&lock);
}

/*
 * Whether the word of who has connected is worth nothing: on a host the gateway's workers are the user xengate, and xapi, which is root,
 * leads its own clients here with whatever fields they send.
 */
static const struct passwd *gateway;

static int is_stranger(int fd)
{
    struct ucred peer = { .uid = -1 };
    socklen_t bytes = sizeof peer;
    if (gateway == NULL) return 0;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) != 0 || peer.uid != gateway->pw_uid;
}

static void *serve(void *of)
{
    struct connection *connection = of;
    struct timeval quiet = { .tv_sec = QUIET_SECONDS };
    struct request request;
    setsockopt(connection->fd, SOL_SOCKET, SO_RCVTIMEO, &quiet, sizeof quiet);
    setsockopt(connection->fd, SOL_SOCKET, SO_SNDTIMEO, &quiet, sizeof quiet);
    if (read_head(connection, &request)) handle(connection, &request);
    /* What still comes is read, up to the end: closing before would take the answer away. */
    shutdown(connection->fd, SHUT_WR);
    while (next_byte(connection) != -1) connection->at = connection->end;
    close(connection->fd);
    free(connection);
    count_open(-1);
    return NULL;
}

static void *accept_connections(void *of)
{
    int server = *(int *)of;
    for (;;) {
        int fd = accept4(server, NULL, NULL, SOCK_CLOEXEC);
        if (fd == -1) {
            struct timespec pause = { .tv_nsec = 100000000 };
            if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) nanosleep(&pause, NULL);
            continue;
        }
        struct connection *connection = calloc(1, sizeof *connection);
        pthread_t thread;
        if (connection == NULL) {
            close(fd);
            continue;
        }
        connection->fd = fd;
        connection->is_stranger = is_stranger(fd);
        count_open(1);
        if (pthread_create(&thread, NULL, serve, connection) == 0) {
            pthread_detach(thread);
        } else {
            close(fd);
            free(connection);
            count_open(-1);
        }
    }
    return NULL;
}

/* ── Listening ────────────────────────────────────────────────────────────────────────────────────────────────────── */

/* Whether systemd has opened the socket: it is descriptor 3 then. */
static int is_given(void)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    return pid != NULL && count != NULL && atol(pid) == (long)getpid() && atoi(count) == 1;
}

static int listen_on(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(address.sun_path, path);
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* A file that nobody listens on is left over from a process that was killed. */
    if (connect(probe, (struct sockaddr *)&address, sizeof address) == -1 && errno == ECONNREFUSED) unlink(path);
    close(probe);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) == -1) return -1;
    /* Who can connect is trusted. Nobody can before this process listens. */
    return chmod(path, 0660) == 0 && listen(fd, 512) == 0 ? fd : -1;
}

int main(int argc, char **argv)
{
    const char *directory = argc > 1 ? argv[1] : "/var/xapi/plugin";
    char path[4096];
    sigset_t signals;
    pthread_t thread;
    int received, server;
    /* Threads inherit that they take no signals. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    gateway = getpwnam("xengate");
    snprintf(path, sizeof path, "%s/" NAME, directory);
    server = is_given() ? SYSTEMD_FD : listen_on(path);
    if (server == -1) {
        const char *hint = errno == ENOENT ? "; is the gateway started? Give the directory that it looks in" : "";
        fprintf(stderr, "cannot listen on %s: %s%s\n", path, strerror(errno), hint);
        return 1;
    }
    if (pthread_create(&thread, NULL, accept_connections, &server) != 0) return 1;
    printf("listening on %s\n", path);
    fflush(stdout);
    sigwait(&signals, &received);

    /* No new connections; requests under way are finished. */
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += DRAIN_SECONDS;
    if (!is_given()) unlink(path);
    pthread_cancel(thread);                 /* nowhere but in accept4, or while it pauses */
    pthread_join(thread, NULL);
    pthread_mutex_lock(&lock);
    while (open_connections > 0 && pthread_cond_timedwait(&one_less, &lock, &until) == 0) continue;
    return 0;
}
`

export const C_TEST: string = String.raw`#!/bin/sh
# Signs in at a gateway and calls the service, which has to run. Needs curl.
#
# XENGATE_URL is the gateway (by default http://127.0.0.1:8080), XENGATE_USER and XENGATE_PASSWORD who signs in (by default root, with
# the password that "xengate dev" has left in .xengate/password, here or in the nearest directory above).

# Prints the password of the nearest gateway: this directory's, or that of one above.
found_password() {
    looked=
    directory=$(cd "$(dirname "$0")" && pwd)
    while :; do
        path=${'$'}{directory%/}/.xengate/password
        if [ -f "$path" ]; then
            cat "$path"
            return
        fi
        looked="$looked $path"
        [ "$directory" != / ] || break
        directory=$(dirname "$directory")
    done
    echo "there is no password: set XENGATE_PASSWORD, or start a gateway with xengate dev; looked for$looked" >&2
    return 1
}

url=${'$'}{XENGATE_URL:-http://127.0.0.1:8080}
user=${'$'}{XENGATE_USER:-root}
password=${'$'}{XENGATE_PASSWORD:-$(found_password)} || exit 1
service=$url/services/plugin/%NAME%
failures=0

# call METHOD PARAMETERS, as JSON: calls the XenAPI, and prints the answer.
call() {
    printf '{"jsonrpc":"2.0","id":1,"method":"%s","params":[%s]}' "$1" "$2" |
        curl -sS --max-time 20 --data-binary @- "$url/jsonrpc"
}

# ask OPTIONS OF CURL: prints what the service answers, and the status in a line of its own.
ask() {
    curl -sS --max-time 20 -w '\n%{http_code}\n' "$@"
}

# check WHAT EXPECTED ACTUAL
check() {
    if [ "$2" = "$3" ]; then
        echo "ok: $1"
    else
        echo "FAILED: $1: \"$3\" in place of \"$2\""
        failures=$((failures + 1))
    fi
}

answer=$(call session.login_with_password "\"$user\",\"$password\",\"1.0\",\"test of %NAME%\"")
session=$(printf '%s' "$answer" | sed -n 's/.*"result":"\([^"]*\)".*/\1/p')
if [ -z "$session" ]; then
    echo "cannot sign in at $url: $answer" >&2
    exit 1
fi
cookie="Cookie: session_id=$session"

check 'says who asks' "hello $user 200" "$(ask -H "$cookie" "$service" | xargs)"
check 'reads a body' '1000000 bytes 200' "$(head -c 1000000 /dev/zero | ask -H "$cookie" -T - "$service/size" | xargs)"
check 'has nothing elsewhere' 'There is nothing here. 404' "$(ask -H "$cookie" "$service/none" | xargs)"
check 'is not reached without a session' 403 "$(ask "$service" | tail -n 1)"

call session.logout "\"$session\"" > /dev/null
[ "$failures" = 0 ]
`

export const C_README: string = `# %NAME%

A custom service in C, with nothing but libc. It takes the requests that the gateway relays. How a service in C takes clients' own
connections is shown by \`examples/channel-service-c\` of Xengate.

## Build it

\`\`\`sh
cc -O2 -Wall -Wextra -pthread -o service service.c
\`\`\`

${tryIt('./service', 'sh test_service.sh')}
## Install it on a host

\`\`\`sh
mkdir -p /opt/%NAME% && cp service /opt/%NAME%/
cp %NAME%.service %NAME%.socket /etc/systemd/system/
systemctl daemon-reload && systemctl enable --now %NAME%.socket
\`\`\`

systemd listens on the socket, and starts the service at the first request. \`journalctl -u %NAME%\` shows what it prints.
`
