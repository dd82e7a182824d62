package shm

import (
	"fmt"
	"math"
	"os"
	"sync"

	"github.com/edsrzf/mmap-go"
	"golang.org/x/sys/unix"
)

// Object is a piece of shared memory, mapped into this process for reading and
// writing. [Create], [Open], [Memfd] and [FromFile] make one. Each Object has a
// mapping and a lock description of its own, also where two in one process stand
// for the same memory.
//
// All methods may be called by several goroutines at once. The memory itself is
// the caller's to guard.
type Object struct {
	name  string // "" for an anonymous one
	title string // how it is called in errors
	size  int64
	dev   uint64
	ino   uint64
	disk  bool // on a file system whose contents outlive the power

	// mu is held for reading by every call that uses a descriptor and for
	// writing by Close, so that no call can meet a number that was closed and
	// given out again.
	mu   sync.RWMutex
	mem  mmap.MMap // nil once closed
	file *os.File  // the description that the mapping keeps alive; never locked
	lock lockFile  // a description of its own; never mapped, never handed on
}

// Bytes returns the memory: a mapping that starts on a page boundary, Size()
// bytes long, the same slice at each call. What other processes write into it
// shows at once, in no order but what atomic operations give. It is valid until
// Close: an access afterwards is a fault that ends the process. Bytes returns nil
// after Close.
//
// A named object can be truncated by anyone who may write to its file, and an
// access past its new end is SIGBUS. An anonymous one is sealed against that.
func (o *Object) Bytes() []byte {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.mem
}

// Size returns the number of bytes mapped, which never changes. A file that grew
// after it was opened is not followed.
func (o *Object) Size() int64 { return o.size }

// Name returns the object's name without a leading slash, as it was when the
// object was created or opened. It is "" for an anonymous object and for one that
// came through [FromFile], whose name, if it has one still, is not known.
func (o *Object) Name() string { return o.name }

// ID returns the numbers that tell this object from every other one on this
// machine while anybody has it open: st_dev and st_ino of stat(2).
func (o *Object) ID() (dev, ino uint64) { return o.dev, o.ino }

// File returns a new descriptor of the object, to be passed on to another
// process, which makes an Object of it with [FromFile]. It is close-on-exec here,
// open for reading and writing, and the caller's to close. It carries none of the
// locks. It is an open file description of its own where /proc allows that, else
// a duplicate of the one that is mapped.
//
// After Close the error [errors.Is] [os.ErrClosed].
func (o *Object) File() (_ *os.File, err error) {
	defer annotate(&err, "file", o.title)
	o.mu.RLock()
	defer o.mu.RUnlock()
	if o.mem == nil {
		return nil, os.ErrClosed
	}
	fd := int(o.file.Fd())
	own, err := reopen(fd)
	if err != nil {
		own, err = dup(fd)
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(own), o.file.Name()), nil
}

// Sync blocks until what the memory held at the call is in the file: on a disk
// file system until it is on the disk, where it survives the loss of power. For
// objects that live in memory there is nothing to wait for.
//
// After Close the error [errors.Is] [os.ErrClosed].
func (o *Object) Sync() (err error) {
	defer annotate(&err, "sync", o.title)
	o.mu.RLock()
	defer o.mu.RUnlock()
	if o.mem == nil {
		return os.ErrClosed
	}
	if err := retry("msync", o.mem.Flush); err != nil {
		return err
	}
	if !o.disk {
		return nil
	}
	fd := int(o.file.Fd())
	return retry("fsync", func() error { return unix.Fsync(fd) })
}

// Close gives up this process's locks on the object, unmaps the memory and closes
// the descriptors. The object lives on under its name, and in whoever else has
// it. A second Close is an error that [errors.Is] [os.ErrClosed].
//
// The caller sees to it that nothing reads or writes Bytes any more.
func (o *Object) Close() (err error) {
	defer annotate(&err, "close", o.title)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.mem == nil {
		return os.ErrClosed
	}
	// The locks go first and by hand: a child of this process that stands
	// between fork and exec has a copy of the descriptor, and would keep them.
	err = o.lock.close()
	if e := o.mem.Unmap(); e != nil && err == nil {
		err = os.NewSyscallError("munmap", e)
	}
	if e := o.file.Close(); e != nil && err == nil {
		err = e
	}
	o.mem = nil
	return err
}

// mapObject maps size bytes of file from its start. Both descriptors become the
// Object's when it succeeds, and stay the caller's when it fails.
func mapObject(file *os.File, lock lockFile, name, title string, size int64) (*Object, error) {
	if size > math.MaxInt {
		return nil, fmt.Errorf("%d bytes are more than this platform can map: %w", size, unix.EFBIG)
	}
	fd := int(file.Fd())
	st, err := fstat(fd)
	if err != nil {
		return nil, err
	}
	memory, err := inMemory(fd)
	if err != nil {
		return nil, err
	}
	mem, err := mmap.MapRegion(file, int(size), mmap.RDWR, 0, 0)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	return &Object{
		name:  name,
		title: title,
		size:  size,
		dev:   uint64(st.Dev),
		ino:   uint64(st.Ino),
		disk:  !memory,
		mem:   mem,
		file:  file,
		lock:  lock,
	}, nil
}
