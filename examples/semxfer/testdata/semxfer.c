/* Both ends in C: semxfer writer NAME, semxfer reader NAME, semxfer layout. */
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct segment {
	sem_t wsem, rsem;
	int cnt;
	char buf[1024];
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void turn(sem_t *s)
{
	while (sem_wait(s) != 0)
		if (errno != EINTR)
			die("sem_wait");
}

int main(int argc, char **argv)
{
	struct segment *s;
	int fd, writing, n, done;

	if (argc == 2) {
		printf("%zu %zu %zu %zu\n", sizeof *s, offsetof(struct segment, rsem),
		       offsetof(struct segment, cnt), offsetof(struct segment, buf));
		return 0;
	}
	if (argc != 3)
		return 2;
	writing = strcmp(argv[1], "writer") == 0;
	fd = shm_open(argv[2], writing ? O_CREAT | O_TRUNC | O_RDWR : O_RDWR, 0600);
	if (fd < 0)
		die("shm_open");
	if (writing && ftruncate(fd, sizeof *s) != 0)
		die("ftruncate");
	s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (s == MAP_FAILED)
		die("mmap");
	if (writing) {
		if (sem_init(&s->rsem, 1, 0) != 0 || sem_init(&s->wsem, 1, 1) != 0)
			die("sem_init");
		do {
			turn(&s->wsem);
			s->cnt = read(0, s->buf, sizeof s->buf);
			if (s->cnt < 0)
				die("read");
			n = s->cnt;
			sem_post(&s->rsem);
		} while (n > 0);
		turn(&s->wsem);
		if (shm_unlink(argv[2]) != 0)
			die("shm_unlink");
		return 0;
	}
	do {
		turn(&s->rsem);
		n = s->cnt;
		for (done = 0; done < n;) {
			int w = write(1, s->buf + done, n - done);
			if (w < 0)
				die("write");
			done += w;
		}
		if (n > 0 || getenv("POLITE"))
			sem_post(&s->wsem);
	} while (n > 0);
	return 0;
}
