package fallback

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A packetTurn is who waits for one direction of a socket: one call at a time, the others
// wait for their turn. A socket has but one deadline for each direction, by which a
// context ends a wait in the poller. All is touched by him alone whose turn it is.
type packetTurn struct {
	taken  chan struct{} // capacity 1
	sock   *packetSocket
	events int16 // unix.POLLIN or POLLOUT
	hurry  hurry
}

// packetAsk is how many tries take about as long as one of hurry's asks.
const packetAsk = 2

var packetPast = time.Unix(1, 0)

func newPacketTurn(sock *packetSocket, events int16) packetTurn {
	return packetTurn{taken: make(chan struct{}, 1), sock: sock, events: events}
}

// await calls ready, which tries once and says whether that is done with, each time that
// the socket may be, until it says so. waiting, if not nil, is the same, and waits as long as
// SO_RCVTIMEO says. over, if not nil, ends it with os.ErrClosed.
func (t *packetTurn) await(ctx context.Context, ready, waiting func(fd uintptr) bool, over *atomic.Bool) error {
	endless := ctx == nil || ctx.Done() == nil
	if err := t.take(ctx); err != nil {
		return err
	}
	defer t.giveUp()
	if over != nil && over.Load() {
		return os.ErrClosed
	}
	if done, err := t.hurried(endless, ready, waiting); done || err != nil {
		return err
	}
	if endless && t.hurry.rest > 0 {
		t.hurry.rest--
	}
	return t.awaitInPoller(ctx, ready, over)
}

// awaitLong is await for what is never in a hurry.
func (t *packetTurn) awaitLong(ctx context.Context, ready func(fd uintptr) bool) error {
	if err := t.take(ctx); err != nil {
		return err
	}
	defer t.giveUp()
	return t.awaitInPoller(ctx, ready, nil)
}

func (t *packetTurn) take(ctx context.Context) error {
	var ended <-chan struct{}
	if ctx != nil {
		ended = ctx.Done()
	}
	select {
	case t.taken <- struct{}{}: // Close ends the wait of whoever has it, and then the others'
		return nil
	case <-ended:
		return ctx.Err()
	}
}

func (t *packetTurn) giveUp() { <-t.taken }

// hurried asks a few times if it is to receive, and waits in the kernel if it may.
func (t *packetTurn) hurried(mayWait bool, ready, waiting func(fd uintptr) bool) (done bool, err error) {
	s := t.sock
	if !s.enter() {
		return false, os.ErrClosed
	}
	defer s.leave()
	if t.events == unix.POLLIN {
		if asks := t.hurry.begin(); asks > 0 {
			tries := 0
			for tries < packetAsk*asks && !done {
				done = ready(s.fd)
				tries++
			}
			if !done {
				t.hurry.asked(asks)
			} else {
				t.hurry.asked((tries - 1) / packetAsk)
				return true, nil
			}
		}
	}
	if !mayWait || t.hurry.rest > 0 || !takeKernelSeat() {
		return false, nil
	}
	if s.polled.Load() {
		s.leavePoller()
	}
	// What polls ready and is not (somebody else was faster, or it is an error that stays)
	// is for the poller, which tells of it but once.
	if waiting == nil || !s.withTimeout(func() { done = waiting(s.fd) }) {
		done = s.waitInKernel(t.events) && ready(s.fd)
	}
	giveKernelSeat()
	t.hurry.waited(!done)
	return done, nil
}

// awaitInPoller is await for who has the turn.
func (t *packetTurn) awaitInPoller(ctx context.Context, ready func(fd uintptr) bool, over *atomic.Bool) error {
	raw, err := t.sock.enterPoller()
	if err != nil {
		return err
	}
	defer t.sock.exitPoller()
	if ctx != nil && ctx.Done() != nil {
		defer t.endWith(ctx)() // before the turn is given up, so that it meets no other call
	}
	wait := raw.Read
	if t.events == unix.POLLOUT {
		wait = raw.Write
	}
	for {
		if over != nil && over.Load() {
			return os.ErrClosed
		}
		switch err := wait(ready); {
		case err == nil:
			return nil
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return os.ErrClosed // the poller's only other error
		case over != nil && over.Load():
			return os.ErrClosed
		case ctx != nil && ctx.Err() != nil:
			return ctx.Err()
		}
		_ = t.sock.setDeadline(t.events, time.Time{}) // somebody else's
	}
}

// endWith lets the end of ctx end the wait. The function that it returns undoes it.
func (t *packetTurn) endWith(ctx context.Context) (undo func()) {
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = t.sock.setDeadline(t.events, packetPast)
		close(fired)
	})
	return func() {
		if !stop() {
			<-fired
			_ = t.sock.setDeadline(t.events, time.Time{})
		}
	}
}

// interrupt ends the waits whose over is set, and all to come.
func (t *packetTurn) interrupt() { _ = t.sock.setDeadline(t.events, packetPast) }

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
