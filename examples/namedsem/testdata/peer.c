/* The C side: hold NAME takes the semaphore, says "held", and gives it back at the end of
 * standard input; value NAME prints its value. */
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv)
{
	sem_t *s;
	int value;

	if (argc != 3)
		return 2;
	s = sem_open(argv[2], O_CREAT, 0600, 1);
	if (s == SEM_FAILED) {
		perror("sem_open");
		return 1;
	}
	if (strcmp(argv[1], "value") == 0) {
		sem_getvalue(s, &value);
		printf("%d\n", value);
		return 0;
	}
	while (sem_wait(s) != 0)
		if (errno != EINTR)
			return 1;
	puts("held");
	fflush(stdout);
	while (getchar() != EOF)
		;
	return sem_post(s);
}
