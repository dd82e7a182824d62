/* The C side: hold FILE takes the lock by flock(2), says "held", and keeps it until the end of
 * standard input; try FILE ends with 0 if the lock is free, 3 if it is not. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

int main(int argc, char **argv)
{
	int fd;

	if (argc != 3)
		return 2;
	fd = open(argv[2], O_RDWR | O_CREAT, 0600);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0)
		return errno == EWOULDBLOCK ? 3 : 1;
	if (strcmp(argv[1], "try") == 0)
		return 0;
	puts("held");
	fflush(stdout);
	while (getchar() != EOF)
		;
	return 0;
}
