/*
 * A load generator that does only input and output. Each connection has one message in flight, and
 * sends the next when the echo is complete. It compares nothing, reads no clock per message and has
 * no histogram, so it shows the highest speed that a generator can reach.
 *
 *     generator_epoll IPV4:PORT CONNECTIONS BYTES SECONDS
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS_MAX = 1024, BUF_BYTES = 64 << 10, WAIT_MS_MAX = 100 };

struct connection {
    int fd;
    size_t left_bytes;
};

static char buf[BUF_BYTES];

static void die(const char *what) {
    perror(what);
    exit(1);
}

static double now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void send_message(struct connection *connection, size_t bytes) {
    if (send(connection->fd, buf, bytes, MSG_NOSIGNAL) != (ssize_t)bytes)
        die("send");
    connection->left_bytes = bytes;
}

static struct connection *connect_all(int epoll, struct sockaddr_in addr, int count) {
    struct connection *connections = calloc((size_t)count, sizeof *connections);
    if (!connections)
        die("calloc");
    for (int i = 0; i < count; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof addr) != 0)
            die("connect");
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        connections[i].fd = fd;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &connections[i]};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
            die("epoll_ctl");
    }
    return connections;
}

/* Sockets are blocking. epoll is level-triggered and each event causes one read, so none blocks. */
static unsigned long run(int epoll, size_t bytes, double ends_at) {
    static struct epoll_event events[EVENTS_MAX];
    unsigned long messages = 0;
    while (now_s() < ends_at) {
        int count = epoll_wait(epoll, events, EVENTS_MAX, WAIT_MS_MAX);
        if (count < 0 && errno != EINTR)
            die("epoll_wait");
        for (int i = 0; i < count; i++) {
            struct connection *connection = events[i].data.ptr;
            ssize_t received = recv(connection->fd, buf, bytes, 0);
            if (received <= 0) {
                fprintf(stderr, "the server closed a connection\n");
                exit(1);
            }
            connection->left_bytes -= (size_t)received;
            if (connection->left_bytes > 0)
                continue;
            messages++;
            send_message(connection, bytes);
        }
    }
    return messages;
}

int main(int argc, char **argv) {
    char host[INET_ADDRSTRLEN];
    unsigned short port;
    struct sockaddr_in addr = {.sin_family = AF_INET};
    int count = argc == 5 ? atoi(argv[2]) : 0;
    int bytes = argc == 5 ? atoi(argv[3]) : 0;
    double seconds = argc == 5 ? atof(argv[4]) : 0;
    if (count < 1 || bytes < 1 || bytes > BUF_BYTES || !(seconds > 0) ||
        sscanf(argv[1], "%15[0-9.]:%hu", host, &port) != 2 ||
        inet_pton(AF_INET, host, &addr.sin_addr) != 1) {
        fprintf(stderr, "usage: %s IPV4:PORT CONNECTIONS BYTES(1 to %d) SECONDS\n", argv[0],
                BUF_BYTES);
        return 2;
    }
    addr.sin_port = htons(port);

    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        die("epoll_create1");
    struct connection *connections = connect_all(epoll, addr, count);
    double started_at = now_s();
    for (int i = 0; i < count; i++)
        send_message(&connections[i], (size_t)bytes);
    unsigned long messages = run(epoll, (size_t)bytes, started_at + seconds);
    double elapsed = now_s() - started_at;
    printf("messages=%lu seconds=%.6f rate=%.1f\n", messages, elapsed, (double)messages / elapsed);
    return 0;
}
