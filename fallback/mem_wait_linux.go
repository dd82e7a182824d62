package fallback

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"
)

// Waiting for a descriptor in the runtime's netpoller, with a context. A deadline
// belongs to the descriptor and not to a call, so only one goroutine at a time waits
// for a direction: the holder of its turn. Attempts that do not wait need no turn.

// A memTurn is a lock whose waiting ends with a context.
type memTurn chan struct{}

func newMemTurn() memTurn { return make(memTurn, 1) }

// lock takes the turn. gone, if not nil, gives up with os.ErrClosed.
func (t memTurn) lock(ctx context.Context, gone <-chan struct{}) error {
	select {
	case t <- struct{}{}:
		return nil
	default:
	}
	select {
	case t <- struct{}{}:
		return nil
	case <-memDone(ctx):
		return ctx.Err()
	case <-gone:
		return os.ErrClosed
	}
}

func (t memTurn) unlock() { <-t }

func memDone(ctx context.Context) <-chan struct{} {
	if ctx == nil {
		return nil
	}
	return ctx.Done()
}

func memEnded(ctx context.Context) error {
	if ctx == nil {
		return nil
	}
	return ctx.Err()
}

// A memWay is a direction of a descriptor in the netpoller: what a wait needs, kept, since
// method values made per call would be garbage.
type memWay struct {
	turn     memTurn
	deadline func(time.Time) error
	wait     func(func(fd uintptr) bool) error
}

// memWays are the directions of f.
func memWays(f *os.File, rc syscall.RawConn) (in, out memWay) {
	return memWay{newMemTurn(), f.SetReadDeadline, rc.Read}, memWay{newMemTurn(), f.SetWriteDeadline, rc.Write}
}

// straight runs f like until if the turn is free and ctx never ends, and says whether it has:
// then there is no need to try once beforehand.
func (w *memWay) straight(ctx context.Context, f func(fd uintptr) bool) (done bool, err error) {
	if memDone(ctx) != nil {
		return false, nil
	}
	select {
	case w.turn <- struct{}{}:
	default:
		return false, nil
	}
	err = memWaitError(ctx, w.wait(f))
	w.turn.unlock()
	return true, err
}

// until takes the turn and runs f whenever the descriptor is ready, until it returns true,
// ctx ends, or gone is closed.
func (w *memWay) until(ctx context.Context, gone <-chan struct{}, f func(fd uintptr) bool) error {
	if err := w.turn.lock(ctx, gone); err != nil {
		return err
	}
	defer w.turn.unlock()
	return memWait(ctx, w.deadline, w.wait, f)
}

// memPast is a deadline that has passed.
var memPast = time.Unix(1, 0)

// memWait runs wait, which is RawConn.Read or Write of one direction, and makes the
// end of ctx interrupt it. The caller holds the direction's turn. What wait did stands:
// an error here says only that wait itself was broken off.
func memWait(ctx context.Context, deadline func(time.Time) error,
	wait func(func(fd uintptr) bool) error, f func(fd uintptr) bool,
) error {
	if memDone(ctx) == nil {
		return memWaitError(forever, wait(f))
	}
	finished := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(finished)
		_ = deadline(memPast)
	})
	err := wait(f)
	if !stop() {
		<-finished
		_ = deadline(time.Time{}) // the next one's call has its own context
	}
	return memWaitError(ctx, err)
}

// memWaitError says what an error of RawConn means. The runtime knows two: a deadline
// has passed, which is the context's, or the descriptor was closed.
func memWaitError(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		if e := memEnded(ctx); e != nil {
			return e
		}
		return err
	case errors.Is(err, os.ErrNoDeadline), errors.Is(err, syscall.EINVAL):
		return err
	}
	return os.ErrClosed
}
