/* An event loop in C: polls descriptor 3 and says what it finds. After "ready" it
 * waits for a line on standard input, by which the other process says that it has
 * received all there was, before it polls again. It ends when the descriptor does. */
#include <poll.h>
#include <stdio.h>

int main(void)
{
	struct pollfd p = { .fd = 3, .events = POLLIN };
	char line[16];

	printf("%s\n", poll(&p, 1, 0) == 0 ? "idle" : "busy");
	fflush(stdout);
	for (;;) {
		if (poll(&p, 1, -1) != 1) {
			perror("poll");
			return 1;
		}
		if (p.revents & POLLHUP) {
			puts("end");
			return 0;
		}
		if (!(p.revents & POLLIN)) {
			fprintf(stderr, "revents is %#x\n", p.revents);
			return 1;
		}
		puts("ready");
		fflush(stdout);
		if (!fgets(line, sizeof line, stdin))
			return 1;
	}
}
