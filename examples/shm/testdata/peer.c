/* The C side: put NAME TEXT, get NAME (by the size), gets NAME (up to the NUL). */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static void die(const char *what)
{
	perror(what);
	exit(1);
}

int main(int argc, char **argv)
{
	struct stat st;
	char *mem;
	int fd, put;

	if (argc < 3)
		return 2;
	put = strcmp(argv[1], "put") == 0;
	fd = shm_open(argv[2], put ? O_CREAT | O_RDWR : O_RDONLY, 0600);
	if (fd < 0)
		die("shm_open");
	if (put && ftruncate(fd, 4096) != 0)
		die("ftruncate");
	if (fstat(fd, &st) != 0)
		die("fstat");
	mem = mmap(NULL, st.st_size, put ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
	if (mem == MAP_FAILED)
		die("mmap");
	close(fd);
	if (put)
		strcpy(mem, argv[3]);
	else if (strcmp(argv[1], "get") == 0)
		fwrite(mem, 1, st.st_size, stdout);
	else
		printf("%s", mem);
	return 0;
}
