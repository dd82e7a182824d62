package channel

import (
	"errors"
	"fmt"
	"io/fs"
	"unsafe"
)

// reserveOver lends private memory that is laid out as the message already.
func (c *Chan[T]) reserveOver(op string, size []int) (Loan[T], error) {
	k, o := c.core, c.core.over
	fail := func(err error) (Loan[T], error) { return Loan[T]{}, opError(op, k.name, err) }
	n, err := c.loanSizeOver(size)
	if err != nil {
		return fail(err)
	}
	if err = o.maySend(); err == nil {
		o.lookForClose()
		err = o.maySend()
	}
	if err != nil {
		return fail(err)
	}
	l := k.newLoan(n)
	if cap(l.frame) < frameHeader+n+1 {
		l.frame = alignedBytes(frameHeader + n + 1 + maxDescription)
	}
	l.frame = o.begin(l.frame[:0], frameData)[:frameHeader+n]
	place := l.frame[frameHeader : frameHeader+n : frameHeader+n+1]
	out := Loan[T]{l: l}
	if c.codec == nil {
		out.Value = (*T)(unsafe.Pointer(unsafe.SliceData(place)))
	} else {
		out.Value = new(T)
		*asBytes(out.Value) = place[:n:n]
		l.bytes, l.start = asBytes(out.Value), unsafe.SliceData(place)
	}
	out.turn, err = k.keep(op, l)
	return out, err
}

func (c *Chan[T]) loanSizeOver(size []int) (int, error) {
	o := c.core.over
	switch {
	case c.codec == nil:
		return o.size, nil
	case c.transfer != transferBytes:
		return 0, errors.ErrUnsupported
	case len(size) == 0:
		return o.most, nil
	case size[0] < 0:
		return 0, fmt.Errorf("size %d: %w", size[0], fs.ErrInvalid)
	case size[0] > o.most:
		return 0, tooLarge(size[0], uint64(o.most))
	}
	return size[0], nil
}

// commitOver sends a loan of size bytes.
func (o *over) commitOver(l *loan, size int) error {
	if err := o.maySend(); err != nil {
		return err
	}
	l.frame = o.finish(l.frame[:frameHeader+size])
	return o.send(never, l.frame, true)
}
