/*
 * A custom service that takes channels, in C, with nothing but libc.
 *
 *     cc -O2 -pthread -o service service.c && ./service DIRECTORY NAME
 *
 * It answers GET with who is asking. It listens on NAME.channel alone, to be short: a service of your own should also serve
 * HTTP on NAME, for what the gateway has to relay. docs/channels.md is the protocol; the numbers in brackets are the steps of "What a
 * service must do" there. What can be read in more than one way is not refused here, but left to the gateway. A thread serves a
 * channel, and waits for its two sockets at once.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
    OFFER_BYTES_MAX = 65536,
    RECEIVED_BYTES_MAX = 1048576,
    HEAD_BYTES_MAX = 16384,
    MESSAGE_MS = 5000,
    REPORT_MS = 5000,
    IDLE_MS = 75000,
};

static const char *service_name;

struct channel {
    int control, client;
    char *offer;                            /* the JSON, from which the strings below are taken */
    char *service, *session_id, *user, *methods, *gateway, *greeting;
    char *unread;                           /* what came from the client and is not used */
    size_t unread_bytes, room;
    /* Of requests that are answered here: the gateway counts what is forwarded. */
    long long requests, bytes_in, bytes_out, told_requests, told_in, told_out;
    long long told_ms;
};

static long long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* ── JSON ─────────────────────────────────────────────────────────────────────────────────────────────────────────── */

static const char *skip_space(const char *at)
{
    while (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r') at++;
    return at;
}

/* The end of the value at `at`, or NULL. Nothing is checked beyond what is needed to find it. */
static const char *skip_value(const char *at)
{
    int depth = 0;
    at = skip_space(at);
    do {
        if (*at == '"') {
            for (at++; *at != '"'; at++) {
                if (*at == '\\') at++;
                if (*at == '\0') return NULL;
            }
            at++;
        } else if (*at == '{' || *at == '[') {
            depth++;
            at++;
        } else if (*at == '}' || *at == ']') {
            depth--;
            at++;
        } else if (*at == '\0') {
            return NULL;
        } else if (depth == 0) {
            while (*at != '\0' && strchr(",]} \t\r\n", *at) == NULL) at++;
        } else {
            at++;
        }
    } while (depth > 0);
    return at;
}

/* The value of `name` in the object at `at`, or NULL. */
static const char *member(const char *at, const char *name)
{
    if (at == NULL || *(at = skip_space(at)) != '{') return NULL;
    at = skip_space(at + 1);
    while (*at == '"') {
        const char *end = skip_value(at);
        if (end == NULL) return NULL;
        int is_it = (size_t)(end - at) == strlen(name) + 2 && strncmp(at + 1, name, strlen(name)) == 0;
        at = skip_space(end);
        if (*at != ':') return NULL;
        at = skip_space(at + 1);
        if (is_it) return at;
        if ((at = skip_value(at)) == NULL) return NULL;
        at = skip_space(at);
        if (*at == ',') at = skip_space(at + 1);
    }
    return NULL;
}

static char *put_utf8(char *to, unsigned code)
{
    if (code < 0x80) {
        *to++ = code;
    } else if (code < 0x800) {
        *to++ = 0xc0 | code >> 6;
        *to++ = 0x80 | (code & 0x3f);
    } else if (code < 0x10000) {
        *to++ = 0xe0 | code >> 12;
        *to++ = 0x80 | (code >> 6 & 0x3f);
        *to++ = 0x80 | (code & 0x3f);
    } else {
        *to++ = 0xf0 | code >> 18;
        *to++ = 0x80 | (code >> 12 & 0x3f);
        *to++ = 0x80 | (code >> 6 & 0x3f);
        *to++ = 0x80 | (code & 0x3f);
    }
    return to;
}

/* A copy of the string at `at`, for the caller to free; NULL when no string is there. */
static char *string_at(const char *at)
{
    const char *end;
    if (at == NULL || *at != '"' || (end = skip_value(at)) == NULL) return NULL;
    char *text = malloc(end - at), *to = text;
    if (text == NULL) return NULL;
    for (at++; at < end - 1; at++) {
        unsigned code, low;
        if (*at != '\\') {
            *to++ = *at;
        } else if (*++at == 'u' && sscanf(at + 1, "%4x", &code) == 1 && code != 0) {
            at += 4;
            if (code >= 0xd800 && code < 0xdc00 && sscanf(at + 1, "\\u%4x", &low) == 1) {
                code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                at += 6;
            }
            to = put_utf8(to, code);
        } else {
            const char *known = strchr("b\bf\fn\nr\rt\t", *at);
            *to++ = known != NULL ? known[1] : *at;
        }
    }
    *to = '\0';
    return text;
}

/* ── The first message ────────────────────────────────────────────────────────────────────────────────────────────── */

/* Waits until `fd` can be read or written; 0 when that takes too long. */
static int wait_for(int fd, short events, long long until_ms)
{
    struct pollfd one = { .fd = fd, .events = events };
    for (;;) {
        long long left = until_ms - now_ms();
        int count = poll(&one, 1, left > 0 ? (int)left : 0);
        if (count >= 0 || errno != EINTR) return count > 0;
    }
}

/* Receives exactly `count` bytes; *fd is set to the descriptor that came with them, if it is -1 and one is wanted. [1] */
static const char *receive(int control, void *into, size_t count, int *fd, long long until_ms)
{
    int is_first = fd != NULL;
    for (size_t filled = 0; filled < count;) {
        char room[CMSG_SPACE(4 * sizeof(int))];
        struct iovec part = { (char *)into + filled, count - filled };
        struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room };
        if (!wait_for(control, POLLIN, until_ms)) return "the message came too slowly";
        ssize_t bytes = recvmsg(control, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        if (bytes < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (bytes < 0) return "the connection failed";

        int descriptors[4], descriptor_count = 0;
        for (struct cmsghdr *head = CMSG_FIRSTHDR(&message); head != NULL; head = CMSG_NXTHDR(&message, head)) {
            if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
            descriptor_count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            memcpy(descriptors, CMSG_DATA(head), descriptor_count * sizeof(int));
        }
        int is_right = descriptor_count == (is_first ? 1 : 0) && !(message.msg_flags & MSG_CTRUNC);
        if (is_right && is_first) *fd = descriptors[0];
        for (int index = 0; index < descriptor_count && !is_right; index++) close(descriptors[index]);
        if (bytes == 0) return "the message ended early";
        if (!is_right) return "one descriptor is taken, with the first byte";
        is_first = 0;
        filled += bytes;
    }
    return NULL;
}

/* Receives the message. Returns NULL, or why it cannot be taken; what it has made is freed by `channel_free` either way. */
static const char *receive_message(struct channel *channel)
{
    long long until_ms = now_ms() + MESSAGE_MS;
    uint32_t length;
    const char *why = receive(channel->control, &length, sizeof length, &channel->client, until_ms);
    if (why != NULL) return why;
    length = ntohl(length);
    if (length > OFFER_BYTES_MAX) return "the offer has more than 65536 bytes";
    if ((channel->offer = calloc(length + 1, 1)) == NULL) return "there is no memory";
    if ((why = receive(channel->control, channel->offer, length, NULL, until_ms)) != NULL) return why;

    const char *offer = channel->offer, *version = member(offer, "version"), *received = member(offer, "received");
    if (version == NULL || atoi(version) != 1) return "this side speaks version 1 of the channel protocol";
    const char *session = member(offer, "session"), *methods = member(offer, "methods");
    channel->service = string_at(member(offer, "service"));
    channel->session_id = string_at(member(session, "id"));
    channel->user = string_at(member(session, "user"));
    channel->gateway = string_at(member(offer, "gateway"));
    channel->greeting = string_at(member(offer, "greeting"));
    const char *methods_end = methods != NULL && *methods == '[' ? skip_value(methods) : NULL;
    if (methods_end != NULL) channel->methods = strndup(methods, methods_end - methods);
    if (!channel->service || !channel->session_id || !channel->user || !channel->gateway || !channel->methods ||
        received == NULL || !isdigit((unsigned char)*received)) {
        return "the offer lacks something";
    }
    if (*channel->session_id == '\0') return "the offer has no session id";
    if (strcmp(channel->service, service_name) != 0) return "this is another service";

    long count = strtol(received, NULL, 10);
    if (count > RECEIVED_BYTES_MAX) return "more than 1048576 bytes come with the offer";
    channel->room = count > HEAD_BYTES_MAX ? count : HEAD_BYTES_MAX;
    if ((channel->unread = malloc(channel->room + 1)) == NULL) return "there is no memory";
    channel->unread_bytes = count;
    return receive(channel->control, channel->unread, count, NULL, until_ms);
}

/* Whether the gateway has closed: the message may have lain here for long, and the client has got another answer. [1] */
static int has_given_up(int control)
{
    char byte;
    ssize_t bytes = recv(control, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return bytes == 0 || (bytes < 0 && errno != EAGAIN);
}

static void channel_free(struct channel *channel)
{
    if (channel->client != -1) close(channel->client);
    close(channel->control);
    free(channel->offer);
    free(channel->service);
    free(channel->session_id);
    free(channel->user);
    free(channel->methods);
    free(channel->gateway);
    free(channel->greeting);
    free(channel->unread);
    free(channel);
}

/* ── The connection ───────────────────────────────────────────────────────────────────────────────────────────────── */

/* Tells the gateway of use since the last time [6]. It does not wait: what does not go out now is told with the next. */
static void report(struct channel *channel)
{
    char line[160];
    if (channel->requests == channel->told_requests && channel->bytes_in == channel->told_in &&
        channel->bytes_out == channel->told_out) return;
    int bytes = snprintf(line, sizeof line, "{\"requests\":%lld,\"bytesIn\":%lld,\"bytesOut\":%lld}\n",
                         channel->requests - channel->told_requests, channel->bytes_in - channel->told_in,
                         channel->bytes_out - channel->told_out);
    channel->told_ms = now_ms();
    /* A line is far smaller than the socket's buffer, and goes out whole or not at all. */
    if (send(channel->control, line, bytes, MSG_NOSIGNAL | MSG_DONTWAIT) != bytes) return;
    channel->told_requests = channel->requests;
    channel->told_in = channel->bytes_in;
    channel->told_out = channel->bytes_out;
}

/*
 * Waits for one of `count` sockets of `wanted`, the first of which is the control connection. Returns 0 when the channel
 * is over: the gateway has ended it [7], or nothing has happened for too long. The client's socket stays non-blocking.
 */
static int wait_on(struct channel *channel, struct pollfd *wanted, int count)
{
    long long until_ms = now_ms() + IDLE_MS;
    wanted[0] = (struct pollfd){ .fd = channel->control, .events = POLLIN };
    for (;;) {
        int ready = poll(wanted, count, REPORT_MS);
        if (ready < 0 && errno != EINTR) return 0;
        if (now_ms() - channel->told_ms >= REPORT_MS) report(channel);
        /* The gateway sends nothing more: whatever happens there is the end. */
        if (ready > 0 && wanted[0].revents != 0) return 0;
        if (ready > 0) return 1;
        if (now_ms() >= until_ms) return 0;
    }
}

/* Sends all of it to the client; 0 when that cannot be. */
static int send_all(struct channel *channel, const char *data, size_t count)
{
    while (count > 0) {
        struct pollfd wanted[2] = { { 0 }, { .fd = channel->client, .events = POLLOUT } };
        ssize_t sent = send(channel->client, data, count, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EAGAIN) {
            if (!wait_on(channel, wanted, 2)) return 0;
        } else if (sent < 0 && errno != EINTR) {
            return 0;
        } else if (sent > 0) {
            data += sent;
            count -= sent;
        }
    }
    return 1;
}

/* Reads more from the client behind what is unread; 0 at its end. */
static int read_more(struct channel *channel)
{
    for (;;) {
        struct pollfd wanted[2] = { { 0 }, { .fd = channel->client, .events = POLLIN } };
        if (!wait_on(channel, wanted, 2)) return 0;
        ssize_t bytes = recv(channel->client, channel->unread + channel->unread_bytes,
                             channel->room - channel->unread_bytes, MSG_DONTWAIT);
        if (bytes < 0 && (errno == EAGAIN || errno == EINTR)) continue;
        if (bytes <= 0) return 0;
        channel->unread_bytes += bytes;
        return 1;
    }
}

/* One direction of a connection that is copied: what was read from one side and is not written to the other. */
struct flow {
    int from, to;
    const char *at;
    size_t left;
    int has_ended;                          /* nothing more comes from `from` */
    char data[65536];
};

/* Moves what can be moved now; 0 when the connection has failed. */
static int flow_on(struct flow *flow)
{
    if (flow->left == 0 && !flow->has_ended) {
        ssize_t bytes = recv(flow->from, flow->data, sizeof flow->data, MSG_DONTWAIT);
        if (bytes < 0) return errno == EAGAIN || errno == EINTR;
        flow->at = flow->data;
        flow->left = bytes;
        if (bytes == 0) {
            flow->has_ended = 1;
            shutdown(flow->to, SHUT_WR);
        }
    }
    while (flow->left > 0) {
        ssize_t bytes = send(flow->to, flow->at, flow->left, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (bytes < 0) return errno == EAGAIN || errno == EINTR;
        flow->at += bytes;
        flow->left -= bytes;
    }
    return 1;
}

/* What poll is to wait for on `fd`, which one flow reads and the other writes to. */
static struct pollfd wanted_on(int fd, const struct flow *in, const struct flow *out)
{
    short events = (in->left == 0 && !in->has_ended ? POLLIN : 0) | (out->left > 0 ? POLLOUT : 0);
    /* Without this, poll would tell of the end of a connection of which nothing is wanted, again and again. */
    return (struct pollfd){ .fd = events == 0 ? -1 : fd, .events = events };
}

static int connect_to_gateway(const struct channel *channel)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    size_t bytes = channel->greeting == NULL ? 0 : strlen(channel->greeting);
    int gateway = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (gateway == -1) return -1;
    strncpy(address.sun_path, channel->gateway, sizeof address.sun_path - 1);
    /* The greeting tells the gateway whose connection this is. It is short, and the first that is written: it always fits. */
    if (connect(gateway, (struct sockaddr *)&address, sizeof address) == 0 &&
        (bytes == 0 || send(gateway, channel->greeting, bytes, MSG_NOSIGNAL) == (ssize_t)bytes)) return gateway;
    close(gateway);
    return -1;
}

/*
 * Copies between the client and the gateway, both ways at once, from the request that is unread on, until both have ended [4]. None
 * of it is a use of this channel [6].
 */
static void splice_to_gateway(struct channel *channel)
{
    static const char unreachable[] =
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nRetry-After: 1\r\nConnection: close\r\n"
        "Content-Length: 42\r\n\r\nThe gateway cannot be reached. Try again.\n";
    int gateway = connect_to_gateway(channel);
    if (gateway == -1) {
        send_all(channel, unreachable, sizeof unreachable - 1);
        return;
    }
    struct flow up = { .from = channel->client, .to = gateway, .at = channel->unread, .left = channel->unread_bytes };
    struct flow down = { .from = gateway, .to = channel->client };
    while (flow_on(&up) && flow_on(&down) && !(up.has_ended && down.has_ended && down.left == 0)) {
        struct pollfd wanted[3] = { { 0 }, wanted_on(channel->client, &up, &down), wanted_on(gateway, &down, &up) };
        if (!wait_on(channel, wanted, 3)) break;
    }
    close(gateway);
}

/* ── HTTP ─────────────────────────────────────────────────────────────────────────────────────────────────────────── */

struct request {
    char *method, *target;
    int minor, is_last;
    int session;                            /* 1: the channel's, 0: another's, -1: no cookie says */
    int is_cross_site, is_disguised;
    int is_doubtful;                        /* it can be read in more than one way: the gateway judges it */
};

/* Whether each CR has its LF, and each LF its CR: other readers end lines differently. */
static int has_plain_lines(const char *head, size_t bytes)
{
    for (size_t at = 0; at < bytes; at++) {
        if (head[at] == '\r' && (at + 1 == bytes || head[at + 1] != '\n')) return 0;
        if (head[at] == '\n' && (at == 0 || head[at - 1] != '\r')) return 0;
    }
    return 1;
}

/* Whether it is a host, and a port if there is a colon. An IPv6 address is in brackets. */
static int is_host(const char *value)
{
    static const char name[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,;=%";
    const char *port = value + strspn(value, name);
    if (*value == '[') {
        port = strchr(value, ']');
        if (port == NULL || strspn(value + 1, "abcdefABCDEF0123456789.:") != (size_t)(port - value - 1)) return 0;
        port++;
    }
    if (port == value) return *value == '\0';
    return *port == '\0' || (*port == ':' && strspn(port + 1, "0123456789") == strlen(port + 1) && strlen(port) <= 6);
}

/* Whether it is a length, of 15 digits at most. */
static int is_length(const char *value)
{
    size_t digits = strspn(value, "0123456789");
    return digits > 0 && digits < 16 && value[digits] == '\0';
}

/* Whether Connection names a field that is nobody's to leave out. */
static int names_framing(const char *value)
{
    static const char *const names[] = { "content-length", "transfer-encoding", "host" };
    for (const char *word = value + strspn(value, ", \t"); *word != '\0'; word += strspn(word, ", \t")) {
        size_t bytes = strcspn(word, ", \t");
        for (int index = 0; index < 3; index++) {
            if (bytes == strlen(names[index]) && strncasecmp(word, names[index], bytes) == 0) return 1;
        }
        word += bytes;
    }
    return 0;
}

/* Whether the protocols in Upgrade would carry further HTTP requests, which nobody would look at. */
static int is_http_in_disguise(char *value)
{
    char *rest;
    for (char *word = strtok_r(value, " ,\t", &rest); word != NULL; word = strtok_r(NULL, " ,\t", &rest)) {
        word[strcspn(word, "/")] = '\0';
        if (!strcasecmp(word, "h2") || !strcasecmp(word, "h2c") || !strcasecmp(word, "http") || !strcasecmp(word, "tls")) return 1;
    }
    return 0;
}

/* What a Cookie value says about the session: as in struct request. */
static int session_in_cookie(const struct channel *channel, char *value)
{
    char *rest;
    for (char *pair = strtok_r(value, ";", &rest); pair != NULL; pair = strtok_r(NULL, ";", &rest)) {
        pair += strspn(pair, " \t");
        size_t bytes = strlen(pair);
        while (bytes > 0 && (pair[bytes - 1] == ' ' || pair[bytes - 1] == '\t')) pair[--bytes] = '\0';
        if (strcmp(pair, "session_id") == 0) return 0;
        if (strncmp(pair, "session_id=", 11) == 0) return strcmp(pair + 11, channel->session_id) == 0;
    }
    return -1;
}

static void percent_decode(char *text)
{
    char *to = text;
    unsigned code;
    for (; *text != '\0'; text++) {
        if (*text == '%' && isxdigit((unsigned char)text[1]) && isxdigit((unsigned char)text[2]) &&
            sscanf(text + 1, "%2x", &code) == 1 && code != 0) {
            *to++ = code;
            text += 2;
        } else {
            *to++ = *text;
        }
    }
    *to = '\0';
}

static int is_session_in_query(const struct channel *channel, const char *target)
{
    const char *query = strchr(target, '?');
    if (query == NULL) return 0;
    char *copy = strdup(query + 1), *rest;
    int is_it = 0;
    for (char *pair = copy ? strtok_r(copy, "&", &rest) : NULL; pair != NULL; pair = strtok_r(NULL, "&", &rest)) {
        char *text = strchr(pair, '=');
        if (text != NULL) *text++ = '\0';
        percent_decode(pair);
        if (strcmp(pair, "session_id") != 0) continue;
        if (text != NULL) percent_decode(text);
        is_it = text != NULL && strcmp(text, channel->session_id) == 0;
        break;
    }
    free(copy);
    return is_it;
}

/* Reads a head, which is cut into pieces; 0 when it is no HTTP/1.x. */
static int parse(const struct channel *channel, char *head, struct request *request)
{
    char *rest, *line = strtok_r(head, "\r\n", &rest), *space;
    *request = (struct request){ .session = -1 };
    if (line == NULL || (space = strchr(line, ' ')) == NULL) return 0;
    *space = '\0';
    request->method = line;
    request->target = space + 1;
    if ((space = strchr(request->target, ' ')) == NULL || strncmp(space, " HTTP/1.", 8) != 0) return 0;
    *space = '\0';
    request->minor = space[8] - '0';
    request->is_last = request->minor != 1;
    request->is_doubtful = (space[8] != '0' && space[8] != '1') || space[9] != '\0' || strchr(request->target, '#') != NULL;
    int hosts = 0, lengths = 0, encodings = 0, expectations = 0;
    while ((line = strtok_r(NULL, "\r\n", &rest)) != NULL) {
        char *value = strchr(line, ':');
        if (value == NULL || value == line || strcspn(line, " \t") < (size_t)(value - line)) return 0;
        *value++ = '\0';
        value += strspn(value, " \t");
        size_t bytes = strlen(value);
        while (bytes > 0 && (value[bytes - 1] == ' ' || value[bytes - 1] == '\t')) value[--bytes] = '\0';
        if (!strcasecmp(line, "cookie") && request->session == -1) request->session = session_in_cookie(channel, value);
        if (!strcasecmp(line, "sec-fetch-site") && !strcasecmp(value, "cross-site")) request->is_cross_site = 1;
        if (!strcasecmp(line, "upgrade") && is_http_in_disguise(value)) request->is_disguised = 1;
        if (!strcasecmp(line, "connection") && strcasestr(value, "close") != NULL) request->is_last = 1;
        /* This service reads no bodies: a request that has one is the last on its connection. */
        if (!strcasecmp(line, "transfer-encoding")) request->is_last = 1;
        if (!strcasecmp(line, "content-length") && strcmp(value, "0") != 0) request->is_last = 1;
        if ((!strcasecmp(line, "host") && (++hosts > 1 || !is_host(value))) ||
            (!strcasecmp(line, "content-length") && (++lengths > 1 || !is_length(value))) ||
            (!strcasecmp(line, "transfer-encoding") && (++encodings > 1 || strcasecmp(value, "chunked") != 0)) ||
            (!strcasecmp(line, "expect") && (++expectations > 1 || strcasecmp(value, "100-continue") != 0)) ||
            (!strcasecmp(line, "connection") && names_framing(value))) {
            request->is_doubtful = 1;
        }
    }
    if (request->minor == 1 ? hosts == 0 || (encodings > 0 && lengths > 0) : encodings > 0) request->is_doubtful = 1;
    return 1;
}

/* Whether this service may answer the request itself [3]. */
static int is_admitted(const struct channel *channel, const struct request *request)
{
    static const char prefix[] = "/services/plugin/";
    const char *name = request->target + sizeof prefix - 1;
    char quoted[64];
    if (strncmp(request->target, prefix, sizeof prefix - 1) != 0) return 0;
    size_t bytes = strcspn(name, "/?");
    if (bytes != strlen(channel->service) || strncmp(name, channel->service, bytes) != 0) return 0;
    if ((size_t)snprintf(quoted, sizeof quoted, "\"%s\"", request->method) >= sizeof quoted) return 0;
    if (strchr(request->method, '"') != NULL || strstr(channel->methods, quoted) == NULL) return 0;
    if (request->is_disguised || request->is_doubtful) return 0;
    if (request->session == -1) return is_session_in_query(channel, request->target);
    return request->session == 1 && !request->is_cross_site;
}

static int answer(struct channel *channel, const struct request *request)
{
    char text[1024];
    int is_get = strcmp(request->method, "GET") == 0;
    /* Who the caller is stands in the offer; header fields are the client's own words [5]. */
    int body_bytes = is_get ? (int)strlen(channel->user) + 7 : 9;
    int bytes = snprintf(text, sizeof text,
                         "HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n%s\r\n",
                         is_get ? "200 OK" : "405 Method Not Allowed\r\nAllow: GET", body_bytes,
                         request->is_last ? "Connection: close\r\n" : "");
    if (bytes + body_bytes >= (int)sizeof text) return 0;
    if (is_get) bytes += snprintf(text + bytes, sizeof text - bytes, "hello %s\n", channel->user);
    else bytes += snprintf(text + bytes, sizeof text - bytes, "Use GET.\n");
    channel->bytes_out += bytes;
    return send_all(channel, text, bytes);
}

/* Answers requests one after another [2]. */
static void serve_http(struct channel *channel)
{
    for (;;) {
        char *end, head[HEAD_BYTES_MAX + 1];
        struct request request;
        while ((end = memmem(channel->unread, channel->unread_bytes, "\r\n\r\n", 4)) == NULL) {
            if (channel->unread_bytes >= HEAD_BYTES_MAX || !read_more(channel)) return;
        }
        size_t head_bytes = end + 4 - channel->unread;
        if (head_bytes > HEAD_BYTES_MAX || memchr(channel->unread, '\0', head_bytes) != NULL) return;
        memcpy(head, channel->unread, head_bytes);
        head[head_bytes] = '\0';
        int is_plain = has_plain_lines(head, head_bytes);
        if (!parse(channel, head, &request)) {
            static const char bad[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            send_all(channel, bad, sizeof bad - 1);
            return;
        }
        if (!is_plain || !is_admitted(channel, &request)) {
            splice_to_gateway(channel);
            return;
        }
        channel->bytes_in += head_bytes;
        channel->unread_bytes -= head_bytes;
        memmove(channel->unread, channel->unread + head_bytes, channel->unread_bytes);
        channel->requests++;
        if (!answer(channel, &request) || request.is_last) return;
    }
}

/* ── Listening ────────────────────────────────────────────────────────────────────────────────────────────────────── */

static void *serve_channel(void *of)
{
    struct channel *channel = of;
    const char *why = receive_message(channel);
    char line[200];
    if (why == NULL && has_given_up(channel->control)) {
        channel_free(channel);
        return NULL;
    }
    int bytes = why == NULL ? snprintf(line, sizeof line, "{\"accepted\":true}\n")
                            : snprintf(line, sizeof line, "{\"refused\":\"%s\"}\n", why);
    ssize_t sent = send(channel->control, line, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (why == NULL && sent == bytes) {
        channel->told_ms = now_ms();
        serve_http(channel);
        /* Ends the connection also where the gateway still has its copy. */
        shutdown(channel->client, SHUT_RDWR);
        report(channel);
    }
    channel_free(channel);
    return NULL;
}

static int listen_on(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof address.sun_path) return -1;
    strcpy(address.sun_path, path);
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* A file that nobody listens on is left over from one that crashed. */
    if (connect(probe, (struct sockaddr *)&address, sizeof address) == -1 && errno == ECONNREFUSED) unlink(path);
    close(probe);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) == -1) return -1;
    /* Nobody can connect before this process listens. */
    if (chmod(path, 0660) == -1 || listen(fd, 512) == -1) return -1;
    return fd;
}

static void *accept_channels(void *of)
{
    int server = *(int *)of;
    for (;;) {
        struct channel *channel = calloc(1, sizeof *channel);
        pthread_t thread;
        int control = accept4(server, NULL, NULL, SOCK_CLOEXEC);
        if (control == -1 || channel == NULL) {
            if (control != -1) close(control);
            else if (errno == EMFILE || errno == ENFILE) poll(NULL, 0, 100);
            free(channel);
            continue;
        }
        channel->control = control;
        channel->client = -1;
        if (pthread_create(&thread, NULL, serve_channel, channel) != 0) channel_free(channel);
        else pthread_detach(thread);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    char path[sizeof((struct sockaddr_un *)0)->sun_path];
    sigset_t signals;
    pthread_t thread;
    int received;
    if (argc != 3 || snprintf(path, sizeof path, "%s/%s.channel", argv[1], argv[2]) >= (int)sizeof path) {
        fprintf(stderr, "usage: %s DIRECTORY NAME\n", argv[0]);
        return 2;
    }
    service_name = argv[2];
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    int server = listen_on(path);
    if (server == -1) {
        fprintf(stderr, "cannot listen on %s: %s\n", path, strerror(errno));
        return 1;
    }
    if (pthread_create(&thread, NULL, accept_channels, &server) != 0) return 1;
    puts("ready");
    fflush(stdout);
    sigwait(&signals, &received);
    unlink(path);
    return 0;
}
