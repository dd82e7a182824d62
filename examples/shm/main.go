// Shm puts a text into a POSIX shared memory object, and takes it out again.
//
//	go run ./examples/shm write NAME TEXT
//	go run ./examples/shm read NAME
//
// NAME is as POSIX writes it, with a leading slash: /greeting. The object is what C's
// shm_open(3) opens by the same name; it stays until shm_unlink(3), rm
// /dev/shm/NAME, or a reboot. It is as long as the text, so that a C program may go by
// the size (fstat(2)) or by the NUL behind the text: the rest of the last page is zeros,
// and a text that fills its pages gets one byte more.
//
// Nothing here keeps a reader from seeing half of what a writer is writing: that takes
// a semaphore, as in examples/semxfer.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/shmchan/shmchan/shm"
)

func main() {
	var err error
	switch args := os.Args[1:]; {
	case len(args) == 3 && args[0] == "write":
		err = write(args[1], args[2])
	case len(args) == 2 && args[0] == "read":
		err = read(os.Stdout, args[1])
	default:
		fmt.Fprintln(os.Stderr, "usage: shm write NAME TEXT | shm read NAME")
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "shm:", err)
		os.Exit(1)
	}
}

// write makes the object, or gives the one that is there another text.
func write(name, text string) error {
	size := int64(len(text))
	if size%int64(os.Getpagesize()) == 0 {
		size++ // for the NUL
	}
	put := func(mem []byte) error {
		clear(mem[copy(mem, text):])
		return nil
	}
	for {
		obj, err := shm.Create("", name, size, 0o600, put)
		if err == nil {
			return obj.Close()
		}
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		if obj, err = resize(name, size); err == nil {
			return errors.Join(put(obj.Bytes()), obj.Close())
		}
		if !errors.Is(err, fs.ErrNotExist) { // removed in between: once more
			return err
		}
	}
}

// resize opens the object that is there and gives it that size. Whoever has more of it
// mapped must not touch what is cut off: that is SIGBUS, in C as in Go.
func resize(name string, size int64) (*shm.Object, error) {
	obj, err := shm.Open("", name, 0)
	if errors.Is(err, shm.ErrNotObject) {
		// Empty, as shm_open leaves it before ftruncate; or no object at all.
		return nil, fmt.Errorf("%w (shm_unlink it first)", err)
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = obj.Close() }()
	f, err := obj.File()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		return nil, err
	}
	return shm.FromFile(f, size)
}

// read prints the object's bytes up to the first NUL, or its end.
func read(w io.Writer, name string) error {
	obj, err := shm.Open("", name, 1)
	if err != nil {
		return err
	}
	defer func() { _ = obj.Close() }()
	text, _, _ := bytes.Cut(obj.Bytes(), []byte{0})
	_, err = fmt.Fprintf(w, "%s\n", text)
	return err
}
