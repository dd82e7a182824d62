//go:build !linux

package shm

import (
	"errors"
	"io/fs"
	"os"
)

// What this package does rests on Linux: O_TMPFILE, memfd and its seals,
// open-file-description locks, /proc/self/fd. Elsewhere every function fails with
// an error that errors.Is errors.ErrUnsupported, and there is no way to an Object.

// Object is a piece of shared memory. There are none on this system.
type Object struct{}

func unsupported(op, what string) (err error) {
	err = errors.ErrUnsupported
	annotate(&err, op, what)
	return err
}

// Create makes a named object. Not on this system.
func Create(dir, name string, size int64, perm fs.FileMode, init func(mem []byte) error) (*Object, error) {
	return nil, unsupported("create", display(dir, name))
}

// Open maps a named object. Not on this system.
func Open(dir, name string, minSize int64) (*Object, error) {
	return nil, unsupported("open", display(dir, name))
}

// Memfd makes an anonymous object. Not on this system.
func Memfd(label string, size int64, init func(mem []byte) error) (*Object, error) {
	return nil, unsupported("create", label)
}

// FromFile maps the object of a descriptor. Not on this system.
func FromFile(f *os.File, minSize int64) (*Object, error) {
	return nil, unsupported("from file", "")
}

// FromPair maps the object of a pair of descriptors. Not on this system.
func FromPair(mem, lock *os.File, minSize int64) (*Object, error) {
	return nil, unsupported("from pair", "")
}

// Unlink removes a name. Not on this system.
func Unlink(dir, name string) error { return unsupported("unlink", display(dir, name)) }

// Bytes returns the memory.
func (o *Object) Bytes() []byte { return nil }

// Size returns the number of bytes mapped.
func (o *Object) Size() int64 { return 0 }

// Name returns the object's name.
func (o *Object) Name() string { return "" }

// ID returns the numbers that tell this object from others.
func (o *Object) ID() (dev, ino uint64) { return 0, 0 }

// File returns a new descriptor of the object.
func (o *Object) File() (*os.File, error) { return nil, unsupported("file", "") }

// Pair returns descriptors for FromPair.
func (o *Object) Pair() (mem, lock *os.File, err error) { return nil, nil, unsupported("pair", "") }

// Sync puts the memory into the file.
func (o *Object) Sync() error { return unsupported("sync", "") }

// Close lets go of the object.
func (o *Object) Close() error { return unsupported("close", "") }

// TryLock takes a lock byte.
func (o *Object) TryLock(i int) (bool, error) { return false, unsupported("lock", "") }

// Unlock gives a lock byte back.
func (o *Object) Unlock(i int) error { return unsupported("unlock", "") }

// Held tells whether another Object holds a lock byte.
func (o *Object) Held(i int) (bool, error) { return false, unsupported("look at lock of", "") }
