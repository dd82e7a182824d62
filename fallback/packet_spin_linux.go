package fallback

import (
	"runtime"
	"sync/atomic"
)

// A packetSpin is how often a receiver tries again before it waits in the poller. A wait
// there costs epoll_wait(2) and, as a rule, the waking of a thread: as much as some tens of
// tries. Who answers within that time is met without it. It learns: tries in vain
// become fewer, down to none, and then there is only now and then a probe, ever more rarely.
//
// Measured between two processes on two CPUs of a busy virtual machine: an answer after some 7
// tries or 5 µs, against 10 µs for threads that sleep in recv(2) and 20 µs through the poller.
// But if the other side gets no CPU of its own all tries are in vain.
type packetSpin struct {
	budget atomic.Int32 // tries
	waits  atomic.Int32 // until the next probe
	pause  atomic.Int32 // waits between probes
}

const (
	packetSpinMost   = 40 // tries
	packetSpinProbe  = 64
	packetProbeLeast = 16 // waits
	packetProbeMost  = 2048
)

// With one CPU, nobody can answer meanwhile.
var packetSpins = min(runtime.NumCPU(), runtime.GOMAXPROCS(0)) > 1

func (s *packetSpin) tries() int32 {
	if !packetSpins {
		return 0
	}
	if n := s.budget.Load(); n > 0 {
		return n
	}
	if s.waits.Add(-1) >= 0 {
		return 0
	}
	pause := min(packetProbeMost, max(packetProbeLeast, 2*s.pause.Load()))
	s.pause.Store(pause)
	s.waits.Store(pause)
	return packetSpinProbe
}

// learn is told how many tries there were to be, how many were left, and whether a message came.
func (s *packetSpin) learn(tries, left int32, came bool) {
	switch {
	case tries == 0:
	case came:
		s.budget.Store(min(packetSpinMost, 2*(tries-left)+8))
		s.pause.Store(0)
	default:
		s.budget.Store(tries / 2)
	}
}
