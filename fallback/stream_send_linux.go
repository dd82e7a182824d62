package fallback

import (
	"context"
	"os"

	"golang.org/x/sys/unix"
)

// A frame up to contiguousFrame bytes is copied and sent from one place, which costs less
// than to tell the kernel of three.
const contiguousFrame = 2048

const sendFlags = unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL

// outgoing is the direction to send. All but the turn belongs to the holder of the turn.
//
// A frame once begun goes out to its end before anything else. If its sender does not wait
// for that, the remainder is kept as rest, and the next one who has the turn sends it
// first; a goroutine sees to it that there is one.
type outgoing struct {
	turn
	push func(fd uintptr) bool // pushWhilePolled

	// What is being sent: total bytes, of which off are gone. They lie in bytes, or, if
	// that is nil, in header, msg and trailer.
	bytes   []byte
	header  [frameAlign]byte
	lead    int // of header
	msg     []byte
	trailer [frameAlign]byte
	tail    int    // of trailer
	rights  []byte // control data that goes with the first byte
	total   int
	off     int
	wait    bool       // pushSome may wait in the kernel
	lingers bool       // the end of the direction does not end this
	errno   unix.Errno // what pushSome has met

	rest     []byte
	restSent bool // the rest ends in a commit, as its TrySend has promised
	flushing bool // a goroutine sees to the rest
	broken   error
	used     bool  // something was sent
	ended    int32 // how much of streamConn.wanted is done

	hurry      hurry
	vec        vector
	contiguous [contiguousFrame]byte
}

// owes tells whether something was promised that the kernel does not have yet.
func (o *outgoing) owes() bool { return len(o.rest) > 0 && o.restSent && o.broken == nil }

func (s *streamConn) Send(ctx context.Context, msg []byte) error {
	return s.send(ctx, msg, nil, 0, true)
}

func (s *streamConn) TrySend(msg []byte) error { return s.send(forever, msg, nil, 0, false) }

// SendFiles sends the descriptors with the first byte of the frame, unix(7) SCM_RIGHTS. More
// than MaxRights are refused: ErrTooLarge.
func (s *streamConn) SendFiles(ctx context.Context, msg []byte, files ...*os.File) error {
	if s.kind != KindUnixStream {
		return Refuse(s.kind, "passing descriptors")
	}
	if len(files) == 0 {
		return s.Send(ctx, msg)
	}
	err := withDescriptors(files, func(fds []int) error {
		return s.send(ctx, msg, unix.UnixRights(fds...), len(fds), true)
	})
	return err
}

func (s *streamConn) send(ctx context.Context, msg, rights []byte, files int, wait bool) error {
	if len(msg) > s.max {
		return opError(s.kind, "send", "", ErrTooLarge)
	}
	var err error
	if wait {
		err = s.out.take(ctx)
	} else {
		err = s.out.try()
	}
	if err == nil {
		err = s.sendInTurn(ctx, msg, rights, files, wait)
		s.releaseSend()
	}
	return s.sendError(err)
}

// sendError names the operation where the error is not one that comes all the time.
func (s *streamConn) sendError(err error) error {
	switch err {
	case nil, ErrWouldBlock, context.Canceled, context.DeadlineExceeded: //nolint:errorlint // as they come from below
		return err
	}
	return opError(s.kind, "send", "", err)
}

func (s *streamConn) sendInTurn(ctx context.Context, msg, rights []byte, files int, wait bool) error {
	o := &s.out
	if o.isOver.Load() || o.ended > endNone {
		return os.ErrClosed
	}
	if len(o.rest) > 0 {
		if err := s.sendRest(ctx, wait); err != nil {
			return err
		}
	}
	if o.broken != nil {
		return o.broken
	}
	o.load(msg, rights, files)
	err := s.transmit(ctx, wait)
	if err != nil && o.off > 0 && o.broken == nil {
		if err == ErrWouldBlock { //nolint:errorlint // transmit's own: TrySend
			o.keep(frameCommit)
			err = nil
		} else if !o.isOver.Load() {
			o.keep(frameAbort)
		} // else the end of the stream cuts it short
		if len(o.rest) > 0 && !o.flushing {
			o.flushing = true
			go s.flush()
		}
	}
	o.unload()
	return err
}

// load makes a frame of msg.
func (o *outgoing) load(msg, rights []byte, files int) {
	putFrameHeader(&o.header, len(msg), files)
	o.lead, o.tail = frameLead(len(msg)), frameTail(len(msg))
	o.off, o.total, o.used = 0, o.lead+len(msg)+o.tail, true
	o.rights = rights
	if o.total > contiguousFrame {
		o.bytes, o.msg = nil, msg
		o.trailer[o.tail-1] = frameCommit
		return
	}
	o.bytes = append(append(o.contiguous[:0], o.header[:o.lead]...), msg...)
	o.bytes = append(o.bytes, frameCommit)
}

// unload lets go of what was the caller's.
func (o *outgoing) unload() {
	if o.bytes == nil || o.rights != nil {
		if o.bytes == nil {
			o.trailer[o.tail-1] = 0
		}
		o.msg = nil
		o.vec.clear()
	}
	o.bytes, o.rights = nil, nil
}

// pieces are what is left of a frame that does not lie in bytes.
func (o *outgoing) pieces() [3][]byte {
	pieces := [3][]byte{o.header[:o.lead], o.msg, o.trailer[:o.tail]}
	skip := o.off
	for i, piece := range pieces {
		n := min(skip, len(piece))
		pieces[i] = piece[n:]
		skip -= n
	}
	return pieces
}

// keep makes the rest of what is left of a frame, with a trailer of its own.
func (o *outgoing) keep(trailer byte) {
	rest := make([]byte, 0, o.total-o.off)
	if o.bytes != nil {
		rest = append(rest, o.bytes[o.off:]...)
	} else {
		for _, piece := range o.pieces() {
			rest = append(rest, piece...)
		}
	}
	rest[len(rest)-1] = trailer
	o.rest, o.restSent = rest, trailer == frameCommit
}

// sendRest sends what is left of an earlier frame.
func (s *streamConn) sendRest(ctx context.Context, wait bool) error {
	o := &s.out
	o.bytes, o.rights, o.off, o.total = o.rest, nil, 0, len(o.rest)
	err := s.transmit(ctx, wait)
	if o.errno != 0 && o.errno != unix.EAGAIN && o.broken == nil {
		o.broken = os.NewSyscallError("sendmsg", o.errno) // the frame has no end now
	}
	if o.rest = o.rest[o.off:]; len(o.rest) == 0 {
		o.rest = nil
	}
	o.bytes = nil
	return err
}

// flush sends the rest in nobody's name. After the end of the direction it goes on only with
// what was promised.
func (s *streamConn) flush() {
	o := &s.out
	o.held <- struct{}{}
	if len(o.rest) > 0 && o.broken == nil && (o.restSent || !o.isOver.Load()) {
		o.lingers = o.restSent
		_ = s.sendRest(forever, true)
		o.lingers = false
	}
	o.flushing = false
	s.releaseSend()
}
