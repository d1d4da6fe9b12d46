/*
 * A TCP client that moves bytes. Each connection has one message of any length in flight, and sends
 * the next when the echo is complete. The client counts every byte, and compares none to save CPU.
 *
 *     client_bulk IPV4:PORT CONNECTIONS BYTES SECONDS [MESSAGES]
 *
 * Sockets are non-blocking and edge-triggered. At each event the client writes and reads as far as
 * it can, because a long message comes back before its end is sent. With MESSAGES, it ends when as
 * many have been sent and echoed, or after SECONDS.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS_MAX = 1024, BUF_BYTES = 256 << 10, WAIT_MS_MAX = 20 };
static const uint64_t MESSAGE_BYTES_MAX = 1 << 30;

struct connection {
    int fd;
    /* Bytes of the message in flight. */
    uint64_t unsent_bytes, unreceived_bytes;
};

static struct {
    int connections;
    uint64_t bytes;
    double seconds;
    /* 0 means no limit until the time is over. */
    uint64_t messages_max;
} options;

static struct {
    uint64_t begun, messages, bytes;
} counts;

static char received_bytes[BUF_BYTES], sent_bytes[BUF_BYTES];

static void die(const char *what) {
    perror(what);
    exit(1);
}

static double now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static size_t at_most_a_buf(uint64_t bytes) {
    return bytes < BUF_BYTES ? (size_t)bytes : BUF_BYTES;
}

static void begin_message(struct connection *connection) {
    if (options.messages_max && counts.begun >= options.messages_max)
        return;
    counts.begun++;
    connection->unsent_bytes = connection->unreceived_bytes = options.bytes;
}

/* Both functions return true if the message is complete in their direction. */

static int send_rest(struct connection *connection) {
    while (connection->unsent_bytes > 0) {
        ssize_t sent = send(connection->fd, sent_bytes, at_most_a_buf(connection->unsent_bytes),
                            MSG_NOSIGNAL);
        if (sent >= 0)
            connection->unsent_bytes -= (uint64_t)sent;
        else if (errno == EAGAIN)
            return 0;
        else if (errno != EINTR)
            die("send");
    }
    return 1;
}

static int receive_rest(struct connection *connection) {
    while (connection->unreceived_bytes > 0) {
        ssize_t received = recv(connection->fd, received_bytes,
                                at_most_a_buf(connection->unreceived_bytes), 0);
        if (received > 0) {
            connection->unreceived_bytes -= (uint64_t)received;
            counts.bytes += (uint64_t)received;
        } else if (received == 0) {
            fprintf(stderr, "the server closed a connection\n");
            exit(1);
        } else if (errno == EAGAIN) {
            return 0;
        } else if (errno != EINTR) {
            die("recv");
        }
    }
    return 1;
}

static void advance(struct connection *connection) {
    while (connection->unreceived_bytes > 0) {
        send_rest(connection);
        if (!receive_rest(connection))
            return;
        counts.messages++;
        begin_message(connection);
    }
}

static struct connection *connect_all(int epoll, struct sockaddr_in addr) {
    struct connection *connections = calloc((size_t)options.connections, sizeof *connections);
    if (!connections)
        die("calloc");
    for (int i = 0; i < options.connections; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof addr) != 0)
            die("connect");
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0)
            die("fcntl");
        connections[i].fd = fd;
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET,
                                    .data.ptr = &connections[i]};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
            die("epoll_ctl");
    }
    return connections;
}

static void run(int epoll, double ends_at) {
    static struct epoll_event events[EVENTS_MAX];
    while (now_s() < ends_at) {
        if (options.messages_max && counts.messages >= options.messages_max)
            return;
        int count = epoll_wait(epoll, events, EVENTS_MAX, WAIT_MS_MAX);
        if (count < 0 && errno != EINTR)
            die("epoll_wait");
        for (int i = 0; i < count; i++)
            advance(events[i].data.ptr);
    }
}

static int parse(int argc, char **argv, struct sockaddr_in *addr) {
    char host[INET_ADDRSTRLEN];
    unsigned short port;
    if (argc != 5 && argc != 6)
        return 0;
    options.connections = atoi(argv[2]);
    options.bytes = strtoull(argv[3], NULL, 10);
    options.seconds = atof(argv[4]);
    options.messages_max = argc == 6 ? strtoull(argv[5], NULL, 10) : 0;
    addr->sin_family = AF_INET;
    if (options.connections < 1 || options.bytes < 1 || options.bytes > MESSAGE_BYTES_MAX ||
        !(options.seconds > 0) || sscanf(argv[1], "%15[0-9.]:%hu", host, &port) != 2 ||
        inet_pton(AF_INET, host, &addr->sin_addr) != 1)
        return 0;
    addr->sin_port = htons(port);
    return 1;
}

int main(int argc, char **argv) {
    struct sockaddr_in addr = {0};
    if (!parse(argc, argv, &addr)) {
        fprintf(stderr, "usage: %s IPV4:PORT CONNECTIONS BYTES SECONDS [MESSAGES]\n", argv[0]);
        return 2;
    }
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        die("epoll_create1");
    struct connection *connections = connect_all(epoll, addr);
    double started_at = now_s();
    for (int i = 0; i < options.connections; i++) {
        begin_message(&connections[i]);
        advance(&connections[i]);
    }
    run(epoll, started_at + options.seconds);
    double elapsed = now_s() - started_at;
    printf("messages=%llu bytes=%llu seconds=%.6f rate=%.1f bytes_rate=%.1f\n",
           (unsigned long long)counts.messages, (unsigned long long)counts.bytes, elapsed,
           (double)counts.messages / elapsed, (double)counts.bytes / elapsed);
    return counts.messages > 0 ? 0 : 1;
}
