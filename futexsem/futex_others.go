//go:build !linux

package futexsem

import (
	"errors"
	"time"
)

// FutexWait sleeps on a word of shared memory. This system has no futexes: it
// returns errors.ErrUnsupported.
func FutexWait(addr *uint32, val uint32, timeout time.Duration) error {
	return errors.ErrUnsupported
}

// FutexWake wakes those who sleep on a word. This system has no futexes: it
// returns errors.ErrUnsupported.
func FutexWake(addr *uint32, n int) (int, error) {
	return 0, errors.ErrUnsupported
}

// FutexWakeAll does nothing on this system, where nobody can sleep on a word.
func FutexWakeAll(addr *uint32) {}
