/* One of two processes that send messages through POSIX message queues: descriptor 3 to receive
 * from, 4 to send to. The first argument is the side: 0 asks and sends, 1 answers. It speaks the
 * protocol of child.go (WINDOW must be 0) and makes the messages of message.go.
 */
#include <errno.h>
#include <mqueue.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { IN = 3, OUT = 4, STAMP_EVERY = 4096, ACK = 64 };

static unsigned char out[1 << 18], in[1 << 18], want[1 << 18];

static void die(const char *what)
{
	printf("error %s\n", what);
	exit(1);
}

static void make(unsigned char *buf, size_t size, uint64_t seq, int full)
{
	uint64_t word;
	if (full)
		for (size_t i = 0; i < size; i++)
			buf[i] = (unsigned char)seq ^ (unsigned char)i ^ (unsigned char)((unsigned char)(i >> 8) * 31);
	for (size_t at = 0; at + 8 <= size; at += STAMP_EVERY) {
		word = seq + at;
		memcpy(buf + at, &word, 8);
	}
	if (size >= 16) {
		word = ~seq;
		memcpy(buf + size - 8, &word, 8);
	}
}

static void put(uint64_t seq, size_t size, int full)
{
	make(out, size, seq, full);
	while (mq_send(OUT, (char *)out, size, 0) != 0)
		if (errno != EINTR)
			die(strerror(errno));
}

static void take(uint64_t seq, size_t size, int full)
{
	ssize_t n;
	uint64_t word;
	do
		n = mq_receive(IN, (char *)in, sizeof in, NULL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		die(strerror(errno));
	if ((size_t)n != size)
		die("a message of another length");
	if (full) {
		make(want, size, seq, full);
		if (memcmp(in, want, size) != 0)
			die("a message of other contents");
		return;
	}
	for (size_t at = 0; at + 8 <= size - 8; at += STAMP_EVERY) {
		memcpy(&word, in + at, 8);
		if (word != seq + at)
			die("another message");
	}
	memcpy(&word, in + size - 8, 8);
	if (word != ~seq)
		die("the tail of another message");
}

static void trips(int side, uint64_t from, uint64_t n, size_t size, int full)
{
	for (uint64_t seq = from; seq < from + n; seq++) {
		if (side == 0)
			put(seq, size, full);
		take(seq, size, full);
		if (side == 1)
			put(seq, size, full);
	}
}

int main(int argc, char **argv)
{
	char task[16], go[8];
	size_t size;
	long n, window;
	int full, side = argc > 1 ? atoi(argv[1]) : 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("open\n");
	while (scanf("%15s %zu %ld %d %ld", task, &size, &n, &full, &window) == 5) {
		struct timespec a, b;
		uint64_t warm = n / 20 < 16 ? 16 : n / 20;

		if (window != 0 || size < 16 || size > sizeof in)
			die("this cannot be done");
		printf("ready\n");
		if (scanf("%7s", go) != 1)
			return 0;
		trips(side, 0, warm + 1, size, full);
		clock_gettime(CLOCK_MONOTONIC, &a);
		if (strcmp(task, "trip") == 0) {
			trips(side, warm + 1, n, size, full);
		} else {
			uint64_t seq = warm + 1, end = seq + n;
			size_t ack = size < ACK ? size : ACK;
			for (; seq < end; seq++)
				side == 0 ? put(seq, size, full) : take(seq, size, full);
			side == 0 ? take(end, ack, 0) : put(end, ack, 0);
		}
		clock_gettime(CLOCK_MONOTONIC, &b);
		printf("done %lld 0\n", (b.tv_sec - a.tv_sec) * 1000000000LL + (b.tv_nsec - a.tv_nsec));
	}
	return 0;
}
