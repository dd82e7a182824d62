package fallback

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
)

// A pipeReader is the receiving half of a Conn over a pipe or FIFO. It reads ahead: many
// small messages with one call. The data of a long chunk goes from the pipe right to
// where the caller wants it.
//
// Invariant, between turns: what was read of the stream and is not delivered is, in this
// order, in parts (pieces of messages), in long (one that comes in one), and in buf[r:end].
type pipeReader struct {
	pipeEnd
	max    int
	exact  bool  // nothing is read ahead
	broken error // ErrFrame, for good

	buf    []byte
	r, end int
	total  int64 // bytes read from the pipe

	long struct {
		pipeHeader
		open  bool   // its trailer has not come yet
		rest  int    // bytes of data to come
		saved []byte // data that came while a Receive was at it that has returned without it
	}
	afterLong bool // the message before was long; the next may well be
	parts     pipeParts

	two [2][]byte
	rw  func(func(uintptr) bool) error
}

const (
	pipeBufferSize = 64 << 10
	// At most so much room is made before the data is there to fill it.
	pipeGrowSize = 64 << 10
)

func newPipeReader(file *os.File, c pipeConfig, fifo bool) (*pipeReader, error) {
	p := &pipeReader{max: c.max, exact: c.exact}
	if err := p.init(file, readPipe); err != nil {
		return nil, err
	}
	p.hangUp = fifo
	p.rw = p.raw.Read
	p.parts.init(c.max)
	return p, nil
}

func (p *pipeReader) receive(ctx context.Context, dst []byte, wait bool) ([]byte, error) {
	if err := p.enter(ctx, wait, p.nothingCame); err != nil {
		return dst, err
	}
	defer p.give()
	if p.closed.Load() {
		return dst, os.ErrClosed
	}
	if p.broken != nil {
		return dst, p.broken
	}
	if p.buf == nil {
		p.buf = make([]byte, pipeBufferSize)
	}
	msg, err := p.next(ctx, dst, wait)
	if err == io.EOF { //nolint:errorlint // it is made below
		p.forget()
	}
	return msg, err
}

// forget drops what is unfinished when no writer is left to finish it.
func (p *pipeReader) forget() {
	p.parts.clear()
	p.long.open, p.long.saved = false, nil
	p.r, p.end = 0, 0
}

// next returns the next message, appended to dst, or dst and an error.
func (p *pipeReader) next(ctx context.Context, dst []byte, wait bool) ([]byte, error) {
	for {
		if p.long.open {
			msg, given, err := p.finishLong(ctx, dst, wait)
			if err != nil || given {
				return msg, err
			}
			continue
		}
		if p.end-p.r < pipeHeaderSize {
			need := pipeHeaderSize
			if p.afterLong && !p.exact {
				need = pipeLongHeader
			}
			if err := p.more(ctx, wait, need); err != nil {
				return dst, err
			}
			continue
		}
		h, err := readPipeHeader(p.buf[p.r:p.end], p.max)
		if err != nil {
			p.broken = err
			return dst, err
		}
		if h.flags == pipeLong {
			if p.end-p.r < pipeLongHeader {
				if err := p.more(ctx, wait, pipeLongHeader); err != nil {
					return dst, err
				}
				continue
			}
			p.r += pipeLongHeader
			p.long.pipeHeader, p.long.open, p.long.rest = h, true, h.length
			p.afterLong = true
			continue
		}
		size := pipeHeaderSize + h.length
		if p.end-p.r < size {
			if err := p.more(ctx, wait, size); err != nil {
				return dst, err
			}
			continue
		}
		data := p.buf[p.r+pipeHeaderSize : p.r+size]
		p.r += size
		p.afterLong = false
		if h.flags == pipeFirst|pipeLast {
			return append(dst, data...), nil
		}
		msg, whole, err := p.parts.add(h, data, p.max)
		if whole {
			return append(dst, msg...), nil
		}
		if err == nil {
			err = p.parts.check(p.total-int64(p.end-p.r), p.writerGone, p.streamEnd)
		}
		if err != nil {
			p.broken = err
			return dst, err
		}
	}
}

// finishLong receives the rest of a long chunk. given is false if its sender gave it up.
// If it fails, what has come so far is kept in saved.
func (p *pipeReader) finishLong(ctx context.Context, dst []byte, wait bool) (msg []byte, given bool, err error) {
	l := &p.long
	// The first Receive puts the data right behind dst; a later one goes on in saved.
	resumed := len(l.saved) > 0
	into := dst
	if resumed {
		into, l.saved = l.saved, nil
	}
	for l.rest > 0 {
		if n := min(p.end-p.r, l.rest); n > 0 {
			into = append(into, p.buf[p.r:p.r+n]...)
			p.r += n
			l.rest -= n
			continue
		}
		into = slices.Grow(into, min(l.rest, pipeGrowSize))
		data := into[len(into):min(cap(into), len(into)+l.rest)]
		// The trailer and the next header come along, and no more: what follows
		// may be long as well, and should not have to be copied out of buf.
		along := l.trailerSize()
		if !p.exact {
			along += pipeLongHeader
		}
		p.two = [2][]byte{data, p.buf[:along]}
		p.r, p.end = 0, 0
		n, err := p.read(ctx, wait, p.two[:])
		if err != nil {
			return p.keep(dst, into, resumed), false, err
		}
		k := min(n, len(data))
		into = into[:len(into)+k]
		l.rest -= k
		p.end = n - k
	}
	size := l.trailerSize()
	for p.end-p.r < size {
		if err := p.more(ctx, wait, size); err != nil {
			return p.keep(dst, into, resumed), false, err
		}
	}
	p.r += size
	given, err = l.readTrailer(p.buf[p.r-pipeTrailerSize : p.r])
	l.open = false
	switch {
	case err != nil:
		p.broken = err
		return dst, false, err
	case !given:
		return dst, false, nil
	case resumed:
		return append(dst, into...), true, nil
	}
	return into, true, nil
}

// keep puts aside what has come of a long message that this Receive will not see the
// end of, and returns the caller's dst as it was.
func (p *pipeReader) keep(dst, into []byte, resumed bool) []byte {
	if resumed {
		p.long.saved = into
	} else {
		p.long.saved = append(p.long.saved, into[len(dst):]...)
	}
	return dst
}

// more reads on until buf[r:end] may hold size bytes; at least one byte.
func (p *pipeReader) more(ctx context.Context, wait bool, size int) error {
	if p.r > 0 { // less than a chunk is left to be moved
		p.end = copy(p.buf, p.buf[p.r:p.end])
		p.r = 0
	}
	room := p.buf[p.end:]
	if p.afterLong || p.exact {
		room = p.buf[p.end:size]
	}
	p.two[0] = room
	n, err := p.read(ctx, wait, p.two[:1])
	p.end += n
	return err
}

// read fills vec with at least one byte, or says io.EOF.
func (p *pipeReader) read(ctx context.Context, wait bool, vec [][]byte) (int, error) {
	p.vec = vec
	n, err := p.do(ctx, wait, p.rw)
	p.vec, p.two = nil, [2][]byte{}
	if n == 0 && err == nil {
		return 0, io.EOF
	}
	p.total += int64(n)
	return n, err
}

func (p *pipeReader) writerGone(id uint64) (gone bool) {
	_ = pipeControl(p.file, func(fd int) error { gone = pipeWriterGone(fd, id); return nil })
	return gone
}

// streamEnd is how long the stream is with what waits in the pipe.
func (p *pipeReader) streamEnd() (int64, error) {
	n, err := PipeQueued(p.file)
	if err != nil {
		return 0, fmt.Errorf("what is left of dead writers: %w", err)
	}
	return p.total + int64(n), nil
}
