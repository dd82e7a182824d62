package fallback

import (
	"runtime"
	"sync/atomic"
)

// There are three ways to wait for the other side. To ask again and again costs processor
// time, but wakes nobody: if the other side is at work, it is the fastest. A thread
// that sits in a system call is woken by the kernel itself. The runtime's poller takes no thread,
// but the goroutine that it wakes comes by way of epoll and the scheduler; and a descriptor
// that it watches wakes one more thread at every message, whether anybody waits or not. Between
// two processes that answer each other at once that is two to four switches of threads in
// place of one.
//
// So a descriptor is not in the poller to begin with. A call first asks a few times, if that has
// been of use lately; it then waits in the kernel, for a clock tick. If nothing has come by
// then there is no hurry, and it goes on waiting in the poller, which the descriptor enters for
// that. It leaves the poller when a call is to wait in the kernel again.
//
// Neither contexts nor Close end a wait in the kernel, other than by its tick. So calls whose
// context can end do not wait there, and Close is felt within a tick or two. No more than
// kernelThreads wait in the kernel at once, in a process.

const kernelThreads = 16

var kernelSeats atomic.Int32 // threads that wait in the kernel

// takeKernelSeat allows one wait in the kernel; giveKernelSeat ends it.
func takeKernelSeat() bool {
	if kernelSeats.Add(1) > kernelThreads {
		kernelSeats.Add(-1)
		return false
	}
	return true
}

func giveKernelSeat() { kernelSeats.Add(-1) }

// hurry is one direction's memory of how its waits have ended.
type hurry struct {
	asks  int // how often to ask before a wait
	waits int // since asking was of no use

	rest  int // so many waits go to the poller at once, not to the kernel
	pause int // how long rest was the last time
	hits  int
}

const (
	hurryAsks  = 32      // about 10 µs
	hurryProbe = 8       // asks, when they are tried again
	hurryEvery = 64      // waits until then
	hurryHits  = 32      // waits in the kernel that were of use, until the past is forgotten
	hurryPause = 1 << 16 // the longest rest
)

// askingPays: with one processor nobody can answer while this one asks.
var askingPays = runtime.NumCPU() > 1

func (h *hurry) begin() (asks int) {
	if h.asks == 0 && askingPays {
		if h.waits++; h.waits >= hurryEvery {
			h.waits, h.asks = 0, hurryProbe
		}
	}
	return h.asks
}

// asked is told which of the asks was answered; none of them if it was not fewer than h.asks.
func (h *hurry) asked(answered int) {
	if answered < h.asks {
		h.asks = min(hurryAsks, max(h.asks, 2*answered+2))
	} else {
		h.asks /= 4
	}
}

// waited is told how a wait in the kernel ended. In vain end those that stand in the way of
// the very goroutine they wait for, where there is but one processor for them. Then it is some
// time until the next one.
func (h *hurry) waited(inVain bool) {
	if inVain {
		h.pause = min(2*h.pause+1, hurryPause)
		h.rest, h.hits = h.pause, 0
	} else if h.hits++; h.hits == hurryHits {
		h.pause = 0
	}
}
