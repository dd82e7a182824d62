package main

import (
	"bufio"
	"io"
	"sync"
	"time"
)

const (
	// outputBuffer is what small messages are gathered in. A larger one goes
	// from the channel's memory straight into the write call.
	outputBuffer = 32 << 10

	// maxDelay is how long a message may wait in the buffer while the channel
	// promises more and another receiver takes them.
	maxDelay = 10 * time.Millisecond
)

// output writes messages to a stream: many small ones with one call while more
// are there, each at once when no more are.
type output struct {
	mu    sync.Mutex
	w     *bufio.Writer
	timer *time.Timer
	armed bool
}

func newOutput(w io.Writer) *output {
	o := &output{w: bufio.NewWriterSize(w, outputBuffer)}
	o.timer = time.AfterFunc(time.Hour, func() { _ = o.flush() }) // an error comes again at the next call
	o.timer.Stop()
	return o
}

// write puts a message and what ends it into the stream.
func (o *output) write(message []byte, end string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, err := o.w.Write(message); err != nil {
		return err
	}
	_, err := o.w.WriteString(end)
	return err
}

// settle decides, between two messages, whether what is gathered must go now.
func (o *output) settle(more bool) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.w.Buffered() == 0 {
		return nil
	}
	if !more {
		return o.flushLocked()
	}
	if !o.armed {
		o.armed = true
		o.timer.Reset(maxDelay)
	}
	return nil
}

func (o *output) flush() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.flushLocked()
}

func (o *output) flushLocked() error {
	if o.armed {
		o.armed = false
		o.timer.Stop()
	}
	return o.w.Flush()
}
