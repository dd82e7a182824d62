package fallback

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"time"
)

// A packetTurn is who waits for one direction of a socket: one call at a time, the others
// wait for their turn. A socket has but one deadline for each direction, by which a
// context ends a wait. It is touched by him alone whose turn it is (and by interrupt, for good).
type packetTurn struct {
	taken    chan struct{} // capacity 1
	deadline func(time.Time) error
	wait     func(ready func(fd uintptr) bool) error
}

var packetPast = time.Unix(1, 0)

// await calls ready, which tries once and says whether that is done with, each time that
// the socket may be, until it says so. over, if not nil, ends it with os.ErrClosed.
func (t *packetTurn) await(ctx context.Context, ready func(fd uintptr) bool, over *atomic.Bool) error {
	if ctx == nil || ctx.Done() == nil {
		t.taken <- struct{}{} // Close ends the wait of whoever has it, and then the others'
		defer func() { <-t.taken }()
	} else {
		select {
		case t.taken <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		defer func() { <-t.taken }()
		defer t.endWith(ctx)() // before the turn is given up, so that it meets no other call
	}
	for {
		if over != nil && over.Load() {
			return os.ErrClosed
		}
		switch err := t.wait(ready); {
		case err == nil:
			return nil
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return os.ErrClosed // the poller's only other error
		case over != nil && over.Load():
			return os.ErrClosed
		case ctx != nil && ctx.Err() != nil:
			return ctx.Err()
		}
		_ = t.deadline(time.Time{}) // somebody else's
	}
}

// endWith lets the end of ctx end the wait. The function that it returns undoes it.
func (t *packetTurn) endWith(ctx context.Context) (undo func()) {
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = t.deadline(packetPast)
		close(fired)
	})
	return func() {
		if !stop() {
			<-fired
			_ = t.deadline(time.Time{})
		}
	}
}

// interrupt ends the waits whose over is set, and all to come.
func (t *packetTurn) interrupt() { _ = t.deadline(packetPast) }

// A packetPause waits for what the poller does not tell of: memory for a packet (ENOBUFS),
// room in the queue of an unconnected datagram socket (EAGAIN).
type packetPause struct{ n int }

const (
	packetPauses   = 1000 // of a millisecond, nearly all
	packetPauseMin = 20 * time.Microsecond
	packetPauseMax = time.Millisecond
)

// long says that it is time to give up waiting for memory.
func (p *packetPause) long() bool { return p.n >= packetPauses }

func (p *packetPause) sleep(ctx context.Context) error {
	d := packetPauseMax
	if p.n < 6 {
		d = min(d, packetPauseMin<<p.n)
	}
	p.n++
	if ctx == nil || ctx.Done() == nil {
		time.Sleep(d)
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
