package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/shmchan/shmchan/channel"
	"github.com/shmchan/shmchan/shm"
)

// The rules by which names come and go, so that no process is left with a channel
// that the others cannot find:
//
//  1. A name is removed only by who holds the channel's name lock (nameLock) and,
//     holding it, has seen that the name still leads to this channel.
//  2. Who joins takes the lock once, after it has become a member, and starts
//     over if the name does not lead to this channel any more.
//  3. Who removes a name because nobody else is there counts the members under
//     the lock. So a newcomer either was counted, or finds the name gone.
//  4. The sender that finds itself the last one, under the lock, closes the
//     channel; the others detach under the lock. So exactly one closes it.
//
// rm does not ask: it is for a person who knows better.

const (
	defaultDir = shm.DefaultDir

	// nameLock is the byte of the object's file that stands for its name. It
	// lies below the bytes that packages shm and channel lock.
	nameLock = shm.LockBase - 1<<20

	// retryAfter is how often --wait looks again.
	retryAfter = 20 * time.Millisecond
)

var (
	errStale    = errors.New("the name leads elsewhere by now")
	errOccupied = errors.New("the name is taken")
	errWreck    = errors.New("the receivers were gone before anything was sent")
)

// endpoint is one side's hold on a channel and its name.
type endpoint struct {
	ch   *channel.Chan[[]byte]
	opts *options
	path string
	file *os.File // the object, for its identity and for nameLock

	reading atomic.Bool // waits for standard input, outside the channel
}

// join becomes a member of the channel that has the name, or creates it. admit
// (nil: always) is asked under the name lock whether to stay; errStale makes join
// start over, errOccupied too if the command line says --wait.
func join(ctx context.Context, o *options, admit func(*endpoint) error) (*endpoint, error) {
	for {
		e, err := open(o)
		if err != nil {
			return nil, err
		}
		err = e.locked(func() error {
			switch {
			case !e.named():
				return errStale
			case admit != nil:
				return admit(e)
			}
			return nil
		})
		if err == nil {
			return e, nil
		}
		e.release()
		switch {
		case errors.Is(err, errStale):
		case errors.Is(err, errOccupied) && o.wait:
			select {
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			case <-time.After(retryAfter):
			}
		default:
			return nil, err
		}
	}
}

// open attaches to the channel, or creates it.
func open(o *options) (*endpoint, error) {
	for {
		ch, err := channel.Attach[[]byte](o.name, o.joining()...)
		if errors.Is(err, fs.ErrNotExist) {
			ch, err = channel.Create[[]byte](o.name, o.capacity, o.creating()...)
			if errors.Is(err, fs.ErrExist) {
				continue // another process was quicker
			}
		}
		if err != nil {
			return nil, err
		}
		e := &endpoint{ch: ch, opts: o, path: filepath.Join(o.dir, strings.TrimPrefix(o.name, "/"))}
		if o.told("capacity") && ch.Cap() != o.capacity {
			e.release()
			return nil, fmt.Errorf("channel %q is there already, with a capacity of %d, not %d", o.name, ch.Cap(), o.capacity)
		}
		if e.file, err = ch.File(); err != nil {
			e.release()
			return nil, err
		}
		return e, nil
	}
}

// named says whether the name leads to this channel.
func (e *endpoint) named() bool {
	there, err := os.Lstat(e.path)
	if err != nil {
		return false
	}
	here, err := e.file.Stat()
	return err == nil && os.SameFile(here, there)
}

func (e *endpoint) lock() error {
	if err := lockByte(e.file, nameLock); err != nil {
		return fmt.Errorf("lock the name %q: %w", e.opts.name, err)
	}
	return nil
}

func (e *endpoint) unlock() error { return unlockByte(e.file, nameLock) }

// locked runs f while this process holds the name lock.
func (e *endpoint) locked(f func() error) error {
	if err := e.lock(); err != nil {
		return err
	}
	return errors.Join(f(), e.unlock())
}

// unlink removes the name. The caller holds the lock and has asked named.
func (e *endpoint) unlink() error {
	err := channel.Unlink(e.opts.name, channel.Dir(e.opts.dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // rm was quicker
	}
	return err
}

// release lets go of the channel, whatever becomes of it.
func (e *endpoint) release() {
	e.ch.Detach()
	if e.file != nil {
		e.file.Close()
	}
}

// finish is the end of a sender that has sent everything.
func (e *endpoint) finish() error {
	defer e.release()
	return e.locked(func() error {
		if e.ch.Stats().Senders > 1 {
			return e.ch.Detach()
		}
		err := e.ch.Close()
		if errors.Is(err, channel.ErrClosed) {
			return nil // somebody else did it, after all was sent
		}
		return err
	})
}

// forget is the end of a receiver that has had the end: the name goes.
func (e *endpoint) forget() error {
	defer e.release()
	return e.locked(func() error {
		if e.opts.keep || !e.named() {
			return nil
		}
		return e.unlink()
	})
}

// clear is for a sender that finds a channel whose receivers are gone. If nobody
// else is there, they were killed before a sender came: the name goes, and
// errStale says to start over. Other senders are about to notice for themselves.
func (e *endpoint) clear() error {
	defer e.release()
	return e.locked(func() error {
		if e.ch.Stats().Members > 1 {
			return errReaderGone
		}
		if e.named() {
			if err := e.unlink(); err != nil {
				return err
			}
		}
		return errStale
	})
}

// abandon is the end of whoever cannot go on. The last member of a broken stream
// removes the name. A whole one, closed by its sender, stays for a receiver to
// come, unless unwanted says that nobody will want it.
//
// out waits until no call on the channel is under way: this process is counted
// until then. If it says that one is stuck, the lock stays until the process ends.
func (e *endpoint) abandon(unwanted bool, out func() bool) error {
	if err := e.lock(); err != nil {
		return err
	}
	s := e.ch.Stats()
	whole := s.Closed && s.Sent > s.Received
	var err error
	if !e.opts.keep && s.Members <= 1 && (unwanted || !whole) && e.named() {
		err = e.unlink()
	}
	err = errors.Join(err, e.ch.Detach()) // under the lock, so that the next to leave does not count it
	if !out() {
		return err
	}
	err = errors.Join(err, e.unlock())
	e.release()
	return err
}

// admitSender keeps a stream apart from an earlier one under the same name.
func admitSender(e *endpoint) error {
	s := e.ch.Stats()
	waiting := s.Sent - s.Received
	served := s.Sent > 0 && waiting == 0 // it has nothing for a receiver to come
	broken := !s.Closed && s.Sent > 0 && s.Senders == 0
	switch {
	case served && (s.Closed || broken && s.Receivers == 0):
		if err := e.unlink(); err != nil {
			return err
		}
		return errStale
	case s.Closed:
		return occupied(e.opts.name, "was sent before", waiting)
	case broken:
		return occupied(e.opts.name, "a sender that did not finish has left", waiting)
	}
	return nil
}

func occupied(name, whose string, waiting uint64) error {
	return fmt.Errorf(`channel %q: %w: what %s waits for a receiver (%d messages); `+
		`"shmchan recv" takes it, "shmchan rm" drops it, "shmchan send --wait" waits until it is gone`,
		name, errOccupied, whose, waiting)
}
