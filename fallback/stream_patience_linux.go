package fallback

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// There are two ways to wait for bytes. The runtime's poller costs no thread, but a
// goroutine that it wakes comes by way of epoll and the scheduler; a thread that sits in
// recvmsg is woken by the kernel itself. Between two processes that answer each other
// at once the second way takes about two thirds of the time, between two goroutines of one
// process it takes nearly twice as long. Nobody says which case it is (credentials do not: a
// socketpair's end may have been handed on), so patience tries both in turn and keeps to the
// faster one, for a while.
//
// A thread sits there for at most patienceSlice, since neither deadlines nor a close end
// that call; after it the poller goes on waiting. So only calls whose context cannot end
// do it, and no more than patienceThreads at once in a process.
const (
	patienceSlice   = time.Microsecond // SO_RCVTIMEO, which the kernel rounds up to its clock tick, 1 to 10 ms
	patienceThreads = 16
	patienceTrial   = 32                     // waits that are measured, of either way
	patienceRest    = 4096                   // waits until the next trial
	patienceLong    = 100 * time.Microsecond // a wait as long as that says nothing of the way
)

var patienceSeats atomic.Int32

type patience struct {
	count  int  // waits since the trial began
	faster bool // blocking is
	able   bool // the socket is prepared
	unable bool
	armed  bool // this wait may block
	start  time.Time
	took   [2]time.Duration // the trial's waits: polled, blocked
}

// begin is called before a wait.
func (p *patience) begin() {
	if p.count >= 2*patienceTrial {
		p.armed = p.faster
		return
	}
	p.armed = p.count >= patienceTrial
	p.start = time.Now()
}

// skip is begin for a wait that must not block.
func (p *patience) skip() { p.armed, p.start = false, time.Time{} }

// end is called when a wait has ended with bytes.
func (p *patience) end() {
	if p.count++; p.count > 2*patienceTrial {
		if p.count > 2*patienceTrial+patienceRest {
			p.count, p.took = 0, [2]time.Duration{}
		}
		return
	}
	way := 0
	if p.count > patienceTrial {
		way = 1
	}
	p.took[way] += min(time.Since(p.start), patienceLong)
	if p.count == 2*patienceTrial {
		p.faster = p.took[1] < p.took[0]
	}
}

// block tells whether this call is to block; then unblock is called after it.
func (p *patience) block(fd int) bool {
	if !p.armed || p.unable {
		return false
	}
	p.armed = false
	if !p.able {
		if !canBlock(fd) {
			p.unable = true
			return false
		}
		p.able = true
	}
	if patienceSeats.Add(1) > patienceThreads {
		patienceSeats.Add(-1)
		return false
	}
	return true
}

func (p *patience) unblock() { patienceSeats.Add(-1) }

// canBlock makes calls without MSG_DONTWAIT wait, for a clock tick at most. All other
// calls here have that flag, so the mode is none of their business.
func canBlock(fd int) bool {
	tv := unix.NsecToTimeval(patienceSlice.Nanoseconds())
	return unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv) == nil && unix.SetNonblock(fd, false) == nil
}
