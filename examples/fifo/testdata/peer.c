/* The C side: server PATH makes the FIFO and prints what comes until the last writer has
 * gone; client PATH writes its standard input into it. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	char buf[4096];
	ssize_t n;
	int fd, server;

	if (argc != 3)
		return 2;
	server = strcmp(argv[1], "server") == 0;
	if (server && mkfifo(argv[2], 0600) != 0) {
		perror("mkfifo");
		return 1;
	}
	fd = open(argv[2], server ? O_RDONLY : O_WRONLY);
	if (fd < 0) {
		perror("open");
		return 1;
	}
	while ((n = read(server ? fd : 0, buf, sizeof buf)) > 0)
		if (write(server ? 1 : fd, buf, n) != n)
			return 1;
	if (server)
		unlink(argv[2]);
	return n < 0;
}
