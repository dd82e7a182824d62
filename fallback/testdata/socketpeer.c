/* The C side of the socket tests: plain system calls, none of this package's code.
 *
 *	socketpeer echo FD N               send back N messages (datagram, seqpacket), descriptors too
 *	socketpeer frames FD N             the same on a stream: frames as in frame_stream.go
 *	socketpeer serve dgram|seqpacket PATH N
 *	                                   print N messages, answer each with "LENGTH bytes"
 *	socketpeer ask dgram|seqpacket PATH TEXT ...
 *	                                   send each text, print each answer
 *	socketpeer give FD TEXT            a pipe's read end with the message "pipe", TEXT into the pipe
 *	socketpeer udp PORT TEXT ...       send each text twice, with the trailer of udp_ledger.go, and
 *	                                   print each answer
 *	socketpeer flood FD N LENGTH       N messages
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static char buf[1 << 18];

static void die(const char *what)
{
	fprintf(stderr, "socketpeer: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void say(const char *text, size_t n)
{
	fwrite(text, 1, n, stdout);
	putchar('\n');
	fflush(stdout);
}

/* passed sends or receives one message with up to 253 descriptors. */
static ssize_t passed(int fd, char *data, size_t len, int *fds, int *nfds, int sending)
{
	static union { char space[CMSG_SPACE(253 * sizeof(int))]; struct cmsghdr align; } control;
	struct iovec iov = {data, len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space};
	if (!sending || *nfds > 0)
		msg.msg_controllen = sending ? CMSG_SPACE(*nfds * sizeof(int)) : sizeof control.space;
	if (sending) {
		if (*nfds > 0) {
			struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
			c->cmsg_level = SOL_SOCKET;
			c->cmsg_type = SCM_RIGHTS;
			c->cmsg_len = CMSG_LEN(*nfds * sizeof(int));
			memcpy(CMSG_DATA(c), fds, *nfds * sizeof(int));
		}
		return sendmsg(fd, &msg, 0);
	}
	ssize_t n = recvmsg(fd, &msg, 0);
	*nfds = 0;
	for (struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
			*nfds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
			memcpy(fds, CMSG_DATA(c), *nfds * sizeof(int));
		}
	return n;
}

static void echo(int fd, int n)
{
	int fds[253], nfds;
	while (n-- > 0) {
		ssize_t len = passed(fd, buf, sizeof buf, fds, &nfds, 0);
		if (len < 0 || passed(fd, buf, len, fds, &nfds, 1) != len)
			die("echo");
		while (nfds > 0)
			close(fds[--nfds]);
	}
}

static void all(int fd, char *data, size_t len, int sending)
{
	while (len > 0) {
		ssize_t n = sending ? write(fd, data, len) : read(fd, data, len);
		if (n <= 0)
			die(sending ? "write" : "read");
		data += n;
		len -= n;
	}
}

/* frames: 0xF5, descriptors, check (2), length (4, little-endian); lead, payload, tail, 0xC3. */
static void frames(int fd, int n)
{
	while (n-- > 0) {
		int fds[253], nfds = 0;
		unsigned char *h = (unsigned char *)buf;
		ssize_t got = passed(fd, buf, 8, fds, &nfds, 0);
		if (got <= 0)
			die("recvmsg");
		all(fd, buf + got, 8 - got, 0);
		uint32_t length = h[4] | h[5] << 8 | h[6] << 16 | (uint32_t)h[7] << 24;
		uint32_t check = (length ^ (uint32_t)h[1] << 24 ^ 0x53484d46) * 0x9E3779B1u;
		check ^= check >> 15;
		check = (check * 0x85EBCA6Bu) >> 16;
		if (h[0] != 0xF5 || h[1] != nfds || check != (uint32_t)(h[2] | h[3] << 8) || length > sizeof buf - 128) {
			fprintf(stderr, "socketpeer: no header\n");
			exit(1);
		}
		size_t rest = length < 4096 ? length + 1 : 56 + length + 64 - length % 64;
		all(fd, buf + 8, rest, 0);
		if (h[8 + rest - 1] != 0xC3) {
			fprintf(stderr, "socketpeer: no commit\n");
			exit(1);
		}
		if (passed(fd, buf, 8, fds, &nfds, 1) != 8)
			die("sendmsg");
		all(fd, buf + 8, rest, 1);
		while (nfds > 0)
			close(fds[--nfds]);
	}
}

static int type_of(const char *name) { return strcmp(name, "dgram") ? SOCK_SEQPACKET : SOCK_DGRAM; }

/* address: a leading @ is an abstract name. */
static socklen_t address(struct sockaddr_un *a, const char *path)
{
	memset(a, 0, sizeof *a);
	a->sun_family = AF_UNIX;
	strncpy(a->sun_path, path, sizeof a->sun_path - 1);
	socklen_t len = offsetof(struct sockaddr_un, sun_path) + strlen(a->sun_path);
	if (path[0] == '@')
		a->sun_path[0] = 0;
	return len;
}

static void serve(int type, const char *path, int n)
{
	struct sockaddr_un a, from;
	socklen_t len = address(&a, path);
	int fd = socket(AF_UNIX, type, 0);
	if (fd < 0 || bind(fd, (void *)&a, len) != 0 || (type == SOCK_SEQPACKET && listen(fd, 1) != 0))
		die(path);
	say("ready", 5);
	if (type == SOCK_SEQPACKET && (fd = accept(fd, NULL, NULL)) < 0)
		die("accept");
	while (n-- > 0) {
		len = sizeof from;
		ssize_t got = recvfrom(fd, buf, sizeof buf, 0, (void *)&from, &len);
		if (got < 0)
			die("recvfrom");
		say(buf, got);
		char answer[32];
		int m = snprintf(answer, sizeof answer, "%d bytes", (int)got);
		int to = type == SOCK_DGRAM;
		if (sendto(fd, answer, m, 0, to ? (void *)&from : NULL, to ? len : 0) != m)
			die("sendto");
	}
}

static void ask(int type, const char *path, char **texts)
{
	struct sockaddr_un a, none = {.sun_family = AF_UNIX};
	socklen_t len = address(&a, path);
	int fd = socket(AF_UNIX, type, 0);
	if (fd < 0 || bind(fd, (void *)&none, sizeof(sa_family_t)) != 0 || connect(fd, (void *)&a, len) != 0)
		die(path);
	for (; *texts; texts++) {
		if (send(fd, *texts, strlen(*texts), 0) < 0)
			die("send");
		ssize_t got = recv(fd, buf, sizeof buf, 0);
		if (got < 0)
			die("recv");
		say(buf, got);
	}
}

static void give(int fd, const char *text)
{
	int p[2], one = 1;
	if (pipe(p) != 0 || passed(fd, strcpy(buf, "pipe"), 4, p, &one, 1) != 4)
		die("give");
	all(p[1], strcpy(buf, text), strlen(text), 1);
}

static void udp(int port, char **texts)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (fd < 0 || connect(fd, (void *)&a, sizeof a) != 0)
		die("udp");
	for (int seq = 0; texts[seq]; seq++) {
		size_t n = strlen(strcpy(buf, texts[seq]));
		unsigned char trailer[24] = {'s', 'h', 'm', 'U', 1, 1, 0, 0, 42, 0, 0, 0, 0, 0, 0, 0, seq};
		memcpy(buf + n, trailer, sizeof trailer);
		for (int twice = 0; twice < 2; twice++)
			if (send(fd, buf, n + sizeof trailer, 0) < 0)
				die("send");
		ssize_t got = recv(fd, buf, sizeof buf, 0);
		if (got < 24 || memcmp(buf + got - 24, "shmU\1\1", 6) != 0)
			die("recv");
		say(buf, got - 24);
	}
}

int main(int argc, char **argv)
{
	const char *cmd = argc > 1 ? argv[1] : "";
	if (!strcmp(cmd, "echo") && argc == 4)
		echo(atoi(argv[2]), atoi(argv[3]));
	else if (!strcmp(cmd, "frames") && argc == 4)
		frames(atoi(argv[2]), atoi(argv[3]));
	else if (!strcmp(cmd, "serve") && argc == 5)
		serve(type_of(argv[2]), argv[3], atoi(argv[4]));
	else if (!strcmp(cmd, "ask") && argc > 4)
		ask(type_of(argv[2]), argv[3], argv + 4);
	else if (!strcmp(cmd, "give") && argc == 4)
		give(atoi(argv[2]), argv[3]);
	else if (!strcmp(cmd, "udp") && argc > 3)
		udp(atoi(argv[2]), argv + 3);
	else if (!strcmp(cmd, "flood") && argc == 5)
		for (int n = atoi(argv[3]); n > 0; n--) {
			if (send(atoi(argv[2]), buf, atoi(argv[4]), 0) < 0)
				die("send");
		}
	else {
		fprintf(stderr, "socketpeer: unknown command\n");
		return 2;
	}
	return 0;
}
