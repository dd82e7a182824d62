package fallback

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	// windowMost is how much of a payload is asked for before its header is known.
	windowMost = 64 << 10
	// readAhead holds what a window turns out not to be for, and the frames around it.
	readAhead = windowMost + 8<<10
	// growStep is how much memory is taken for a payload that has not come yet.
	growStep = 64 << 10
	// abortsMost is how many given-up frames TryReceive passes over.
	abortsMost = 64
)

// incoming is the direction to receive. All but the turn belongs to the holder of the turn.
//
// Bytes come into buf, several frames at once if they are small, or, of a large frame,
// straight to where its payload belongs. A frame in progress stays in progress when its
// receiver gives up: what there is of it moves to memory of its own.
type incoming struct {
	turn
	pull  func(fd uintptr) bool // pullWhilePolled
	exact atomic.Bool           // nothing is read ahead
	ended bool                  // it is over, and nothing is left

	buf  []byte // what is read ahead is buf[r:w]
	r, w int

	dst []byte // the receiver's

	// The frame in progress. frame[base:] is its payload as far as it is here, behind dst
	// or, if own, in memory of its own.
	open   bool
	length int
	lead   int // bytes of nothing that are to come before the payload
	tail   int // bytes that are to come behind it, the trailer last
	frame  []byte
	base   int
	own    bool
	last   int // the length of the frame before

	// Descriptors come with the first byte of their frame, and the kernel ends a read
	// behind the bytes that they came with. So those that came (pending) belong to the
	// last frame that begins in buf, and are claimed when its header is known.
	pending descriptors
	claimed descriptors
	control []byte // room for them; nil if there are none

	// What the next system call is for: the beginning of a payload after a header that
	// is not known, or else the payload in progress; the rest goes to buf.
	window []byte
	aimed  int
	vec    vector

	wait   bool // pullSome may wait in the kernel
	n      int  // what pullSome has got
	errno  unix.Errno
	broken error // this is how it ends
	hurry  hurry
}

// descriptors have come; or some of them have, and those are closed.
type descriptors struct {
	fds  []int
	lost bool
}

func (d *descriptors) any() bool { return len(d.fds) > 0 || d.lost }

func (d *descriptors) close() {
	closeDescriptors(d.fds)
	*d = descriptors{}
}

func (s *streamConn) Receive(ctx context.Context, dst []byte) ([]byte, error) {
	msg, fds, _, err := s.receive(ctx, dst, true)
	closeDescriptors(fds)
	return msg, err
}

func (s *streamConn) TryReceive(dst []byte) ([]byte, error) {
	msg, fds, _, err := s.receive(forever, dst, false)
	closeDescriptors(fds)
	return msg, err
}

// ReceiveFiles is ErrFilesLost if this process has no room for the descriptors that came;
// the message is gone then, and the Conn goes on.
func (s *streamConn) ReceiveFiles(ctx context.Context, dst []byte) ([]byte, []*os.File, error) {
	if s.kind != KindUnixStream {
		return dst, nil, Refuse(s.kind, "passing descriptors")
	}
	msg, fds, lost, err := s.receive(ctx, dst, true)
	if lost {
		closeDescriptors(fds)
		return dst, nil, opError(s.kind, "receive", "", ErrFilesLost)
	}
	return msg, filesOfDescriptors(fds), err
}

func (s *streamConn) receive(ctx context.Context, dst []byte, wait bool) (msg []byte, fds []int, lost bool, err error) {
	in := &s.in
	if wait {
		err = in.take(ctx)
	} else {
		err = in.try()
	}
	if err != nil {
		return dst, nil, false, s.receiveError(err)
	}
	switch {
	case in.isOver.Load():
		err = os.ErrClosed
	case in.broken != nil:
		err = in.broken
	default:
		in.dst = dst
		if !in.own {
			in.frame, in.base = dst, len(dst)
		}
		err = s.assemble(ctx, wait)
		msg, fds, lost = in.deliver(err == nil)
	}
	if err != nil {
		msg = dst
	}
	s.releaseReceive()
	return msg, fds, lost, s.receiveError(err)
}

func (s *streamConn) receiveError(err error) error {
	switch err {
	case nil, ErrWouldBlock, io.EOF, context.Canceled, context.DeadlineExceeded: //nolint:errorlint // as they come from below
		return err
	}
	return opError(s.kind, "receive", "", err)
}

// releaseReceive gives the turn to receive back. After Close nobody will claim what is here.
func (s *streamConn) releaseReceive() {
	in := &s.in
	for {
		over := in.isOver.Load()
		if over && !in.ended {
			in.ended = true
			in.discard()
			s.sock.end()
		}
		in.release()
		if over || !in.isOver.Load() {
			return
		}
		select {
		case in.held <- struct{}{}:
		default:
			return
		}
	}
}

// discard lets go of all that has come and was not received.
func (in *incoming) discard() {
	in.pending.close()
	in.claimed.close()
	in.open, in.own, in.frame, in.dst = false, false, nil, nil
	in.buf, in.r, in.w = nil, 0, 0
}

// deliver ends a receiver's turn. It returns the whole message, or keeps what there is of it.
func (in *incoming) deliver(whole bool) (msg []byte, fds []int, lost bool) {
	switch {
	case whole && in.own:
		msg = append(in.dst, in.frame...)
	case whole:
		msg = in.frame
	case in.open && !in.own && in.broken == nil:
		in.frame = append([]byte(nil), in.frame[in.base:]...)
		in.base, in.own = 0, true
	}
	if whole {
		in.own = false
		fds, lost = in.claimed.fds, in.claimed.lost
		in.claimed = descriptors{}
	}
	if !in.own {
		in.frame = nil
	}
	in.dst, in.window = nil, nil
	in.vec.clear()
	return msg, fds, lost
}

// assemble makes one frame whole.
func (s *streamConn) assemble(ctx context.Context, wait bool) error {
	in := &s.in
	for aborts := 0; ; {
		whole, aborted, err := in.advance(s.max)
		if aborted {
			aborts++
		}
		switch {
		case err != nil:
			return in.fail(err)
		case whole:
			return nil
		case aborted && !wait && aborts > abortsMost:
			return ErrWouldBlock
		case aborted && ctx != nil && ctx.Err() != nil:
			return ctx.Err()
		case aborted:
			continue
		}
		if err := in.aim(); err != nil {
			return in.fail(err)
		}
		if err := s.fetch(ctx, wait); err != nil {
			return err
		}
		if in.isOver.Load() { // Close may have thrown away what was before these bytes
			return os.ErrClosed
		}
		if err := in.landed(s.max); err != nil {
			return in.fail(err)
		}
	}
}

// fail ends the direction: nothing is received any more.
func (in *incoming) fail(err error) error {
	in.discard()
	in.broken = err
	return err
}

// advance moves what is in buf to the frame in progress.
func (in *incoming) advance(most int) (whole, aborted bool, err error) {
	have := in.buf[in.r:in.w]
	if !in.open {
		length, files, known, err := readFrameHeader(have, most)
		if err != nil || !known {
			return false, false, err
		}
		if err := in.begin(length, files); err != nil {
			return false, false, err
		}
		in.r += frameHeader
		have = have[frameHeader:]
	}
	if in.lead > 0 {
		n := min(in.lead, len(have))
		in.lead -= n
		in.r += n
		have = have[n:]
	}
	if missing := in.missing(); in.lead == 0 && missing > 0 {
		n := min(missing, len(have))
		in.frame = append(in.frame, have[:n]...)
		in.r += n
		have = have[n:]
	}
	if len(have) == 0 {
		return false, false, nil
	}
	n := min(in.tail, len(have))
	in.tail -= n
	in.r += n
	if in.tail > 0 {
		return false, false, nil
	}
	in.last = in.length
	switch trailer := have[n-1]; trailer {
	case frameCommit:
		in.open = false
		return true, false, nil
	case frameAbort:
		in.open = false
		in.claimed.close()
		in.frame, in.base, in.own = in.dst, len(in.dst), false
		return false, true, nil
	}
	return false, false, fmt.Errorf("it ends with %#x: %w", have[n-1], ErrFrame)
}

// begin begins a frame.
func (in *incoming) begin(length, files int) error {
	in.open, in.length = true, length
	in.lead, in.tail = frameLead(length)-frameHeader, frameTail(length)
	if files == 0 {
		return nil
	}
	if !in.pending.lost && len(in.pending.fds) != files {
		return fmt.Errorf("%d descriptors are announced, %d came: %w", files, len(in.pending.fds), ErrFrame)
	}
	in.claimed, in.pending = in.pending, descriptors{}
	return nil
}

// missing is how much of the payload in progress has not come.
func (in *incoming) missing() int { return in.length - (len(in.frame) - in.base) }
