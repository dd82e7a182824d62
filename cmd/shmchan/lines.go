package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

const (
	firstBuffer = 64 << 10 // bytes; grows up to the longest line
	maxBatch    = 1024     // lines
)

var errLongLine = errors.New("the line is too long")

// lineReader cuts what it reads into lines, as many at a time as one read
// brought: a slow input is not held back, a fast one is sent in batches.
type lineReader struct {
	r     io.Reader
	max   int    // bytes in a line
	buf   []byte // buf[start:end] is read and not given out
	start int
	end   int
	clean int // buf[start:clean] holds no newline
	lines int // given out so far
	eof   bool
	batch [][]byte
}

func newLineReader(r io.Reader, longest int) *lineReader {
	return &lineReader{r: r, max: longest, buf: make([]byte, min(firstBuffer, longest+1))}
}

// next gives the lines that are there, at least one, without their newlines, and
// the number of the first, from 1. They are valid until the next call. The error
// is io.EOF after the last line, errLongLine, or the reader's own; then there are
// no lines.
func (l *lineReader) next() (lines [][]byte, first int, err error) {
	l.batch = l.batch[:0]
	for {
		if err = l.cut(); len(l.batch) > 0 {
			first = l.lines + 1
			l.lines += len(l.batch)
			return l.batch, first, nil
		}
		if err != nil {
			return nil, l.lines + 1, err
		}
		if l.eof {
			return nil, l.lines + 1, io.EOF
		}
		if err = l.fill(); err != nil {
			return nil, l.lines + 1, err
		}
	}
}

// cut moves lines from the buffer to the batch.
func (l *lineReader) cut() error {
	for len(l.batch) < maxBatch {
		at := bytes.IndexByte(l.buf[l.clean:l.end], '\n')
		after := l.clean + at + 1
		switch {
		case at >= 0:
			at += l.clean
		case l.eof && l.end > l.start:
			at, after = l.end, l.end
		default:
			l.clean = l.end
			if l.end-l.start > l.max {
				return errLongLine
			}
			return nil
		}
		if at-l.start > l.max {
			return errLongLine
		}
		l.batch = append(l.batch, l.buf[l.start:at:at])
		l.start, l.clean = after, after
	}
	return nil
}

// fill reads once, into room that it makes.
func (l *lineReader) fill() error {
	if l.start > 0 {
		copy(l.buf, l.buf[l.start:l.end])
		l.end -= l.start
		l.clean -= l.start
		l.start = 0
	}
	if l.end == len(l.buf) {
		bigger := make([]byte, min(2*len(l.buf), l.max+1))
		copy(bigger, l.buf)
		l.buf = bigger
	}
	n, err := l.r.Read(l.buf[l.end:])
	l.end += n
	if errors.Is(err, io.EOF) {
		l.eof = true
		return nil
	}
	return err
}

// lineError says on which line of the input something is wrong.
func lineError(line int, err error) error {
	return fmt.Errorf("standard input, line %d: %w", line, err)
}
