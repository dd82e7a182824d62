/* Both ends of the example in C: send PATH FILE, receive PATH. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void copy(int file)
{
	char buf[4096];
	ssize_t n;

	while ((n = read(file, buf, sizeof buf)) > 0)
		if (write(1, buf, n) != n)
			die("write");
	if (n < 0)
		die("read");
}

int main(int argc, char **argv)
{
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { { 0 } };
	char byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room };
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct cmsghdr *c;
	int file, s = socket(AF_UNIX, SOCK_STREAM, 0);

	if (argc < 3 || strlen(argv[2]) >= sizeof addr.sun_path)
		return 2;
	strcpy(addr.sun_path, argv[2]);
	if (argc == 3) {
		if (bind(s, (void *)&addr, sizeof addr) || listen(s, 1))
			die("bind");
		s = accept(s, NULL, NULL);
		unlink(argv[2]);
		if (s < 0 || recvmsg(s, &m, 0) != 1)
			die("recvmsg");
		c = CMSG_FIRSTHDR(&m);
		if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(sizeof(int)))
			return 3;
		memcpy(&file, CMSG_DATA(c), sizeof file);
		copy(file);
		return 0;
	}
	file = open(argv[3], O_RDONLY);
	if (file < 0)
		die("open");
	if (connect(s, (void *)&addr, sizeof addr))
		die("connect");
	c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &file, sizeof file);
	if (sendmsg(s, &m, 0) != 1)
		die("sendmsg");
	return 0;
}
