package channel

import (
	"context"
	"sync/atomic"
	"time"
)

// Who only sends on a Conn with two directions has to learn of the other side's
// Close too, which comes as a message. Sends look for one (listen), as often as a lookout
// says, and always where there is no room; while a send waits for room, a goroutine
// does (the ear), which stays until it has heard something or somebody else wants to
// receive. Whatever they find that is no close mark goes to the inbox. They take one
// message at most, so the mark is seen when nothing lies before it.

// lookout says which sends look for the other side's Close: a look is a system call
// on most carriers, a quarter of what sending a short message costs. Sends with a
// pause before them do, and some after it; in a stream of sends a look every lookApart.
// The fields are written by several senders at once, who then look once too often or seldom.
type lookout struct {
	sent   atomic.Int64 // when the last send was, since lookEpoch
	looked atomic.Int64 // when the last look was
	row    atomic.Int32 // sends without a pause between them, up to lookFirst
}

const (
	lookApart = 20 * time.Microsecond // between looks; also what a pause is
	lookFirst = 8                     // so many after a pause look each
)

var lookEpoch = time.Now()

// due says whether the send that is about to be made, that long after lookEpoch, shall
// look.
func (l *lookout) due(at time.Duration) bool {
	now := int64(at)
	if now-l.sent.Load() >= int64(lookApart) {
		l.row.Store(0)
	}
	l.sent.Store(now)
	if l.row.Load() < lookFirst {
		l.row.Add(1)
	} else if now-l.looked.Load() < int64(lookApart) {
		return false
	}
	l.looked.Store(now)
	return true
}

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
