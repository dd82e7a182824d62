/* A peer in C for the tests: it reaches objects through shm_open(3) and knows
 * nothing of Go.
 *
 *   peer create NAME SIZE BYTE   make an object, all bytes BYTE
 *   peer invert NAME SIZE BYTE   it must be so long and all BYTE; invert each
 *   peer locked NAME BASE I      say whether lock byte (BASE << 32) + I is held
 *   peer unlink NAME 0 0         remove the name
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static void need(int ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "%s: %s\n", what, strerror(errno));
		exit(1);
	}
}

int main(int argc, char **argv)
{
	need(argc == 5, "usage");
	const char *verb = argv[1], *name = argv[2];
	long long size = atoll(argv[3]);
	int value = atoi(argv[4]);

	if (strcmp(verb, "unlink") == 0) {
		need(shm_unlink(name) == 0, "shm_unlink");
		return 0;
	}
	int create = strcmp(verb, "create") == 0;
	int fd = shm_open(name, O_RDWR | (create ? O_CREAT | O_EXCL : 0), 0600);
	need(fd >= 0, "shm_open");
	if (strcmp(verb, "locked") == 0) {
		struct flock lk = {
			.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (size << 32) + value, .l_len = 1,
		};
		need(fcntl(fd, F_OFD_GETLK, &lk) == 0, "fcntl");
		puts(lk.l_type == F_UNLCK ? "free" : "held");
		return 0;
	}
	if (create)
		need(ftruncate(fd, size) == 0, "ftruncate");
	struct stat st;
	need(fstat(fd, &st) == 0, "fstat");
	need(st.st_size == size, "size");
	unsigned char *mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	need(mem != MAP_FAILED, "mmap");
	for (long long i = 0; i < size; i++) {
		need(create || mem[i] == value, "contents");
		mem[i] = create ? value : ~value;
	}
	return 0;
}
