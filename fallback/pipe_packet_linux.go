package fallback

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// PipePacketMax is MaxMessage of a packet pipe in bytes: PipeBuf less a mark, which lets
// an empty message be a packet too (a write of 0 bytes is none).
const PipePacketMax = PipeBuf - 1

const packetMark = 0xd7

// PacketFiles makes a pipe in packet mode (pipe2(2) with O_DIRECT, Linux 3.4; EINVAL before): each
// write of up to PipeBuf bytes is one packet, and each read takes one; what of it does
// not fit into the reader's buffer is lost. Longer writes become several packets. Both
// files are non-blocking, in the runtime's poller. It does not block.
func PacketFiles() (r, w *os.File, err error) {
	r, w, err = pipeFiles(unix.O_DIRECT)
	return r, w, opError(KindPipe, "make in packet mode", "", err)
}

// PacketPipe makes a pipe in packet mode and returns its ends; what is sent into w
// is received from r. The kernel keeps messages apart, so any number of processes may send
// and any number may receive; each message goes to one of them, and nothing is read
// ahead. A message has at most PipePacketMax bytes and uses up a page of the pipe's capacity.
// Otherwise as Pipe.
func PacketPipe() (r, w Conn, err error) {
	rf, wf, err := PacketFiles()
	if err != nil {
		return nil, nil, err
	}
	r, err = newPacketConn(rf, nil)
	if err == nil {
		w, err = newPacketConn(nil, wf)
	}
	if err != nil {
		rf.Close()
		wf.Close()
		return nil, nil, err
	}
	return r, w, nil
}

// PacketConn makes a Conn of ends of pipes, or FIFOs, in packet mode, say inherited ones
// that PacketFiles made; either may be nil. It turns packet mode on for w in any case. As PipeConn,
// it closes r and w if it succeeds.
func PacketConn(r, w *os.File) (Conn, error) {
	return pipeConnOf(r, w, nil, func(r, w *os.File, _ pipeConfig) (Conn, error) {
		if w != nil {
			if err := SetPacketMode(w, true); err != nil {
				return nil, opError(KindPipe, "make in packet mode", "", err)
			}
		}
		return newPacketConn(r, w)
	})
}

type packetConn struct {
	r, w   *pipeEnd
	rw, ww func(func(uintptr) bool) error
	caps   Capabilities
	closed atomic.Bool

	// A packet and the mark before it. Copying it here costs less than what it costs the
	// kernel to copy between addresses that differ in their low bits.
	out, in       []byte
	outVec, inVec [1][]byte
}

var (
	_ Conn         = (*packetConn)(nil)
	_ syscall.Conn = (*packetConn)(nil)
)

func newPacketConn(r, w *os.File) (*packetConn, error) {
	p := &packetConn{}
	for _, end := range []struct {
		file    *os.File
		to      **pipeEnd
		perform func(int, [][]byte) (int, error)
	}{{r, &p.r, readPipe}, {w, &p.w, writePipe}} {
		if end.file == nil {
			continue
		}
		*end.to = &pipeEnd{}
		if err := (*end.to).init(end.file, end.perform); err != nil {
			return nil, opError(KindPipe, "make", "", err)
		}
	}
	if r != nil {
		p.rw, p.in = p.r.raw.Read, make([]byte, PipeBuf)
	}
	if w != nil {
		p.ww, p.out = p.w.raw.Write, make([]byte, PipeBuf)
		p.out[0] = packetMark
	}
	p.caps = Capabilities{
		Send: w != nil, Receive: r != nil, Ordered: true, Reliable: true, ManySenders: true, ManyReceivers: true,
		Boundaries: true, Pollable: r != nil, HalfClose: w != nil, EndOfFile: true,
	}
	return p, nil
}

func (p *packetConn) Send(ctx context.Context, msg []byte) error {
	return explainPipe(KindPipe, "send", "", p.send(ctx, msg, true), "write")
}

func (p *packetConn) TrySend(msg []byte) error {
	return explainPipe(KindPipe, "send", "", p.send(forever, msg, false), "write")
}

func (p *packetConn) send(ctx context.Context, msg []byte, wait bool) error {
	if p.w == nil {
		return Refuse(KindPipe, "sending into a reading end")
	}
	if len(msg) > PipePacketMax {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(msg), PipePacketMax)
	}
	if err := p.w.enter(ctx, wait, nil); err != nil {
		return err
	}
	defer p.w.give()
	if p.w.closed.Load() {
		return os.ErrClosed
	}
	p.outVec[0] = p.out[:1+copy(p.out[1:], msg)]
	p.w.vec = p.outVec[:]
	_, err := p.w.do(ctx, wait, p.ww)
	return err
}

func (p *packetConn) Receive(ctx context.Context, dst []byte) ([]byte, error) {
	msg, err := p.receive(ctx, dst, true)
	return msg, explainPipe(KindPipe, "receive", "", err, "read")
}

func (p *packetConn) TryReceive(dst []byte) ([]byte, error) {
	msg, err := p.receive(forever, dst, false)
	return msg, explainPipe(KindPipe, "receive", "", err, "read")
}

func (p *packetConn) receive(ctx context.Context, dst []byte, wait bool) ([]byte, error) {
	if p.r == nil {
		return dst, Refuse(KindPipe, "receiving from a writing end")
	}
	if err := p.r.enter(ctx, wait, p.r.nothingCame); err != nil {
		return dst, err
	}
	defer p.r.give()
	if p.r.closed.Load() {
		return dst, os.ErrClosed
	}
	p.inVec[0] = p.in
	p.r.vec = p.inVec[:]
	n, err := p.r.do(ctx, wait, p.rw)
	switch {
	case err != nil:
		return dst, err
	case n == 0:
		return dst, io.EOF
	case p.in[0] != packetMark: // this packet is lost, the next one may be sound
		return dst, fmt.Errorf("%w: a packet that begins with %#x", ErrFrame, p.in[0])
	}
	return append(dst, p.in[1:n]...), nil
}

func (p *packetConn) CloseSend() error {
	if p.w == nil {
		return Refuse(KindPipe, "closing the sending half of a reading end")
	}
	return explainPipe(KindPipe, "close", "", p.w.close(), "close")
}

func (p *packetConn) Close() error {
	if p.closed.Swap(true) {
		return opError(KindPipe, "close", "", os.ErrClosed)
	}
	var err error
	if p.w != nil {
		if err = p.w.close(); errors.Is(err, os.ErrClosed) {
			err = nil // CloseSend was here
		}
	}
	if p.r != nil {
		err = errors.Join(err, p.r.close())
	}
	return explainPipe(KindPipe, "close", "", err, "close")
}

func (p *packetConn) MaxMessage() int            { return PipePacketMax }
func (p *packetConn) Kind() Kind                 { return KindPipe }
func (p *packetConn) Capabilities() Capabilities { return p.caps }

func (p *packetConn) Peer() (Credentials, error) {
	return Credentials{}, Refuse(KindPipe, "the other side's credentials")
}

// SyscallConn is the reading descriptor, or the writing one if there is no other.
func (p *packetConn) SyscallConn() (syscall.RawConn, error) {
	if p.r != nil {
		return p.r.raw, nil
	}
	return p.w.raw, nil
}
