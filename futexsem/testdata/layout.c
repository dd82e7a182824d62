/* Prints sizeof(sem_t), its alignment, SEM_VALUE_MAX, and what sem_init(pshared = 1) makes of 0 and of 5. */
#include <limits.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>

static void show(unsigned value)
{
	sem_t sem;
	unsigned char bytes[sizeof sem];
	memset(&sem, 0, sizeof sem);
	if (sem_init(&sem, 1, value) != 0)
		perror("sem_init");
	memcpy(bytes, &sem, sizeof sem);
	for (size_t i = 0; i < sizeof sem; i++)
		printf("%02x", bytes[i]);
	putchar('\n');
}

int main(void)
{
	printf("%zu %zu %ld\n", sizeof(sem_t), _Alignof(sem_t), (long)SEM_VALUE_MAX);
	show(0);
	show(5);
	return 0;
}
