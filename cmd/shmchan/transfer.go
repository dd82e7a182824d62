package main

import (
	"context"
	"errors"
	"time"

	"github.com/shmchan/shmchan/channel"
)

// grace is how long an interrupted process waits for what it was about: a receiver
// for what it has taken to be written. Who reads it may be stuck.
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
		_ = e.abandon(false, func() bool { return e.out(moved) })
		return context.Cause(ctx)
	}
	switch {
	case err == nil, errors.Is(err, errSenderLost):
		return errors.Join(err, done())
	case errors.Is(err, errStale), errors.Is(err, channel.ErrBusy):
		e.release() // it is the others' affair
	case errors.Is(err, errWreck):
		return e.clear()
	default:
		_ = e.abandon(errors.Is(err, errReaderGone), func() bool { return true }) // err says more than what goes wrong now
	}
	return err
}

// out waits until move makes no call on the channel any more, which is detached.
func (e *endpoint) out(moved <-chan struct{}) bool {
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for begin := time.Now(); time.Since(begin) < grace; {
		select {
		case <-moved:
			return true
		case <-look.C:
			if e.reading.Load() {
				return true
			}
		}
	}
	return false
}
