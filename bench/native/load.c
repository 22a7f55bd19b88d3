// The load: one thread, epoll. wrk measures the plain cases; this does what wrk cannot: a connection for each request, a
// fixed offered rate, many sessions, many services, big bodies, and connections that stay idle.
//
//   load -a PORT -p PATH -s SESSIONS [-c CONNECTIONS] [-d SECONDS | -q COUNT] [-m METHOD -b BODY_BYTES]
//        [-S SERVICES] [-r RATE] [-C | -N] [-I]
//
//   -p   the request's path; %d in it is replaced by a number below SERVICES (-S), another one each time
//   -s   file of session ids, one a line; each request takes another one (with -q in their order, so that each is used)
//   -q   ends after COUNT requests instead of after SECONDS
//   -r   offers RATE requests/s at Poisson times from a fixed seed, and counts a latency from the time a request was
//        due, whether or not a connection was free (an open loop); else each connection asks again when it is answered
//   -C   a connection for each request, with "Connection: close"
//   -N   a connection for each request, without a word that it is the last
//   -I   after -q requests on as many connections says "idle" and keeps them until standard input ends
//
// Prints a line of JSON: requests, seconds, errors, bytes (of bodies, both ways), and with -r p50Us, p99Us, maxUs.
// An answer that is not 200 or a connection that fails is an error.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BUFFER_BYTES 262144
#define REQUEST_BYTES_MAX 1024
#define LATE_SECONDS_MAX 2

struct connection {
  int fd, is_open, is_busy, wants_write, request_length, sent;
  uint64_t body_to_send, body_to_read;
  int has_head;
  size_t have;
  double due;
  char request[REQUEST_BYTES_MAX], head[4096 + 1];
};

static int epoll_fd, port, connection_count = 64, service_count = 1, closes, says_close, stays, is_over;
static const char *method = "GET", *path = "/", *path_rest;
static uint64_t body_bytes, quota, requests, started, errors, bytes;
static double seconds = 1, rate, *latencies;
static size_t latency_count, latency_max;
static char **sessions, zeros[BUFFER_BYTES], sink[BUFFER_BYTES];
static size_t session_count;
static struct connection *all, **idle;
static int idle_count;

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static uint64_t dice(void) { // xorshift64, from a fixed seed: every peer gets the same sequence
  static uint64_t state = 88172645463325252ull;
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return state;
}

static void read_sessions(const char *file_path) {
  FILE *file = fopen(file_path, "r");
  char line[256];
  if (!file) perror(file_path), exit(1);
  while (fgets(line, sizeof line, file)) session_count++;
  sessions = malloc((session_count + 1) * sizeof *sessions);
  rewind(file);
  for (size_t index = 0; fgets(line, sizeof line, file); index++) {
    line[strcspn(line, "\n")] = 0;
    sessions[index] = strdup(line);
  }
  fclose(file);
}

static void watch(struct connection *of, int operation, int wants_write) {
  struct epoll_event event = {.events = EPOLLIN | (wants_write ? EPOLLOUT : 0), .data.ptr = of};
  of->wants_write = wants_write;
  epoll_ctl(epoll_fd, operation, of->fd, &event);
}

static void open_connection(struct connection *of) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int one = 1;
  of->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  setsockopt(of->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (connect(of->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS) perror("connect"), exit(1);
  of->is_open = 1;
  watch(of, EPOLL_CTL_ADD, 0);
}

static void close_connection(struct connection *of) {
  close(of->fd);
  of->is_open = 0;
}

static void failed(struct connection *of);
static void writable(struct connection *of);

/** Sends the next request on `of`, which is free. @param due when it was to be sent */
static void start(struct connection *of, double due) {
  const char *session = sessions[quota ? started % session_count : dice() % session_count];
  of->request_length = snprintf(of->request, sizeof of->request, "%s %s", method, path);
  if (path_rest) of->request_length += sprintf(of->request + of->request_length, "%d%s", (int)(dice() % (uint64_t)service_count), path_rest);
  char *at = of->request + of->request_length;
  at += sprintf(at, " HTTP/1.1\r\nHost: gateway.example\r\nCookie: session_id=%s\r\n", session);
  if (body_bytes) at += sprintf(at, "Content-Length: %llu\r\n", (unsigned long long)body_bytes);
  at += sprintf(at, says_close ? "Connection: close\r\n\r\n" : "\r\n");
  of->request_length = (int)(at - of->request);
  of->sent = 0, of->has_head = 0, of->have = 0, of->is_busy = 1, of->due = due;
  of->body_to_send = body_bytes;
  started++;
  if (!of->is_open) open_connection(of);
  writable(of);
}

static void writable(struct connection *of) {
  while (of->sent < of->request_length || of->body_to_send > 0) {
    int is_head = of->sent < of->request_length;
    size_t most = of->body_to_send < BUFFER_BYTES ? of->body_to_send : BUFFER_BYTES;
    ssize_t count = is_head ? send(of->fd, of->request + of->sent, (size_t)(of->request_length - of->sent), body_bytes ? MSG_MORE : 0)
                            : send(of->fd, zeros, most, 0);
    if (count < 0 && (errno == EAGAIN || errno == ENOTCONN)) {
      if (!of->wants_write) watch(of, EPOLL_CTL_MOD, 1);
      return;
    }
    if (count < 0) {
      failed(of);
      return;
    }
    if (is_head) of->sent += (int)count;
    else of->body_to_send -= (uint64_t)count, bytes += (uint64_t)count;
  }
  if (of->wants_write) watch(of, EPOLL_CTL_MOD, 0);
}

/** Whether another request is to be sent. */
static int goes_on(void) {
  return !is_over && (quota == 0 || started < quota);
}

/** `of` is free. */
static void next(struct connection *of) {
  of->is_busy = 0;
  if (stays) return;
  if (rate == 0 && goes_on()) start(of, now());
  else idle[idle_count++] = of;
}

static void failed(struct connection *of) {
  errors++;
  close_connection(of);
  if (errors > 100) is_over = 1; // a peer that refuses would keep this in a tight circle
  next(of);
}

static void answered(struct connection *of) {
  requests++;
  if (rate > 0 && latency_count < latency_max) latencies[latency_count++] = now() - of->due;
  if (closes) close_connection(of);
  next(of);
}

/** Reads what is there of an answer. */
static void readable(struct connection *of) {
  while (of->is_open) {
    if (of->has_head) {
      ssize_t count = of->body_to_read > 65536 ? recv(of->fd, sink, BUFFER_BYTES, MSG_TRUNC) // dropped without a copy
                                               : recv(of->fd, sink, BUFFER_BYTES, 0);
      if (count < 0 && errno == EAGAIN) return;
      if (count <= 0 || (uint64_t)count > of->body_to_read) {
        failed(of);
        return;
      }
      bytes += (uint64_t)count;
      of->body_to_read -= (uint64_t)count;
    } else {
      ssize_t count = recv(of->fd, of->head + of->have, sizeof of->head - 1 - of->have, 0);
      if (count < 0 && errno == EAGAIN) return;
      if (count <= 0 || !of->is_busy) {
        if (of->is_busy) failed(of);
        else close_connection(of);
        return;
      }
      of->have += (size_t)count;
      of->head[of->have] = 0;
      char *end = strstr(of->head, "\r\n\r\n");
      if (!end) continue;
      const char *length = strcasestr(of->head, "\r\nContent-Length:");
      uint64_t have = of->have - (size_t)(end + 4 - of->head);
      if (strncmp(of->head, "HTTP/1.1 200", 12) || !length || length > end) {
        if (errors == 0) fprintf(stderr, "not the answer that is expected: %.*s\n", (int)strcspn(of->head, "\r"), of->head);
        failed(of);
        return;
      }
      of->has_head = 1;
      of->body_to_read = strtoull(length + 17, NULL, 10) - have;
      bytes += have;
    }
    if (of->has_head && of->body_to_read == 0) {
      answered(of);
      return;
    }
  }
}

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

/** Waits for events until `until` at the latest, and acts on them. */
static void turn(double until) {
  struct epoll_event events[256];
  double left = until - now();
  if (left < 0) left = 0;
  struct timespec wait = {.tv_sec = (time_t)left, .tv_nsec = (long)((left - (double)(time_t)left) * 1e9)};
  int count = epoll_pwait2(epoll_fd, events, 256, &wait, NULL);
  for (int index = 0; index < count; index++) {
    struct connection *of = events[index].data.ptr;
    if (of->is_open && (events[index].events & EPOLLOUT)) writable(of);
    if (of->is_open && (events[index].events & ~(uint32_t)EPOLLOUT)) readable(of);
  }
}

/** The closed loop: each connection asks again as soon as it is answered. */
static void run_closed(double begin) {
  int opened = 0;
  for (; opened < connection_count && opened < 64 && goes_on(); opened++) start(&all[opened], begin);
  while (quota ? requests + errors < quota : now() < begin + seconds) {
    if (is_over) break;
    uint64_t before = requests;
    turn(quota ? now() + 1 : begin + seconds);
    // The other connections are opened as the first ones are answered, so that no queue of connections overflows.
    for (uint64_t more = requests - before; more > 0 && opened < connection_count && goes_on(); more--) start(&all[opened++], now());
  }
  is_over = 1;
}

/** The open loop: requests are due at their times, whatever the answers do. */
static void run_open(double begin) {
  uint64_t due_max = (uint64_t)(rate * seconds * 2) + 1000, due_first = 0, due_end = 0;
  double *due = malloc(due_max * sizeof *due), end = begin + seconds, next_due = begin;
  latency_max = due_max;
  latencies = malloc(latency_max * sizeof *latencies);
  for (int index = 0; index < connection_count; index++) idle[idle_count++] = &all[index];
  for (;;) {
    double time = now();
    for (; next_due <= time && next_due < end && due_end < due_max; due_end++) {
      due[due_end] = next_due;
      next_due += -log((double)((dice() >> 11) + 1) / 9007199254740993.0) / rate;
    }
    while (due_first < due_end && idle_count > 0) start(idle[--idle_count], due[due_first++]);
    if (is_over || time > end + LATE_SECONDS_MAX || (next_due >= end && requests + errors == due_end)) break;
    turn(next_due < end ? next_due : time + 0.01);
  }
  errors += due_end - requests - errors; // what was never answered
  qsort(latencies, latency_count, sizeof *latencies, by_size);
}

static double quantile(double part) {
  return latency_count == 0 ? 0 : 1e6 * latencies[(size_t)(part * (double)(latency_count - 1))];
}

int main(int argc, char **argv) {
  int option;
  while ((option = getopt(argc, argv, "a:p:s:c:d:q:m:b:S:r:CNI")) != -1) {
    switch (option) {
      case 'a': port = atoi(optarg); break;
      case 'p': path = optarg; break;
      case 's': read_sessions(optarg); break;
      case 'c': connection_count = atoi(optarg); break;
      case 'd': seconds = atof(optarg); break;
      case 'q': quota = strtoull(optarg, NULL, 10); break;
      case 'm': method = optarg; break;
      case 'b': body_bytes = strtoull(optarg, NULL, 10); break;
      case 'S': service_count = atoi(optarg); break;
      case 'r': rate = atof(optarg); break;
      case 'C': closes = says_close = 1; break;
      case 'N': closes = 1; break;
      case 'I': stays = 1; break;
      default: return 2;
    }
  }
  if (!session_count) fprintf(stderr, "no sessions: give -s\n"), exit(2);
  char *number = strstr(path, "%d");
  if (number) path = strndup(path, (size_t)(number - path)), path_rest = number + 2;
  signal(SIGPIPE, SIG_IGN);
  prctl(PR_SET_TIMERSLACK, 1);
  epoll_fd = epoll_create1(0);
  all = calloc((size_t)connection_count, sizeof *all);
  idle = calloc((size_t)connection_count, sizeof *idle);
  double begin = now();
  if (rate > 0) run_open(begin);
  else run_closed(begin);
  double took = now() - begin;
  printf("{\"requests\":%llu,\"seconds\":%.6f,\"errors\":%llu,\"bytes\":%llu,\"p50Us\":%.1f,\"p99Us\":%.1f,\"maxUs\":%.1f}\n",
         (unsigned long long)requests, took, (unsigned long long)errors, (unsigned long long)bytes, quantile(0.5), quantile(0.99), quantile(1));
  fflush(stdout);
  if (stays) while (read(0, sink, sizeof sink) > 0) {}
}
