package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

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
// all is taken.
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

// segment is one end's view of it.
type segment struct {
	obj        *shm.Object
	wsem, rsem *futexsem.Sem
	cnt, buf   []byte
}

func segmentOf(obj *shm.Object) (*segment, error) {
	mem := obj.Bytes()
	s := &segment{obj: obj, cnt: mem[cntAt:bufAt], buf: mem[bufAt : bufAt+bufSize]}
	var err error
	if s.wsem, err = futexsem.At(mem[wsemAt:rsemAt]); err != nil {
		return nil, err
	}
	s.rsem, err = futexsem.At(mem[rsemAt:cntAt])
	return s, err
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
	for {
		if err := s.wsem.WaitContext(ctx); err != nil {
			return err
		}
		n, err := in.Read(s.buf)
		if n == 0 && err == nil {
			n, err = io.ReadAtLeast(in, s.buf, 1)
		}
		if n == 0 && err != io.EOF {
			// The reader shall not wait for more; what it has is not all, and that is said here.
			return errors.Join(err, s.end(ctx))
		}
		if n == 0 {
			return s.end(ctx)
		}
		s.setCount(n)
		if err := s.rsem.Post(); err != nil {
			return err
		}
	}
}

// end says that there is no more, and waits until that is taken. A reader that ends without
// giving the turn back has taken it all the same.
func (s *segment) end(ctx context.Context) error {
	s.setCount(0)
	if err := s.rsem.Post(); err != nil {
		return err
	}
	for {
		turn, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		err := s.wsem.WaitContext(turn)
		cancel()
		if err == nil || s.rsem.Value() == 0 {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
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
// ftruncate makes it long, and sem_init, one after the other, make it one of ours.
func attach(ctx context.Context, name string, wait time.Duration) (*segment, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		obj, err := shm.Open("", name, size)
		if err == nil {
			var s *segment
			if s, err = segmentOf(obj); err == nil {
				return s, nil
			}
			_ = obj.Close()
		}
		soon := errors.Is(err, fs.ErrNotExist) || errors.Is(err, shm.ErrNotObject) || errors.Is(err, fs.ErrInvalid)
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
	defer func() { _ = s.obj.Close() }()
	for {
		if err := s.rsem.WaitContext(ctx); err != nil {
			return err
		}
		n, err := s.count()
		if err == nil && n > 0 {
			_, err = out.Write(s.buf[:n])
		}
		if err != nil {
			return err // the writer waits on, as for a reader in C
		}
		if err := s.wsem.Post(); err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
	}
}
