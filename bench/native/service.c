// The service behind every peer, and (with -k) the checker of sessions that nginx and Caddy ask: one thread, epoll,
// nothing allocated for a request, so that it is never what limits a measurement.
//
//   service [-t PORT] [-u PATH] [-d DIRECTORY -n COUNT] [-k SESSIONS]
//
// -t listens on 127.0.0.1 (0: any port), -u on a Unix socket, -d and -n on COUNT sockets DIRECTORY/org.bench.sN.
// Prints "ready PORT" when it listens. A path ends with one of
//
//   /small          22 bytes
//   /64k            65,536 bytes
//   /bulk/COUNT     COUNT bytes
//   /user           the value of X-Xen-Session-User
//
// A request with a body (Content-Length only) is answered with 22 bytes after its last byte. With -k every request is
// answered 200 with X-Xen-Session-User if its cookie session_id is in the file SESSIONS (one id a line), else 403.
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define HEAD_BYTES_MAX 16384
#define CHUNK_BYTES 262144

struct connection {
  int fd, is_listener, is_tcp, closes;
  size_t have;           // bytes in head
  uint64_t body_left;    // of the request
  uint64_t send_left;    // of the response
  int is_answering;
  char head[HEAD_BYTES_MAX + 1];
};

static int epoll_fd;
static char zeros[CHUNK_BYTES], sink[CHUNK_BYTES];
static const char SMALL[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 22\r\n\r\nhello from the service";

static void die(const char *what) {
  perror(what);
  exit(1);
}

// ── the sessions that the checker knows: open addressing, FNV-1a ──

static char **table;
static size_t table_size;

static size_t slot(const char *id, size_t length) {
  uint64_t hash = 1469598103934665603ull;
  for (size_t at = 0; at < length; at++) hash = (hash ^ (unsigned char)id[at]) * 1099511628211ull;
  size_t index = hash & (table_size - 1);
  while (table[index] && (strncmp(table[index], id, length) || table[index][length])) index = (index + 1) & (table_size - 1);
  return index;
}

static void read_sessions(const char *path) {
  FILE *file = fopen(path, "r");
  if (!file) die(path);
  size_t count = 0;
  char line[256];
  while (fgets(line, sizeof line, file)) count++;
  for (table_size = 16; table_size < 2 * count; table_size *= 2) {}
  table = calloc(table_size, sizeof *table);
  rewind(file);
  while (fgets(line, sizeof line, file)) {
    line[strcspn(line, "\n")] = 0;
    table[slot(line, strlen(line))] = strdup(line);
  }
  fclose(file);
}

// ── answers ──

/** The value of the field `name` (with its colon), or null; `*length` is its length. */
static const char *field(const char *head, const char *name, size_t *length) {
  size_t name_length = strlen(name);
  for (const char *line = strstr(head, "\r\n"); line; line = strstr(line, "\r\n")) {
    line += 2;
    if (strncasecmp(line, name, name_length)) continue;
    const char *value = line + name_length;
    while (*value == ' ') value++;
    *length = strcspn(value, "\r");
    return value;
  }
  return NULL;
}

static void finish(struct connection *of) {
  close(of->fd);
  free(of);
}

static void watch(struct connection *of, uint32_t events, int operation) {
  struct epoll_event event = {.events = events, .data.ptr = of};
  if (epoll_ctl(epoll_fd, operation, of->fd, &event)) die("epoll_ctl");
}

/** Writes a short answer; it always fits into the socket's buffer, which is empty. */
static int say(struct connection *of, const char *text, size_t length) {
  return write(of->fd, text, length) == (ssize_t)length;
}

static int check(struct connection *of) {
  size_t length;
  const char *cookie = field(of->head, "Cookie:", &length);
  const char *id = cookie ? memmem(cookie, length, "session_id=", 11) : NULL;
  size_t id_length = id ? strcspn(id += 11, ";\r") : 0;
  int is_known = id && table[slot(id, id_length)] != NULL;
  static const char YES[] = "HTTP/1.1 200 OK\r\nX-Xen-Session-User: bench\r\nContent-Length: 0\r\n\r\n";
  static const char NO[] = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
  return is_known ? say(of, YES, sizeof YES - 1) : say(of, NO, sizeof NO - 1);
}

/** Answers the request whose head is there. @returns 0 when the connection is to be closed */
static int answer(struct connection *of, int had_body) {
  if (table) return check(of);
  size_t path_length = strcspn(of->head, "\r");
  const char *bulk = memmem(of->head, path_length, "/bulk/", 6);
  char text[512];
  if (had_body) return say(of, SMALL, sizeof SMALL - 1);
  if (memmem(of->head, path_length, "/user ", 6)) {
    size_t length = 0;
    const char *user = field(of->head, "X-Xen-Session-User:", &length);
    if (length > 200) return 0;
    int bytes = sprintf(text, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%.*s", length, (int)length, user ? user : "");
    return say(of, text, (size_t)bytes);
  }
  if (!bulk && !memmem(of->head, path_length, "/64k ", 5)) return say(of, SMALL, sizeof SMALL - 1);
  of->send_left = bulk ? strtoull(bulk + 6, NULL, 10) : 65536;
  int bytes = sprintf(text, "HTTP/1.1 200 OK\r\nContent-Length: %llu\r\n\r\n", (unsigned long long)of->send_left);
  if (send(of->fd, text, (size_t)bytes, MSG_MORE) != bytes) return 0;
  of->is_answering = 1;
  return 1;
}

/** Writes on of a long answer. @returns 0 when the connection is to be closed, -1 when it has to wait */
static int write_on(struct connection *of) {
  while (of->send_left > 0) {
    size_t most = of->send_left < CHUNK_BYTES ? of->send_left : CHUNK_BYTES;
    ssize_t count = write(of->fd, zeros, most);
    if (count < 0) return errno == EAGAIN ? -1 : 0;
    of->send_left -= (uint64_t)count;
  }
  of->is_answering = 0;
  return 1;
}

/** Takes what came, and answers what is complete. @returns 0 when the connection is to be closed */
static int read_on(struct connection *of) {
  for (;;) {
    if (of->body_left > 0 && of->have == 0) {
      ssize_t count = read(of->fd, sink, of->body_left < CHUNK_BYTES ? of->body_left : CHUNK_BYTES);
      if (count <= 0) return count < 0 && errno == EAGAIN;
      if ((of->body_left -= (uint64_t)count) > 0) continue;
      return answer(of, 1) && !of->closes;
    }
    ssize_t count = read(of->fd, of->head + of->have, HEAD_BYTES_MAX - of->have);
    if (count <= 0) return count < 0 && errno == EAGAIN;
    of->have += (size_t)count;
    of->head[of->have] = 0;
    char *end = memmem(of->head, of->have, "\r\n\r\n", 4);
    if (!end) {
      if (of->have == HEAD_BYTES_MAX) return 0;
      continue;
    }
    end[2] = 0; // the look-ups below stop here
    size_t length, rest = of->have - (size_t)(end + 4 - of->head);
    const char *value = field(of->head, "Connection:", &length);
    of->closes = value && !strncasecmp(value, "close", 5);
    value = field(of->head, "Content-Length:", &length);
    of->body_left = value ? strtoull(value, NULL, 10) : 0;
    of->have = 0;
    if (rest > of->body_left || field(of->head, "Transfer-Encoding:", &length)) return 0; // no pipelining, no chunks
    if ((of->body_left -= rest) > 0) continue;
    if (!answer(of, value != NULL && rest > 0)) return 0;
    if (of->is_answering) {
      int written = write_on(of);
      if (written == 0) return 0;
      if (written < 0) {
        watch(of, EPOLLOUT, EPOLL_CTL_MOD);
        return 1;
      }
    }
    if (of->closes) return 0;
    // The socket is most likely empty now: epoll says so for less than another read.
    return 1;
  }
}

// ── connections ──

static void accept_all(struct connection *listener) {
  for (;;) {
    int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0) return;
    int one = 1;
    if (listener->is_tcp) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct connection *of = malloc(sizeof *of);
    *of = (struct connection){.fd = fd, .is_tcp = listener->is_tcp};
    watch(of, EPOLLIN, EPOLL_CTL_ADD);
  }
}

static int serve_at(struct sockaddr *address, socklen_t length) {
  int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, address, length) || listen(fd, 4096)) die("listen");
  struct connection *of = calloc(1, sizeof *of);
  of->fd = fd;
  of->is_listener = 1;
  of->is_tcp = address->sa_family == AF_INET;
  watch(of, EPOLLIN, EPOLL_CTL_ADD);
  return fd;
}

static void serve_unix(const char *path) {
  struct sockaddr_un name = {.sun_family = AF_UNIX};
  snprintf(name.sun_path, sizeof name.sun_path, "%s", path);
  serve_at((struct sockaddr *)&name, sizeof name);
}

int main(int argc, char **argv) {
  const char *directory = NULL;
  int port = -1, option;
  signal(SIGPIPE, SIG_IGN);
  epoll_fd = epoll_create1(0);
  while ((option = getopt(argc, argv, "t:u:d:n:k:")) != -1) {
    if (option == 't') port = atoi(optarg);
    else if (option == 'u') serve_unix(optarg);
    else if (option == 'd') directory = optarg;
    else if (option == 'k') read_sessions(optarg);
    else if (option == 'n') {
      for (int index = 0; directory && index < atoi(optarg); index++) {
        char path[256];
        snprintf(path, sizeof path, "%s/org.bench.s%d", directory, index);
        serve_unix(path);
      }
    } else return 2;
  }
  if (port >= 0) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof name;
    getsockname(serve_at((struct sockaddr *)&name, length), (struct sockaddr *)&name, &length);
    port = ntohs(name.sin_port);
  }
  printf("ready %d\n", port);
  fflush(stdout);
  struct epoll_event events[256];
  for (;;) {
    int count = epoll_wait(epoll_fd, events, 256, -1);
    for (int index = 0; index < count; index++) {
      struct connection *of = events[index].data.ptr;
      if (of->is_listener) {
        accept_all(of);
      } else if (of->is_answering) {
        int written = write_on(of);
        if (written == 0 || (written > 0 && of->closes)) finish(of);
        else if (written > 0) watch(of, EPOLLIN, EPOLL_CTL_MOD);
      } else if (!read_on(of)) {
        finish(of);
      }
    }
  }
}
