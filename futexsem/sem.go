package futexsem

import "errors"

// SemValueMax is the largest value of a semaphore: SEM_VALUE_MAX of the C
// library's <limits.h>.
const SemValueMax = 1<<31 - 1

var (
	// ErrOverflow is returned by [Sem.Post] when the value already is
	// [SemValueMax] (the EOVERFLOW of sem_post(3)). Nothing has changed then.
	// Test for it with errors.Is.
	ErrOverflow = errors.New("futexsem: the semaphore's value would exceed SEM_VALUE_MAX")

	// ErrWouldBlock is returned by [Sem.TryWait] when the value is 0 (the
	// EAGAIN of sem_trywait(3)). Test for it with errors.Is.
	ErrWouldBlock = errors.New("futexsem: the semaphore's value is 0")
)
