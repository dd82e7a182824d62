package main

import (
	"context"
	"errors"
	"time"
)

// grace is what a receiver gets after a signal to write what it has taken.
const grace = time.Second

// transfer runs move, which passes the messages, and puts the channel and its
// name in order according to how that went. done does it for a stream that had
// its end.
func (e *endpoint) transfer(ctx context.Context, move func() error, done func() error) error {
	moved := make(chan error, 1)
	go func() { moved <- move() }()
	var err error
	select {
	case err = <-moved:
	case <-ctx.Done():
		return e.interrupted(ctx, moved)
	}
	switch {
	case err == nil, errors.Is(err, errSenderLost):
		return errors.Join(err, done())
	case errors.Is(err, errStale):
		e.release()
		return err
	}
	e.abandon(errors.Is(err, errReaderGone)) // err says more than what goes wrong now
	return err
}

// interrupted leaves the channel, which ends what move is blocked in, and waits
// for it a little: the other side of a pipe may be stuck.
func (e *endpoint) interrupted(ctx context.Context, moved <-chan error) error {
	left := make(chan struct{})
	go func() {
		e.abandon(false)
		<-moved
		close(left)
	}()
	select {
	case <-left:
	case <-time.After(grace):
	}
	return context.Cause(ctx)
}
