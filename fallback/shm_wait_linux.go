package fallback

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmchan/shmchan/futexsem"
	"github.com/shmchan/shmchan/ring"
)

// shmEnv is what the rings ask of the world.
type shmEnv struct{ c *ShmConn }

// Alive implements ring.Env. Nothing is ever swept here: each ring has two members, and
// the socket says when one of them is gone.
func (shmEnv) Alive(int) bool { return true }

// Pause implements ring.Env.
func (shmEnv) Pause(int) { runtime.Gosched() }

// Fence implements ring.Env: the kernel's fence if both processes are registered for it. If
// not, both fence by hand after each message, and this side's own fence is all that is
// missing here.
func (e shmEnv) Fence() {
	if e.c.fenced {
		futexsem.FullFence()
		return
	}
	futexsem.Fence()
}

// shmSleep sleeps while the word is val; it may also wake for nothing.
func shmSleep(ev *uint32, val uint32) { _ = futexsem.FutexWait(ev, val, -1) }

// shmSpin decides how long to look before sleeping. It pays when the other side is
// at work on another CPU right now, which is learnt from the last times.
type shmSpin struct {
	credit atomic.Int32
	misses atomic.Uint32
}

const (
	shmSpinTime   = 30 * time.Microsecond
	shmSpinCredit = 8
)

var shmCPUs = sync.OnceValue(func() int {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return 2
	}
	return max(1, set.Count())
})

func (s *shmSpin) try(attempt func() ring.Status) ring.Status {
	credit := s.credit.Load()
	if shmCPUs() == 1 || credit <= -shmSpinCredit && s.misses.Add(1)%16 != 0 {
		return ring.Empty
	}
	begin := time.Now()
	for i := 0; ; i++ {
		if i > 40 {
			// Another process may need this very CPU to answer.
			_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
		} else {
			for range 10 {
				s.credit.Load()
			}
		}
		if st := attempt(); !shmWaits(st) {
			s.credit.Store(min(credit+1, shmSpinCredit))
			return st
		}
		if i&7 == 7 && time.Since(begin) > shmSpinTime {
			s.credit.Store(max(credit-1, -shmSpinCredit))
			return ring.Empty
		}
	}
}
