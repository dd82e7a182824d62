package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/shmchan/shmchan/fallback"
	"github.com/shmchan/shmchan/futexsem"
	"github.com/shmchan/shmchan/shm"
)

// The memory, as the C compiler lays out
//
//	struct { sem_t wsem, rsem; int cnt; char buf[1024]; }
//
// with glibc's sem_t: 32 bytes on 64-bit systems, 16 on 32-bit ones. The semaphores are the
// turns: wsem's for the writer, which starts with it, rsem's for the reader. Whoever has
// the turn has cnt and buf to itself, and gives the turn to the other one afterwards.
//
//	writer   wait wsem; cnt = read(buf); post rsem; until cnt is 0
//	reader   wait rsem; write(buf, cnt); post wsem; until cnt is 0
//
// The reader gives the turn back after a cnt of 0, too: then the writer knows that
// all is taken. An end that waits looks now and then whether the other one still is there.
const (
	wsemAt  = 0
	rsemAt  = futexsem.SizeofSem
	cntAt   = 2 * futexsem.SizeofSem
	bufAt   = cntAt + 4
	bufSize = 1024
	size    = (bufAt + bufSize + alignment - 1) / alignment * alignment

	// alignment is sem_t's, which holds a long, and so the struct's.
	alignment = futexsem.SizeofSem / 4
)

// look is how often an end that waits looks after the other one.
const look = 100 * time.Millisecond

var (
	errGone  = errors.New("the other end has gone before the end")
	errTaken = errors.New("the end is taken")
)

// segment is one end's view of it.
type segment struct {
	file       *os.File // the one description by which this process has it, see alone
	mem        *fallback.Mapping
	wsem, rsem *futexsem.Sem
	cnt, buf   []byte
}

// segmentOf takes obj over.
func segmentOf(obj *shm.Object) (_ *segment, err error) {
	defer obj.Close() //nolint:errcheck // the segment has a description and a mapping of its own
	s := &segment{}
	if s.file, err = obj.File(); err != nil {
		return nil, err
	}
	if s.mem, err = fallback.MapFile(s.file, size, true); err != nil {
		s.file.Close()
		return nil, err
	}
	mem := s.mem.Bytes()
	s.cnt, s.buf = mem[cntAt:bufAt], mem[bufAt:bufAt+bufSize]
	if s.wsem, err = futexsem.At(mem[wsemAt:rsemAt]); err == nil {
		s.rsem, err = futexsem.At(mem[rsemAt:cntAt])
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *segment) close() {
	_ = s.mem.Close()
	s.file.Close()
}

// wait waits for a turn. Every now and then it asks whether that is in vain.
func (s *segment) wait(ctx context.Context, turn *futexsem.Sem, vain func() error) error {
	for {
		if turn.TryWait() == nil {
			return nil
		}
		soon, cancel := context.WithTimeout(ctx, look)
		err := turn.WaitContext(soon)
		cancel()
		if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		// In this order: the last thing it did may have been to give the turn.
		if err := vain(); err != nil && turn.TryWait() != nil {
			return err
		}
	}
}

// gone is errGone when no other end is there.
func (s *segment) gone() error {
	if alone(s.file) {
		return errGone
	}
	return nil
}

// create makes the object. It appears under its name with both semaphores in it, so a
// reader cannot come too early. What stood there before is forgotten, with whoever has it.
func create(name string) (*segment, error) {
	format := func(mem []byte) error {
		_, errW := futexsem.Init(mem[wsemAt:rsemAt], 1)
		_, errR := futexsem.Init(mem[rsemAt:cntAt], 0)
		return errors.Join(errW, errR)
	}
	for {
		obj, err := shm.Create("", name, size, 0o600, format)
		if err == nil {
			return segmentOf(obj)
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		if err := shm.Unlink("", name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
}

// writer is the sending end. It ends when the reader has taken all of in.
func writer(ctx context.Context, name string, in io.Reader) (err error) {
	s, err := create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, shm.Unlink("", name)) }()
	failed := make(chan error, 1)
	go func() { failed <- s.send(ctx, in) }()
	select {
	case err = <-failed:
	case <-ctx.Done(): // while in may still be waited for
		err = ctx.Err()
	}
	return err
}

func (s *segment) send(ctx context.Context, in io.Reader) error {
	// A reader is known of when it has taken a turn; before that one may be yet to come.
	given := 0
	vain := func() error {
		if given > 1 || given == 1 && s.rsem.Value() == 0 {
			return s.gone()
		}
		return nil
	}
	for ; ; given++ {
		if err := s.wait(ctx, s.wsem, vain); err != nil {
			return err
		}
		n, err := in.Read(s.buf)
		if n == 0 && err == nil {
			n, err = io.ReadAtLeast(in, s.buf, 1)
		}
		if n == 0 && err != io.EOF {
			// The reader shall not wait for more; what it has is not all, and that is said here.
			return errors.Join(err, s.end(ctx, given > 0))
		}
		if n == 0 {
			return s.end(ctx, given > 0)
		}
		s.setCount(n)
		if err := s.rsem.Post(); err != nil {
			return err
		}
	}
}

// end says that there is no more, and waits until that is taken. A reader that ends without
// giving the turn back has taken it all the same. met: there was a reader.
func (s *segment) end(ctx context.Context, met bool) error {
	s.setCount(0)
	if err := s.rsem.Post(); err != nil {
		return err
	}
	err := s.wait(ctx, s.wsem, func() error {
		switch {
		case s.rsem.Value() == 0:
			return errTaken
		case met:
			return s.gone()
		}
		return nil
	})
	if errors.Is(err, errTaken) {
		return nil
	}
	return err
}

func (s *segment) setCount(n int) { binary.NativeEndian.PutUint32(s.cnt, uint32(n)) }

// count is cnt, which another process has written.
func (s *segment) count() (int, error) {
	n := int32(binary.NativeEndian.Uint32(s.cnt))
	if n < 0 || n > bufSize {
		return 0, fmt.Errorf("the writer says that %d bytes are in a buffer of %d", n, bufSize)
	}
	return int(n), nil
}

// attach waits until the object is there and whole: C's shm_open makes it empty,
// ftruncate makes it long, and sem_init, one after the other, make it one of ours. One
// whose writer is gone, with nothing in it to take, is not what is waited for.
func attach(ctx context.Context, name string, wait time.Duration) (*segment, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		obj, err := shm.Open("", name, size)
		if err == nil {
			var s *segment
			s, err = segmentOf(obj)
			if err == nil && (!alone(s.file) || s.rsem.Value() > 0) {
				return s, nil
			}
			if err == nil {
				err = fmt.Errorf("a writer that has gone left it: %w", fs.ErrNotExist)
				s.close()
			}
		}
		soon := errors.Is(err, fs.ErrNotExist) || errors.Is(err, shm.ErrNotObject) || errors.Is(err, fs.ErrInvalid) ||
			errors.Is(err, syscall.EAGAIN) // its end looked in that moment whether it is alone
		if _, bad := shm.CleanName(name); bad != nil || !soon {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("no writer's object came in %v: %w", wait, err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// reader is the receiving end.
func reader(ctx context.Context, name string, out io.Writer, wait time.Duration) error {
	s, err := attach(ctx, name, wait)
	if err != nil {
		return err
	}
	defer s.close()
	for {
		if err := s.wait(ctx, s.rsem, s.gone); err != nil {
			return err
		}
		n, err := s.count()
		if err == nil && n > 0 {
			_, err = out.Write(s.buf[:n])
		}
		if err != nil {
			return err // the writer sees that this process has gone
		}
		if err := s.wsem.Post(); err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
	}
}
