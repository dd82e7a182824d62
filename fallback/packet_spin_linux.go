package fallback

import (
	"runtime"
	"sync/atomic"
)

// A packetSpin is how often a receiver tries again before it waits in the poller. A wait
// there costs two more tries, epoll_wait(2) and the waking of a thread, as much as some tens
// of tries: who answers within that time is met without. It learns from how often that
// was in vain, so that who waits long for each message soon spends next to nothing.
type packetSpin struct {
	budget atomic.Int32 // tries
	vain   atomic.Int32 // waits since it was tried
}

const (
	packetSpinMost  = 24
	packetSpinProbe = 8
	packetSpinEvery = 64 // waits, then it probes again
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
	if s.vain.Add(1)%packetSpinEvery != 1 {
		return 0
	}
	return packetSpinProbe
}

// learn is told how many tries there were to be, and how many were left when the message came.
func (s *packetSpin) learn(tries, left int32, came bool) {
	switch {
	case tries == 0:
	case came:
		s.budget.Store(min(packetSpinMost, max(tries, 2*(tries-left)+2)))
	default:
		s.budget.Store(tries / 4)
	}
}
