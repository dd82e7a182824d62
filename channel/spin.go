package channel

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shmchan/shmchan/ring"
)

// Spinning. It wins when the other side is at work on another core right now;
// whether it does is learnt from the last times. It is bounded by time too: on a
// machine with more to run than cores, one sched_yield can last a time slice, and
// sleeping, which the kernel rewards with an early wake-up, is the faster way.
const (
	spinRounds  = 60                    // attempts with a short pause in between, a few µs
	yieldRounds = 60                    // then attempts with sched_yield in between
	spinLimit   = 40 * time.Microsecond // but no longer than this
	spinCredit  = 8
)

// How often a spinning call looks depends on how much it did since it waited last.
// Each look takes the cache line away from the side that is at work, and what is
// found a little later is a batch that costs one transfer. So it pauses, before
// it looks again, for about as long as half of the work took that is behind it:
// not at all in a round trip, where a pause would add to the answer's latency.
const (
	pauseMost = 250  // PAUSE instructions before the first look, at most
	pauseMore = 24   // between later ones, at most
	pauseSum  = 1000 // in all, before yielding
)

type spinner struct {
	mark   atomic.Uint32 // messages passed when the last wait began
	credit atomic.Int32  // rises when spinning won, falls when it did not
	misses atomic.Uint32

	wins, losses atomic.Uint64 // for Stats
}

func (s *spinner) won() {
	s.wins.Add(1)
	if c := s.credit.Load(); c < spinCredit {
		s.credit.Store(c + 1)
	}
}

func (s *spinner) missed() {
	s.losses.Add(1)
	if c := s.credit.Load(); c > -spinCredit {
		s.credit.Store(c - 1)
	}
}

// spinTime says how long to try before sleeping; 0: not at all.
func (k *core) spinTime(s *side) time.Duration {
	switch k.cfg.spin.kind {
	case spinNever:
		return 0
	case spinBusy:
		return 1 << 62
	case spinFor:
		return k.cfg.spin.d
	}
	if oneCPU() || s.spin.credit.Load() <= -spinCredit && s.spin.misses.Add(1)%16 != 0 {
		return 0
	}
	return spinLimit
}

// passed counts what this handle has sent or received, modulo 2³².
func (k *core) passed(s *side) uint32 {
	if s == &k.sendSide {
		if p := k.spscSend.Load(); p != nil {
			return uint32(p.Sent64())
		}
		if d := k.sendDesk0.Load(); d != nil && d.TryLock() {
			defer d.Unlock()
			return d.Sent32()
		}
		return 0
	}
	if r := k.spscRecv.Load(); r != nil {
		return uint32(r.Taken64())
	}
	if d := k.recvDesk0.Load(); d != nil && d.TryLock() {
		defer d.Unlock()
		return d.Got32()
	}
	return 0
}

// spinOn tries again for a while. Full, NoSpace or Empty: it did not help.
func (k *core) spinOn(ctx context.Context, s *side, attempt func() ring.Status) ring.Status {
	limit := k.spinTime(s)
	if limit <= 0 {
		return ring.Empty
	}
	begin := time.Now()
	n := k.passed(s)
	looks := min(max((n-s.spin.mark.Swap(n))/2, 1), pauseMost)
	for i, paused := 0, uint32(0); paused < pauseSum && !oneCPU(); i++ {
		spinPause(looks)
		paused += looks
		if st := attempt(); !waits(st) {
			s.spin.won()
			return st
		}
		switch i {
		case 0:
			looks = min(looks, pauseMore)
		case spinRounds / 2:
			looks = pauseMore
		}
	}
	for i := 0; ; i++ {
		pause(spinRounds + i)
		if st := attempt(); !waits(st) {
			if time.Since(begin) < spinLimit {
				s.spin.won()
			} else {
				s.spin.missed()
			}
			return st
		}
		if i&3 != 3 {
			continue
		}
		if time.Since(begin) > limit || limit == spinLimit && i > yieldRounds {
			break
		}
		if st, err := k.interrupted(ctx); st != ring.OK || err != nil {
			break
		}
		if i > 1000 {
			k.lookAround()
		}
	}
	s.spin.missed()
	return ring.Empty
}

var procs = sync.OnceValue(usableCPUs)

// oneCPU says that nobody else can run while we spin.
func oneCPU() bool { return procs() == 1 }

// pause passes a short time between attempt i and the next.
func pause(i int) {
	switch {
	case oneCPU():
		runtime.Gosched()
		osYield()
	case i < spinRounds:
		spinPause(20)
	case i&7 == 7:
		runtime.Gosched()
	default:
		osYield()
	}
}
