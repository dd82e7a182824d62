package main

import (
	"context"
	"errors"
	"time"
)

// grace is how long an interrupted process waits for what it was about: a
// receiver for what it has taken to be written, anybody for a call on the channel
// to return. Who is at the other end of the pipe may be stuck.
const grace = 200 * time.Millisecond

// transfer runs move, which passes the messages, and puts the channel and its
// name in order according to how that went. done does it for a stream that had
// its end.
func (e *endpoint) transfer(ctx context.Context, move, done func() error) error {
	var err error
	moved := make(chan struct{})
	go func() {
		err = move()
		close(moved)
	}()
	select {
	case <-moved:
	case <-ctx.Done():
		left := make(chan struct{})
		go func() {
			e.abandon(false, moved)
			close(left)
		}()
		select {
		case <-left:
		case <-time.After(grace):
		}
		return context.Cause(ctx)
	}
	switch {
	case err == nil, errors.Is(err, errSenderLost):
		return errors.Join(err, done())
	case errors.Is(err, errStale):
		e.release()
	default:
		e.abandon(errors.Is(err, errReaderGone), moved) // err says more than what goes wrong now
	}
	return err
}
