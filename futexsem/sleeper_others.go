//go:build !linux

package futexsem

import (
	"errors"
	"time"
)

// This system has no futexes, so the words of a Sleeper are scanned (scan.go).

// Wait sleeps on a word of shared memory. This system has no futexes: it returns
// errors.ErrUnsupported.
func Wait(addr *uint32, val uint32, timeout time.Duration) error {
	return errors.ErrUnsupported
}

type direct struct{}

func (s *Sleeper) sleepDirect([]Word, time.Duration) bool { return false }

func (s *Sleeper) wakeAsleep() {}
func (s *Sleeper) poke() bool  { return true }

func register(r *registration) { scanned.register(r) }
