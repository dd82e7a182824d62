package fallback

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"

	"golang.org/x/sys/unix"
)

// A pipeWriter is the sending half of a Conn over a pipe or FIFO.
//
// Invariant, between turns: what the pipe has been given, followed by owed, is a row of whole chunks,
// and the message of each Send that reported an error is not in it or is given up in it.
// So whoever gets the turn next pays what is owed first.
type pipeWriter struct {
	pipeEnd
	many     bool
	max      int
	capacity int
	id       uint64

	owed struct {
		head []byte // the rest of a header
		fill int    // zeros instead of data that will not come
		tail []byte // a trailer, or a chunk that gives up
	}
	head    [pipeLongHeader]byte
	tail    [pipeLongTrailer]byte
	abort   [pipeHeaderSize]byte
	scratch []byte // PipeBuf
	room    [3][]byte
	rw      func(func(uintptr) bool) error
}

var pipeZeros [PipeBuf]byte

func newPipeWriter(file *os.File, c pipeConfig) (*pipeWriter, error) {
	w := &pipeWriter{many: c.many, max: c.max, scratch: make([]byte, PipeBuf)}
	w.id = rand.Uint64N(pipeWriterLimit-1) + 1
	if err := w.init(file, writePipe); err != nil {
		return nil, err
	}
	w.rw = w.raw.Write
	pipeHeader{flags: pipeAbort, writer: w.id}.put(w.abort[:])
	err := pipeControl(file, func(fd int) (err error) {
		if w.capacity, err = unix.FcntlInt(uintptr(fd), unix.F_GETPIPE_SZ, 0); err != nil {
			return os.NewSyscallError("fcntl F_GETPIPE_SZ", err)
		}
		// Two of the longest messages, so that one can be written while one is read. If the
		// pipe may not be so large it serves as it is: Send waits.
		if need := 2 * pipeRoom(w.max); w.capacity < need {
			if got, err := setPipeCapacity(fd, need); err == nil {
				w.capacity = got
			}
		}
		if w.many {
			return markPipeWriter(fd, w.id)
		}
		return nil
	})
	return w, err
}

func (w *pipeWriter) send(ctx context.Context, msg []byte, wait bool) error {
	if len(msg) > w.max {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(msg), w.max)
	}
	if err := w.enter(ctx, wait, nil); err != nil {
		return err
	}
	defer w.give()
	if w.closed.Load() {
		return os.ErrClosed
	}
	if err := w.pay(ctx, wait); err != nil {
		return err
	}
	switch {
	case len(msg) <= pipeChunkData:
		return w.sendWhole(ctx, msg, wait)
	case !wait && !w.roomFor(len(msg)):
		return unix.EAGAIN
	case w.many:
		return w.sendPieces(ctx, msg, wait)
	}
	return w.sendLong(ctx, msg, wait)
}

// roomFor is a guess that spares beginning, and giving up, what cannot be ended without
// waiting. Pages that are filled in part make it a guess.
func (w *pipeWriter) roomFor(n int) bool {
	queued := 0
	err := pipeControl(w.file, func(fd int) (err error) {
		queued, err = pipeQueued(fd)
		return err
	})
	return err != nil || queued+pipeRoom(n) <= w.capacity
}

// pipeRoom is what a message of n bytes takes up at most, over pipeChunkData.
func pipeRoom(n int) int {
	chunks := (n + pipeChunkData - 1) / pipeChunkData
	return n + chunks*pipeHeaderSize + pipeLongHeader + pipeLongTrailer
}

// sendWhole is one chunk, one atomic write.
func (w *pipeWriter) sendWhole(ctx context.Context, msg []byte, wait bool) error {
	h := pipeHeader{length: len(msg), flags: pipeFirst | pipeLast, writer: w.id}
	return w.chunk(ctx, h, msg, wait)
}

func (w *pipeWriter) chunk(ctx context.Context, h pipeHeader, data []byte, wait bool) error {
	h.put(w.scratch)
	w.room[0] = w.scratch[:pipeHeaderSize+copy(w.scratch[pipeHeaderSize:], data)]
	w.vec = w.room[:1]
	n, err := w.do(ctx, wait, w.rw)
	if err == nil && n != pipeHeaderSize+len(data) {
		// POSIX rules it out. Going on would deliver garbage.
		_ = w.close()
		return fmt.Errorf("write of %d bytes wrote %d: not atomic", pipeHeaderSize+len(data), n)
	}
	return err
}

// sendPieces is for several writers: each piece is atomic, the receiver joins them.
func (w *pipeWriter) sendPieces(ctx context.Context, msg []byte, wait bool) error {
	h := pipeHeader{flags: pipeFirst, writer: w.id}
	for rest := msg; ; h.flags = 0 {
		h.length = min(len(rest), pipeChunkData)
		if h.length == len(rest) {
			h.flags = pipeLast
		}
		if err := w.chunk(ctx, h, rest[:h.length], wait); err != nil {
			if h.flags&pipeFirst == 0 {
				w.owed.tail = w.abort[:]
			}
			return err
		}
		if rest = rest[h.length:]; len(rest) == 0 {
			return nil
		}
	}
}

// sendLong is for a sole writer: one writev, or as many as it takes.
func (w *pipeWriter) sendLong(ctx context.Context, msg []byte, wait bool) error {
	h := pipeHeader{length: len(msg), flags: pipeLong, writer: w.id}
	h.put(w.head[:])
	tail := w.tail[:h.trailerSize()]
	clear(tail) // the last one stood elsewhere
	h.putTrailer(tail[len(tail)-pipeTrailerSize:])
	w.room = [3][]byte{w.head[:], msg, tail}
	for written, size := 0, len(w.head)+len(msg)+len(tail); written < size; {
		w.vec = trimVec(w.room[:])
		n, err := w.do(ctx, wait, w.rw)
		if err != nil {
			if written > 0 {
				tail[len(tail)-1] = pipeGivenUp
				w.owed.head, w.owed.fill, w.owed.tail = w.room[0], len(w.room[1]), w.room[2]
			}
			w.room, w.vec = [3][]byte{}, nil
			return err
		}
		written += n
		advanceVec(w.room[:], n)
	}
	w.room, w.vec = [3][]byte{}, nil
	return nil
}

// trimVec leaves out the slices at the front that are done.
func trimVec(vec [][]byte) [][]byte {
	for len(vec) > 1 && len(vec[0]) == 0 {
		vec = vec[1:]
	}
	return vec
}

// advanceVec takes n bytes off the front.
func advanceVec(vec [][]byte, n int) {
	for i := range vec {
		k := min(n, len(vec[i]))
		vec[i] = vec[i][k:]
		n -= k
	}
}

// pay completes the chunk of a message that was given up.
func (w *pipeWriter) pay(ctx context.Context, wait bool) error {
	o := &w.owed
	for len(o.head)+o.fill+len(o.tail) > 0 {
		w.room = [3][]byte{o.head, pipeZeros[:min(o.fill, len(pipeZeros))], nil}
		if o.fill <= len(pipeZeros) {
			w.room[2] = o.tail
		}
		w.vec = trimVec(w.room[:])
		n, err := w.do(ctx, wait, w.rw)
		w.room, w.vec = [3][]byte{}, nil
		if err != nil {
			return err
		}
		k := min(n, len(o.head))
		o.head, n = o.head[k:], n-k
		k = min(n, o.fill)
		o.fill, n = o.fill-k, n-k
		o.tail = o.tail[n:]
	}
	return nil
}

// shut closes the descriptor. On a FIFO somebody else may write after us, so what is owed
// is paid if that can be done at once.
func (w *pipeWriter) shut() error {
	if w.turn.CompareAndSwap(0, 1) {
		if !w.closed.Load() {
			_ = w.pay(forever, false)
		}
		w.give()
	}
	return w.close()
}

// markPipeWriter holds an open-file-description lock on the byte that a writer's number
// names, until the description is closed: the proof that the writer is alive
// (fcntl_locking(2), F_OFD_SETLK, Linux 3.15).
func markPipeWriter(fd int, id uint64) error {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Start: int64(id), Len: 1}
	return os.NewSyscallError("fcntl F_OFD_SETLK", unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &lock))
}

// pipeWriterGone says whether the writer of that number is proven to be gone.
func pipeWriterGone(fd int, id uint64) bool {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Start: int64(id), Len: 1}
	err := unix.FcntlFlock(uintptr(fd), unix.F_OFD_GETLK, &lock)
	return err == nil && lock.Type == unix.F_UNLCK
}
