/*
 * A UDP client of an echo server: SOCKETS connected sockets with DEPTH messages in flight each, one
 * thread on level-triggered epoll.
 *
 *     client_udp IPV4:PORT SOCKETS DEPTH BYTES SECONDS single|train [MESSAGES]
 *
 * single: one system call per message. Receives until there is nothing more, then sends as many.
 * train: one system call for many messages. Sends up to DEPTH messages at once with UDP_SEGMENT (at
 * most 64, and 65,507 bytes), and receives with UDP_GRO. Sends again when at least half a train has
 * come back.
 *
 * Every message begins with its number. An echo must have the length of a message and the number of
 * one in flight; any other datagram is a stray and does not count. A message without an echo is
 * lost and replaced when its socket has sent four more windows. A socket that receives nothing for
 * 100 ms counts all its messages in flight as lost and fills its window again: a resend.
 *
 * With MESSAGES, the client ends when as many have been sent and answered, or after SECONDS.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

/* The kernel cuts a train that exceeds the receiver's buffer, so the buffer has 64 KiB. */
enum { BUF_BYTES = 64 << 10, PAYLOAD_BYTES_MAX = 65507, TRAIN_MAX = 64, DEPTH_MAX = 1 << 16 };
enum { EVENTS_MAX = 256, WAIT_MS_MAX = 20, WINDOWS_UNTIL_LOST = 4 };
static const double SILENCE_S = 0.1;

struct peer {
    int fd;
    /* For each message in flight its number plus one, at the place of the number; otherwise 0. */
    uint64_t *places;
    uint64_t next_number;
    unsigned in_flight;
    double received_at;
};

static struct {
    unsigned sockets, depth, bytes, train;
    double seconds;
    /* 0 means no limit until the time is over. */
    uint64_t messages_max;
} options;

static struct {
    uint64_t sent, answered, lost, strays, resends;
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

static uint64_t *place(struct peer *peer, uint64_t number) {
    return &peer->places[number % ((uint64_t)options.depth * WINDOWS_UNTIL_LOST)];
}

/* Returns how many messages the peer may send: the free part of its window. */
static unsigned room(const struct peer *peer) {
    unsigned free_count = options.depth - peer->in_flight;
    if (options.messages_max == 0)
        return free_count;
    uint64_t left = options.messages_max - counts.sent;
    return left < free_count ? (unsigned)left : free_count;
}

/* Writes the next `count` messages one after the other. `sent_now` follows a successful send. */
static void write_messages(struct peer *peer, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        uint64_t number = peer->next_number + i;
        memcpy(sent_bytes + (size_t)i * options.bytes, &number, sizeof number);
    }
}

static void sent_now(struct peer *peer, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        uint64_t *taken = place(peer, peer->next_number);
        if (*taken) {
            counts.lost++;
            peer->in_flight--;
        }
        *taken = ++peer->next_number;
    }
    peer->in_flight += count;
    counts.sent += count;
}

/* Sends `count` messages in one call. Returns false if the send buffer is full. */
static int send_call(struct peer *peer, unsigned count) {
    write_messages(peer, count);
    struct iovec slice = {.iov_base = sent_bytes, .iov_len = (size_t)count * options.bytes};
    union {
        char bytes[CMSG_SPACE(sizeof(uint16_t))];
        struct cmsghdr aligned;
    } control = {.bytes = {0}};
    struct msghdr message = {.msg_iov = &slice, .msg_iovlen = 1};
    if (count > 1) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_UDP;
        header->cmsg_type = UDP_SEGMENT;
        header->cmsg_len = CMSG_LEN(sizeof(uint16_t));
        uint16_t bytes = (uint16_t)options.bytes;
        memcpy(CMSG_DATA(header), &bytes, sizeof bytes);
    }
    ssize_t sent = count > 1 ? sendmsg(peer->fd, &message, 0)
                             : send(peer->fd, sent_bytes, options.bytes, 0);
    if (sent < 0) {
        if (errno != EAGAIN && errno != ENOBUFS && errno != EINTR)
            die("send");
        return 0;
    }
    sent_now(peer, count);
    return 1;
}

static void fill_window(struct peer *peer) {
    /* Sends at least half a train, so that trains stay long. The last train may be shorter. */
    unsigned least = (options.train + 1) / 2;
    if (options.messages_max && options.messages_max - counts.sent < least)
        least = 1;
    unsigned count;
    while ((count = room(peer)) >= least && count > 0) {
        if (!send_call(peer, count < options.train ? count : options.train))
            return;
    }
}

static void take_echoes(struct peer *peer, size_t bytes) {
    if (bytes % options.bytes != 0)
        counts.strays++;
    for (size_t at = 0; at + options.bytes <= bytes; at += options.bytes) {
        uint64_t number;
        memcpy(&number, received_bytes + at, sizeof number);
        uint64_t *taken = place(peer, number);
        if (*taken != number + 1) {
            counts.strays++;
            continue;
        }
        *taken = 0;
        peer->in_flight--;
        counts.answered++;
    }
}

static void receive_all(struct peer *peer) {
    for (;;) {
        ssize_t received = recv(peer->fd, received_bytes, BUF_BYTES, 0);
        if (received >= 0)
            take_echoes(peer, (size_t)received);
        else if (errno == EAGAIN)
            return;
        else if (errno != EINTR)
            die("recv");
    }
}

static void end_silence(struct peer *peers, double now) {
    for (unsigned i = 0; i < options.sockets; i++) {
        struct peer *peer = &peers[i];
        if (now - peer->received_at < SILENCE_S)
            continue;
        peer->received_at = now;
        if (peer->in_flight > 0) {
            /* With MESSAGES, this many are sent again. */
            counts.sent -= options.messages_max ? peer->in_flight : 0;
            counts.lost += peer->in_flight;
            counts.resends++;
            peer->in_flight = 0;
            memset(peer->places, 0, sizeof(uint64_t) * options.depth * WINDOWS_UNTIL_LOST);
        }
        fill_window(peer);
    }
}

static struct peer *connect_all(int epoll, struct sockaddr_in addr) {
    struct peer *peers = calloc(options.sockets, sizeof *peers);
    if (!peers)
        die("calloc");
    for (unsigned i = 0; i < options.sockets; i++) {
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof addr) != 0)
            die("connect");
        int on = 1;
        if (options.train > 1 && setsockopt(fd, SOL_UDP, UDP_GRO, &on, sizeof on) != 0)
            die("UDP_GRO");
        peers[i].fd = fd;
        peers[i].places = calloc((size_t)options.depth * WINDOWS_UNTIL_LOST, sizeof(uint64_t));
        if (!peers[i].places)
            die("calloc");
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &peers[i]};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
            die("epoll_ctl");
    }
    return peers;
}

static void run(int epoll, struct peer *peers, double started_at) {
    static struct epoll_event events[EVENTS_MAX];
    double looked_at = started_at;
    for (unsigned i = 0; i < options.sockets; i++) {
        peers[i].received_at = started_at;
        fill_window(&peers[i]);
    }
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS_MAX, WAIT_MS_MAX);
        if (count < 0 && errno != EINTR)
            die("epoll_wait");
        double now = now_s();
        for (int i = 0; i < count; i++) {
            struct peer *peer = events[i].data.ptr;
            peer->received_at = now;
            receive_all(peer);
            fill_window(peer);
        }
        if (now - started_at >= options.seconds ||
            (options.messages_max > 0 && counts.answered >= options.messages_max))
            return;
        if (now - looked_at >= SILENCE_S / 2) {
            looked_at = now;
            end_silence(peers, now);
        }
    }
}

static int parse(int argc, char **argv, struct sockaddr_in *addr) {
    char host[INET_ADDRSTRLEN];
    unsigned short port;
    if (argc != 7 && argc != 8)
        return 0;
    options.sockets = (unsigned)atoi(argv[2]);
    options.depth = (unsigned)atoi(argv[3]);
    options.bytes = (unsigned)atoi(argv[4]);
    options.seconds = atof(argv[5]);
    options.messages_max = argc == 8 ? strtoull(argv[7], NULL, 10) : 0;
    if (options.sockets < 1 || options.sockets > DEPTH_MAX || options.depth < 1 ||
        options.depth > DEPTH_MAX || options.bytes < sizeof(uint64_t) ||
        options.bytes > PAYLOAD_BYTES_MAX || !(options.seconds > 0))
        return 0;
    options.train = 1;
    if (strcmp(argv[6], "train") == 0) {
        options.train = options.depth < TRAIN_MAX ? options.depth : TRAIN_MAX;
        if (options.train * options.bytes > PAYLOAD_BYTES_MAX)
            options.train = PAYLOAD_BYTES_MAX / options.bytes;
    } else if (strcmp(argv[6], "single") != 0) {
        return 0;
    }
    addr->sin_family = AF_INET;
    if (sscanf(argv[1], "%15[0-9.]:%hu", host, &port) != 2 ||
        inet_pton(AF_INET, host, &addr->sin_addr) != 1)
        return 0;
    addr->sin_port = htons(port);
    return 1;
}

int main(int argc, char **argv) {
    struct sockaddr_in addr = {0};
    if (!parse(argc, argv, &addr)) {
        fprintf(stderr,
                "usage: %s IPV4:PORT SOCKETS DEPTH BYTES(8 to %d) SECONDS single|train "
                "[MESSAGES]\n",
                argv[0], PAYLOAD_BYTES_MAX);
        return 2;
    }
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        die("epoll_create1");
    struct peer *peers = connect_all(epoll, addr);
    double started_at = now_s();
    run(epoll, peers, started_at);
    double elapsed = now_s() - started_at;
    printf("messages=%llu seconds=%.6f rate=%.1f lost=%llu resends=%llu strays=%llu\n",
           (unsigned long long)counts.answered, elapsed, (double)counts.answered / elapsed,
           (unsigned long long)counts.lost, (unsigned long long)counts.resends,
           (unsigned long long)counts.strays);
    return counts.answered > 0 ? 0 : 1;
}
