/*
 * The C side of the tests: uses two semaphores, a and b, through the C library only.
 *
 *	peer make  OBJECT ACTION N	shm_open a new OBJECT, sem_init a (0 bytes in) and b (64 bytes in) to 0
 *	peer join  OBJECT ACTION N	shm_open an OBJECT that somebody else has made
 *	peer named NAME   ACTION N	sem_open NAME.a and NAME.b, made with value 0 if absent
 *
 * Prints "ready" once the semaphores are there, then does ACTION N times:
 *
 *	post	post a
 *	wait	wait a
 *	pong	wait a, post b
 *	ping	post a, wait b
 *	fickle	wait a with deadlines of some microseconds until it is had, post b
 *
 * then exits with 0.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 4096, SECOND = 64 };

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void post(sem_t *s)
{
	if (sem_post(s) != 0)
		die("sem_post");
}

static void wait_for(sem_t *s)
{
	while (sem_wait(s) != 0)
		if (errno != EINTR)
			die("sem_wait");
}

static void fickle(sem_t *s)
{
	for (;;) {
		struct timespec t;
		clock_gettime(CLOCK_REALTIME, &t);
		t.tv_nsec += rand() % 300000;
		if (t.tv_nsec >= 1000000000) {
			t.tv_nsec -= 1000000000;
			t.tv_sec++;
		}
		if (sem_timedwait(s, &t) == 0)
			return;
		if (errno != ETIMEDOUT && errno != EINTR)
			die("sem_timedwait");
	}
}

static void *object(const char *name, int flags)
{
	char path[512];
	snprintf(path, sizeof path, "/%s", name);
	int fd = shm_open(path, O_RDWR | flags, 0600);
	if (fd < 0)
		die("shm_open");
	if (flags && ftruncate(fd, SIZE) != 0)
		die("ftruncate");
	void *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		die("mmap");
	close(fd);
	return p;
}

static sem_t *named(const char *name, const char *suffix)
{
	char path[512];
	snprintf(path, sizeof path, "/%s.%s", name, suffix);
	sem_t *s = sem_open(path, O_CREAT, 0600, 0);
	if (s == SEM_FAILED)
		die("sem_open");
	return s;
}

int main(int argc, char **argv)
{
	sem_t *a, *b;
	if (argc != 5)
		return 2;
	const char *how = argv[1], *action = argv[3];
	long n = atol(argv[4]);
	srand((unsigned)getpid());

	if (strcmp(how, "named") == 0) {
		a = named(argv[2], "a");
		b = named(argv[2], "b");
	} else {
		int make = strcmp(how, "make") == 0;
		char *p = object(argv[2], make ? O_CREAT | O_EXCL : 0);
		a = (sem_t *)p;
		b = (sem_t *)(p + SECOND);
		if (make && (sem_init(a, 1, 0) != 0 || sem_init(b, 1, 0) != 0))
			die("sem_init");
	}
	puts("ready");
	fflush(stdout);

	for (long i = 0; i < n; i++) {
		if (strcmp(action, "post") == 0) {
			post(a);
		} else if (strcmp(action, "wait") == 0) {
			wait_for(a);
		} else if (strcmp(action, "pong") == 0) {
			wait_for(a);
			post(b);
		} else if (strcmp(action, "ping") == 0) {
			post(a);
			wait_for(b);
		} else if (strcmp(action, "fickle") == 0) {
			fickle(a);
			post(b);
		} else {
			return 2;
		}
	}
	return 0;
}
