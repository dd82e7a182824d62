package fallback

import (
	"context"
	"os"
	"runtime"
	"sync/atomic"
	"time"
)

// A turn is a lock on one direction of a Conn. A context or the end of the direction ends
// the wait for it, and whoever must not wait can see whether its holder does.
type turn struct {
	held chan struct{}
	over chan struct{} // closed: nobody waits for the turn any more
	// isOver is set before over is closed, and before the holder is stirred.
	isOver atomic.Bool
	waits  atomic.Bool // the holder waits for the other side

	setDeadline func(time.Time) error
}

func (t *turn) init(setDeadline func(time.Time) error) {
	t.setDeadline = setDeadline
	t.held = make(chan struct{}, 1)
	t.over = make(chan struct{})
}

// end is for the one caller that ends the direction; false if somebody was first.
func (t *turn) end() bool {
	if t.isOver.Swap(true) {
		return false
	}
	close(t.over)
	return true
}

// take waits for the turn. An error is os.ErrClosed or ctx's. Who gets the turn may find
// that the direction is over, and gives it back as ever.
func (t *turn) take(ctx context.Context) error {
	if ctx != nil {
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	select {
	case t.held <- struct{}{}:
		return nil
	default:
	}
	var ended <-chan struct{}
	if ctx != nil {
		ended = ctx.Done()
	}
	select {
	case t.held <- struct{}{}:
		return nil
	case <-ended:
		return ctx.Err()
	case <-t.over:
		return os.ErrClosed
	}
}

// try takes the turn unless its holder waits: then whoever has it waits as well, and there
// is nothing for another one. A holder that does not is done in an instant.
func (t *turn) try() error {
	for {
		select {
		case t.held <- struct{}{}:
			return nil
		default:
		}
		switch {
		case t.isOver.Load():
			return os.ErrClosed
		case t.waits.Load():
			return ErrWouldBlock
		}
		runtime.Gosched()
	}
}

func (t *turn) release() {
	t.waits.Store(false)
	<-t.held
}

var longAgo = time.Unix(1, 0)

// interruptible runs f, which blocks on a descriptor until a deadline, and sets that deadline
// when ctx ends. When it returns the deadline is none again. Only the holder of the turn
// calls it.
func (t *turn) interruptible(ctx context.Context, f func() error) error {
	if ctx == nil || ctx.Done() == nil {
		return f()
	}
	setDeadline := t.setDeadline
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = setDeadline(longAgo) // fails when closed: then f has ended already
		close(fired)
	})
	err := f()
	if !stop() {
		<-fired
		_ = setDeadline(time.Time{})
	}
	return err
}

// stirred is for the holder of the turn when its deadline has passed. It says why: the
// direction is over, or ctx. Else it was nobody's, and the holder goes on.
func (t *turn) stirred(ctx context.Context) error {
	// Whoever ends the direction sets isOver first and the deadline afterwards, so
	// that their deadline is not taken away unseen.
	_ = t.setDeadline(time.Time{})
	if t.isOver.Load() {
		return os.ErrClosed
	}
	if ctx != nil {
		return ctx.Err()
	}
	return nil
}
