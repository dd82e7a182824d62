/* send PATH FILE: the sending end of the example, in C. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

static void die(const char *what) { perror(what); exit(1); }

int main(int argc, char **argv)
{
	if (argc != 4) return 2;
	int file = open(argv[3], O_RDONLY);
	if (file < 0) die("open");
	int s = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	if (strlen(argv[2]) >= sizeof addr.sun_path) return 2;
	strcpy(addr.sun_path, argv[2]);
	if (connect(s, (void *)&addr, sizeof addr)) die("connect");
	union { char room[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } control = { {0} };
	char byte = 0;
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &file, sizeof file);
	if (sendmsg(s, &m, 0) != 1) die("sendmsg");
	return 0;
}
