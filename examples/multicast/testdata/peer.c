/* The C side: receive GROUP PORT prints one datagram; send GROUP PORT TEXT sends one. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static void die(const char *what)
{
	perror(what);
	exit(1);
}

int main(int argc, char **argv)
{
	struct sockaddr_in addr = { .sin_family = AF_INET };
	struct ip_mreq group;
	char buf[65536];
	ssize_t n;
	int one = 1, s = socket(AF_INET, SOCK_DGRAM, 0);

	if (argc < 4)
		return 2;
	addr.sin_port = htons(atoi(argv[3]));
	addr.sin_addr.s_addr = inet_addr(argv[2]);
	group.imr_multiaddr = addr.sin_addr;
	group.imr_interface.s_addr = htonl(INADDR_LOOPBACK);
	if (strcmp(argv[1], "send") == 0 && argc == 5) {
		if (setsockopt(s, IPPROTO_IP, IP_MULTICAST_IF, &group.imr_interface, sizeof group.imr_interface))
			die("IP_MULTICAST_IF");
		if (sendto(s, argv[4], strlen(argv[4]), 0, (void *)&addr, sizeof addr) < 0)
			die("sendto");
		return 0;
	}
	if (setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) || bind(s, (void *)&addr, sizeof addr))
		die("bind");
	if (setsockopt(s, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof group))
		die("IP_ADD_MEMBERSHIP");
	fprintf(stderr, "listening on %s\n", argv[2]);
	n = recv(s, buf, sizeof buf, 0);
	if (n < 0)
		die("recv");
	printf("%.*s\n", (int)n, buf);
	return 0;
}
