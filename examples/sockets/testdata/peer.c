/* The other end of the example: peer stream|dgram|seqpacket client PATH, or
 * peer stream|dgram|seqpacket server PATH N. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void die(const char *what) { perror(what); exit(1); }

static char buf[1 << 16];

static void put(const char *p, size_t n) { if (fwrite(p, 1, n, stdout) != n) die("stdout"); }

int main(int argc, char **argv)
{
	if (argc < 4) return 2;
	int stream = !strcmp(argv[1], "stream"), dgram = !strcmp(argv[1], "dgram");
	int kind = stream ? SOCK_STREAM : dgram ? SOCK_DGRAM : SOCK_SEQPACKET;
	int fd = socket(AF_UNIX, kind, 0);
	if (fd < 0) die("socket");
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	if (strlen(argv[3]) >= sizeof addr.sun_path) return 2;
	strcpy(addr.sun_path, argv[3]);
	if (!strcmp(argv[2], "client")) {
		if (connect(fd, (void *)&addr, sizeof addr)) die("connect");
		while (fgets(buf, sizeof buf, stdin)) {
			size_t n = strlen(buf);
			if (!stream && n && buf[n - 1] == '\n') n--;
			for (size_t at = 0; at < n || (dgram && n == 0);) {
				ssize_t w = write(fd, buf + at, n - at);
				if (w < 0) die("write");
				at += w;
				if (!stream) break;
			}
		}
		return 0;
	}
	int left = argc > 4 ? atoi(argv[4]) : 1;
	if (bind(fd, (void *)&addr, sizeof addr)) die("bind");
	if (!dgram && listen(fd, 5)) die("listen");
	while (left-- > 0) {
		ssize_t n;
		if (dgram) {
			if ((n = read(fd, buf, sizeof buf)) < 0) die("read");
			put(buf, n);
			put("\n", 1);
			continue;
		}
		int c = accept(fd, NULL, NULL);
		if (c < 0) die("accept");
		while ((n = read(c, buf, sizeof buf)) > 0) {
			put(buf, n);
			if (!stream) put("\n", 1);
		}
		if (n < 0) die("read");
		close(c);
	}
	unlink(argv[3]);
	return fflush(stdout) ? 1 : 0;
}
