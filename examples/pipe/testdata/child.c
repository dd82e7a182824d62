/* The child in C: reads the pipe that is its standard input with read(2) until the end of
 * file, and prints what came; with an argument it ends without reading, with that status. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	char buf[7]; /* a pipe keeps no messages apart */
	ssize_t n;

	if (argc > 1)
		return atoi(argv[1]);
	while ((n = read(0, buf, sizeof buf)) > 0)
		fwrite(buf, 1, n, stdout);
	if (n < 0) {
		perror("read");
		return 1;
	}
	puts("end of file");
	return 0;
}
