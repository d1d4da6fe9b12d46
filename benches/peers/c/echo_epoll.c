/*
 * An echo server that calls the kernel directly.
 *
 *     echo_epoll tcp IPV4:PORT
 *     echo_epoll udp[-single] IPV4:PORT [RCVBUF_BYTES]
 *
 * TCP: one level-triggered epoll, one read and one write per echo, one buffer for all connections.
 * A connection with unsent bytes keeps them and does not read. Level-triggered epoll is cheaper
 * here: it needs one read per event, while edge-triggered epoll needs a second read that finds
 * nothing, or a flag.
 * UDP: one blocking socket, which needs no epoll. The server receives and answers datagrams in
 * batches, or (udp-single) one by one. RCVBUF_BYTES corresponds to `resound serve --rcvbuf`.
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
#include <unistd.h>

/* The same values as in resound. */
enum { BUF_BYTES = 64 << 10, BACKLOG = 4096 };
enum { EVENTS_MAX = 1024, BATCH = 32, ACCEPT_PAUSE_US = 50 * 1000 };

struct connection {
    int fd;
    /* Unsent bytes, if owed_end is above 0. */
    char *owed;
    size_t owed_start, owed_end;
};

static char buf[BUF_BYTES];

static void die(const char *what) {
    perror(what);
    exit(1);
}

static struct sockaddr_in parse_addr(const char *text) {
    char host[INET_ADDRSTRLEN];
    unsigned short port;
    struct sockaddr_in addr = {.sin_family = AF_INET};
    if (sscanf(text, "%15[0-9.]:%hu", host, &port) != 2 ||
        inet_pton(AF_INET, host, &addr.sin_addr) != 1) {
        fprintf(stderr, "not an IPV4:PORT: %s\n", text);
        exit(2);
    }
    addr.sin_port = htons(port);
    return addr;
}

static void announce(const char *transport, int fd) {
    struct sockaddr_in addr;
    socklen_t length = sizeof addr;
    char host[INET_ADDRSTRLEN];
    if (getsockname(fd, (struct sockaddr *)&addr, &length) != 0)
        die("getsockname");
    inet_ntop(AF_INET, &addr.sin_addr, host, sizeof host);
    printf("listening %s://%s:%d\n", transport, host, ntohs(addr.sin_port));
    fflush(stdout);
}

static void close_connection(struct connection *connection) {
    close(connection->fd);
    free(connection->owed);
    free(connection);
}

static int wait_for(int epoll, struct connection *connection, unsigned events) {
    struct epoll_event event = {.events = events, .data.ptr = connection};
    return epoll_ctl(epoll, EPOLL_CTL_MOD, connection->fd, &event);
}

/* Each of these functions returns -1 when the connection is over. */

static int flush_owed(int epoll, struct connection *connection) {
    while (connection->owed_start < connection->owed_end) {
        ssize_t sent = send(connection->fd, connection->owed + connection->owed_start,
                            connection->owed_end - connection->owed_start, MSG_NOSIGNAL);
        if (sent < 0)
            return errno == EAGAIN || errno == EINTR ? 0 : -1;
        connection->owed_start += (size_t)sent;
    }
    connection->owed_start = connection->owed_end = 0;
    return wait_for(epoll, connection, EPOLLIN);
}

static int keep_owed(int epoll, struct connection *connection, const char *rest, size_t count) {
    if (!connection->owed && !(connection->owed = malloc(BUF_BYTES)))
        return -1;
    memcpy(connection->owed, rest, count);
    connection->owed_start = 0;
    connection->owed_end = count;
    return wait_for(epoll, connection, EPOLLOUT);
}

static int echo(int epoll, struct connection *connection) {
    if (connection->owed_end > 0)
        return flush_owed(epoll, connection);
    ssize_t count = recv(connection->fd, buf, sizeof buf, 0);
    if (count < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    if (count == 0)
        return -1;
    ssize_t sent = send(connection->fd, buf, (size_t)count, MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN && errno != EINTR)
            return -1;
        sent = 0;
    }
    if (sent == count)
        return 0;
    return keep_owed(epoll, connection, buf + sent, (size_t)(count - sent));
}

static void accept_all(int epoll, int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EINTR || errno == ECONNABORTED)
                continue;
            /* No descriptor or memory is left. The pause keeps the queued connections from making
             * the loop spin. */
            if (errno != EAGAIN)
                usleep(ACCEPT_PAUSE_US);
            return;
        }
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct connection *connection = calloc(1, sizeof *connection);
        if (!connection) {
            close(fd);
            continue;
        }
        connection->fd = fd;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
            close_connection(connection);
    }
}

static void serve_tcp(struct sockaddr_in addr) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (listener < 0 || epoll < 0)
        die("socket");
    int on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&addr, sizeof addr) != 0 ||
        listen(listener, BACKLOG) != 0)
        die("bind");
    /* The event of the listener has no connection. */
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) != 0)
        die("epoll_ctl");
    announce("tcp", listener);

    static struct epoll_event events[EVENTS_MAX];
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS_MAX, -1);
        if (count < 0 && errno != EINTR)
            die("epoll_wait");
        for (int i = 0; i < count; i++) {
            struct connection *connection = events[i].data.ptr;
            if (!connection)
                accept_all(epoll, listener);
            else if (echo(epoll, connection) != 0)
                close_connection(connection);
        }
    }
}

/* With 0, the receive buffer keeps the system's default size. */
static int bind_udp(struct sockaddr_in addr, int receive_buf_bytes) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (receive_buf_bytes > 0 && setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buf_bytes,
                                            sizeof receive_buf_bytes) != 0)
        die("SO_RCVBUF");
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof addr) != 0)
        die("bind");
    announce("udp", fd);
    return fd;
}

static void serve_udp_singly(int fd) {
    for (;;) {
        struct sockaddr_in peer;
        socklen_t length = sizeof peer;
        ssize_t count = recvfrom(fd, buf, sizeof buf, 0, (struct sockaddr *)&peer, &length);
        /* An error of either call concerns one datagram, which is dropped. */
        if (count >= 0)
            (void)!sendto(fd, buf, (size_t)count, MSG_NOSIGNAL, (struct sockaddr *)&peer, length);
    }
}

static void serve_udp_by_batch(int fd) {
    static char bufs[BATCH][BUF_BYTES];
    struct sockaddr_in peers[BATCH];
    struct iovec slices[BATCH];
    struct mmsghdr messages[BATCH];
    for (;;) {
        for (int i = 0; i < BATCH; i++) {
            slices[i] = (struct iovec){.iov_base = bufs[i], .iov_len = BUF_BYTES};
            messages[i].msg_hdr = (struct msghdr){.msg_name = &peers[i],
                                                  .msg_namelen = sizeof peers[i],
                                                  .msg_iov = &slices[i],
                                                  .msg_iovlen = 1};
        }
        int received = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
        for (int i = 0; i < received; i++)
            slices[i].iov_len = messages[i].msg_len;
        for (int sent = 0; sent < received;) {
            int count = sendmmsg(fd, messages + sent, (unsigned)(received - sent), MSG_NOSIGNAL);
            /* An error concerns the first datagram, which is dropped. */
            sent += count > 0 ? count : 1;
        }
    }
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "tcp") == 0)
        serve_tcp(parse_addr(argv[2]));
    int receive_buf_bytes = argc == 4 ? atoi(argv[3]) : 0;
    if ((argc == 3 || receive_buf_bytes > 0) && strcmp(argv[1], "udp") == 0)
        serve_udp_by_batch(bind_udp(parse_addr(argv[2]), receive_buf_bytes));
    if ((argc == 3 || receive_buf_bytes > 0) && strcmp(argv[1], "udp-single") == 0)
        serve_udp_singly(bind_udp(parse_addr(argv[2]), receive_buf_bytes));
    fprintf(stderr, "usage: %s tcp IPV4:PORT | udp[-single] IPV4:PORT [RCVBUF_BYTES]\n", argv[0]);
    return 2;
}
