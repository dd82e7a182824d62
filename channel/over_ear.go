package channel

import (
	"context"
)

// Who only sends on a Conn with two directions has to learn of the other side's
// Close too, which comes as a message. Before each send it looks for one (listen); while
// a send waits for room, a goroutine does (the ear), which stays until it has heard
// something or somebody else wants to receive. Whatever they find that is no close
// mark goes to the inbox. They take one message at most, so the mark is seen when
// nothing lies before it.

type ear struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// lockAlone locks mu when no ear is at work.
func (o *over) lockAlone() {
	for {
		o.mu.Lock()
		e := o.ear
		if e == nil {
			return
		}
		o.mu.Unlock()
		e.cancel()
		<-e.done
	}
}

// listen looks for a close mark that has come.
func (o *over) listen() {
	if o.closed() {
		return
	}
	if o.wantsEar() {
		o.mu.Lock()
		hears := o.ear != nil
		o.mu.Unlock()
		if hears {
			return
		}
	}
	o.lockAlone()
	defer o.mu.Unlock()
	if o.closed() || o.asleep > 0 || len(o.inbox) > 0 || o.k.detached.Load() {
		return // a receiver that waits sees it
	}
	buf := scratches.Get().(*[]byte)
	msg, err := o.conn.TryReceive((*buf)[:0])
	if err != nil { // nothing, or the end: receives find it again
		scratches.Put(buf)
		return
	}
	o.keep(buf, msg)
}

// wantsEar says whether somebody waits for what an ear would hear: a sender for the
// other side's Close, a Select for a message.
func (o *over) wantsEar() bool {
	return o.shape == shapeDuplex && o.blocked.Load() > 0 || o.waiters.any()
}

// hear starts an ear if nobody listens.
func (o *over) hear() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.hearLocked()
}

func (o *over) hearLocked() {
	if o.ear != nil || o.asleep > 0 || len(o.inbox) > 0 || o.closed() || o.k.detached.Load() {
		return
	}
	ctx, cancel := context.WithCancel(o.life)
	e := &ear{cancel: cancel, done: make(chan struct{})}
	o.ear = e
	go func() {
		defer close(e.done)
		defer cancel()
		buf := scratches.Get().(*[]byte)
		msg, err := o.conn.Receive(ctx, (*buf)[:0])
		o.mu.Lock()
		defer o.mu.Unlock()
		o.ear = nil
		if err != nil {
			scratches.Put(buf)
		} else {
			o.keep(buf, msg)
		}
		o.waiters.wakeAll()
	}()
}
