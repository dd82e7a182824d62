package fallback

import (
	"fmt"
)

// Messages of several writers, put together from their pieces.
//
// A writer can die in mid-message, and a pipe does not tell. Yet the memory for
// unfinished messages must have a bound, and a message whose Send has returned must
// never be the one that is dropped. So nothing is dropped on suspicion, neither by age nor
// for another's sake. Each writer holds an open-file-description lock on the
// byte of the pipe that its number names, the kernel drops the lock with the writer,
// and the reader asks for it when unfinished messages become many. A writer that is gone may
// have left the rest of the message in the pipe; so its message is dropped when
// everything that was in the pipe at the time of that proof has been read.
//
// What is then left belongs to living writers, or to somebody who makes numbers up and
// holds locks for them. Beyond the limits the Conn breaks with ErrFrame.
type pipeParts struct {
	parts map[uint64]*pipePart
	bytes int // capacity of all data
	askAt int // ask who is gone when there are so many
	most  int // bytes
	idle  []*pipePart
}

type pipePart struct {
	data []byte
	gone bool  // the writer is
	last int64 // if gone: the position in the stream up to which its pieces may come
}

const (
	pipeAskAt    = 16
	pipeMaxParts = 1024 // writers in mid-message
	pipeKeepIdle = 4
	pipeIdleSize = 256 << 10
)

func (p *pipeParts) init(maxMessage int) {
	p.parts = map[uint64]*pipePart{}
	p.askAt = pipeAskAt
	p.most = max(64<<20, 16*maxMessage)
}

// add takes a piece. It returns the message when it is whole: valid until the next call.
func (p *pipeParts) add(h pipeHeader, data []byte, maxMessage int) (msg []byte, whole bool, err error) {
	part := p.parts[h.writer]
	switch {
	case h.flags == pipeAbort:
		p.drop(h.writer)
		return nil, false, nil
	case h.flags == pipeFirst:
		if part == nil {
			part = p.fresh()
			p.parts[h.writer] = part
		}
		part.data = part.data[:0]
	case part == nil:
		// Its beginning went to a receiver before us.
		return nil, false, nil
	}
	if len(part.data)+len(data) > maxMessage {
		return nil, false, fmt.Errorf("%w: a message of more than MaxMessage %d", ErrFrame, maxMessage)
	}
	before := cap(part.data)
	part.data = append(part.data, data...)
	p.bytes += cap(part.data) - before
	if h.flags == pipeLast {
		msg = part.data
		p.drop(h.writer)
		return msg, true, nil
	}
	return nil, false, nil
}

func (p *pipeParts) fresh() *pipePart {
	if n := len(p.idle); n > 0 {
		part := p.idle[n-1]
		p.idle = p.idle[:n-1]
		part.data = part.data[:0]
		p.bytes += cap(part.data)
		return part
	}
	return &pipePart{}
}

func (p *pipeParts) drop(writer uint64) {
	part := p.parts[writer]
	if part == nil {
		return
	}
	delete(p.parts, writer)
	p.bytes -= cap(part.data)
	if len(p.idle) < pipeKeepIdle && cap(part.data) <= pipeIdleSize {
		part.gone = false
		p.idle = append(p.idle, part)
	}
}

// clear drops all: there is no writer left.
func (p *pipeParts) clear() {
	for writer := range p.parts {
		p.drop(writer)
	}
	p.askAt = pipeAskAt
}

// check bounds what is unfinished. seen is how much of the stream was looked at, gone
// tells whether a writer is, end how long the stream is by now, with what waits in the pipe.
func (p *pipeParts) check(seen int64, gone func(uint64) bool, end func() (int64, error)) error {
	if len(p.parts) < p.askAt && p.bytes <= p.most {
		return nil
	}
	var proven []*pipePart
	for writer, part := range p.parts {
		switch {
		case part.gone && seen >= part.last:
			p.drop(writer)
		case !part.gone && gone(writer):
			proven = append(proven, part)
		}
	}
	if len(proven) > 0 {
		last, err := end() // after the proof
		if err != nil {
			return err
		}
		for _, part := range proven {
			part.gone, part.last = true, last
		}
	}
	// Those of the dead go as their pieces are read, at most one pipe full of them.
	dead, bytes := 0, 0
	for _, part := range p.parts {
		if part.gone {
			dead++
		} else {
			bytes += cap(part.data)
		}
	}
	alive := len(p.parts) - dead
	if alive > pipeMaxParts || bytes > p.most {
		return fmt.Errorf("%w: %d writers are in mid-message, with %d bytes", ErrFrame, alive, bytes)
	}
	p.askAt = dead + max(pipeAskAt, 2*alive)
	return nil
}
