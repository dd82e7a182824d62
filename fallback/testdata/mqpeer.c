/* The C side of the message queue tests. Names have their leading slash.
 *
 *	mqpeer send NAME PRIO TEXT ...     mq_send each text, with rising priority
 *	mqpeer receive NAME N              mq_receive N messages, print "PRIO TEXT"
 *	mqpeer make NAME MAXMSG MSGSIZE    mq_open with O_CREAT | O_EXCL
 *	mqpeer inherit FD N                as receive, from a descriptor
 *	mqpeer register NAME               mq_notify, print "registered" or errno's name, wait for
 *	                                   the end of standard input
 *	mqpeer time N TURNS                nanoseconds for one mq_send and mq_receive of 64 bytes,
 *	                                   in the best of TURNS times N
 *	mqpeer echo IN OUT N               receive from IN, send to OUT, N times
 *	mqpeer roundtrip OUT IN N          nanoseconds for a message to OUT and one back from IN
 */
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what)
{
	fprintf(stderr, "mqpeer: %s: %s\n", what, strerror(errno));
	exit(1);
}

static mqd_t must_open(const char *name, int flags)
{
	mqd_t q = mq_open(name, flags);
	if (q == (mqd_t)-1)
		die(name);
	return q;
}

static void receive(mqd_t q, int n)
{
	struct mq_attr a;
	if (mq_getattr(q, &a) != 0)
		die("mq_getattr");
	char *buf = malloc(a.mq_msgsize + 1);
	while (n-- > 0) {
		unsigned prio;
		ssize_t len = mq_receive(q, buf, a.mq_msgsize, &prio);
		if (len < 0)
			die("mq_receive");
		printf("%u ", prio);
		fwrite(buf, 1, len, stdout);
		printf("\n");
		fflush(stdout);
	}
	free(buf);
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

int main(int argc, char **argv)
{
	const char *cmd = argc > 1 ? argv[1] : "";
	if (!strcmp(cmd, "send") && argc >= 5) {
		mqd_t q = must_open(argv[2], O_WRONLY);
		unsigned prio = atoi(argv[3]);
		for (int i = 4; i < argc; i++)
			if (mq_send(q, argv[i], strlen(argv[i]), prio++) != 0)
				die("mq_send");
	} else if (!strcmp(cmd, "receive") && argc == 4) {
		receive(must_open(argv[2], O_RDONLY), atoi(argv[3]));
	} else if (!strcmp(cmd, "inherit") && argc == 4) {
		receive(atoi(argv[2]), atoi(argv[3]));
	} else if (!strcmp(cmd, "make") && argc == 5) {
		struct mq_attr a = {.mq_maxmsg = atol(argv[3]), .mq_msgsize = atol(argv[4])};
		if (mq_open(argv[2], O_CREAT | O_EXCL | O_RDWR, 0600, &a) == (mqd_t)-1)
			die(argv[2]);
	} else if (!strcmp(cmd, "register") && argc == 3) {
		struct sigevent e = {.sigev_notify = SIGEV_NONE};
		if (mq_notify(must_open(argv[2], O_RDONLY), &e) == 0)
			printf("registered\n");
		else
			printf("%s\n", errno == EBUSY ? "EBUSY" : strerror(errno));
		fflush(stdout);
		while (getchar() != EOF)
			;
	} else if (!strcmp(cmd, "time") && argc == 4) {
		char name[64], buf[64] = {0};
		struct mq_attr a = {.mq_maxmsg = 10, .mq_msgsize = 64};
		snprintf(name, sizeof name, "/shmchan-mqpeer-%d", (int)getpid());
		mqd_t q = mq_open(name, O_CREAT | O_EXCL | O_RDWR, 0600, &a);
		if (q == (mqd_t)-1 || mq_unlink(name) != 0)
			die(name);
		int n = atoi(argv[2]);
		double best = 0;
		for (int turns = atoi(argv[3]); turns > 0; turns--) {
			double start = now();
			for (int i = 0; i < n; i++)
				if (mq_send(q, buf, 64, 0) != 0 || mq_receive(q, buf, 64, NULL) != 64)
					die("mq_send, mq_receive");
			double took = (now() - start) / n;
			if (best == 0 || took < best)
				best = took;
		}
		printf("%.1f\n", best);
	} else if (!strcmp(cmd, "echo") && argc == 5) {
		mqd_t in = must_open(argv[2], O_RDONLY), out = must_open(argv[3], O_WRONLY);
		char buf[8192];
		for (int n = atoi(argv[4]); n > 0; n--) {
			unsigned prio;
			ssize_t len = mq_receive(in, buf, sizeof buf, &prio);
			if (len < 0 || mq_send(out, buf, len, prio) != 0)
				die("echo");
		}
	} else if (!strcmp(cmd, "roundtrip") && argc == 5) {
		mqd_t out = must_open(argv[2], O_WRONLY), in = must_open(argv[3], O_RDONLY);
		char buf[8192] = {0};
		int n = atoi(argv[4]);
		double start = now();
		for (int i = 0; i < n; i++)
			if (mq_send(out, buf, 64, 0) != 0 || mq_receive(in, buf, sizeof buf, NULL) < 0)
				die("roundtrip");
		printf("%.1f\n", (now() - start) / n);
	} else {
		fprintf(stderr, "mqpeer: unknown command\n");
		return 2;
	}
	return 0;
}
