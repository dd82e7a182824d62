/* The C side: put FILE TEXT, get FILE (up to the NUL), through a shared mapping. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

int main(int argc, char **argv)
{
	char *mem;
	int fd;

	if (argc < 3)
		return 2;
	fd = open(argv[2], O_RDWR);
	if (fd < 0) {
		perror("open");
		return 1;
	}
	mem = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mem == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	if (argc == 3)
		puts(mem);
	else if (strlen(argv[3]) >= 4096)
		return 2;
	else
		strcpy(mem, argv[3]);
	return msync(mem, 4096, MS_SYNC);
}
