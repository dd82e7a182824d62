// Anonmap shares memory that has no name with a child: what C programs do with
// MAP_SHARED|MAP_ANONYMOUS and fork(2), by a memfd that the child inherits, since exec
// drops mappings.
//
//	go run ./examples/anonmap [TEXT]
//
// The child writes TEXT backwards into the memory; the parent prints it when the
// child has ended. Exit status: 0; 1 with the reason; 2 for wrong usage.
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"

	"github.com/shmchan/shmchan/shm"
)

// The memory: the text's length in bytes, then the text.
const (
	size   = 4096
	atText = 8
)

func main() {
	run := parent
	switch {
	case len(os.Args) == 2 && os.Args[1] == "-child":
		run = child
	case len(os.Args) > 2:
		fmt.Fprintln(os.Stderr, "usage: anonmap [TEXT]")
		os.Exit(2)
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "anonmap:", err)
		os.Exit(1)
	}
}

func parent() error {
	text := "shared memory"
	if len(os.Args) > 1 {
		text = os.Args[1]
	}
	if len(text) > size-atText {
		return errors.New("the text is too long")
	}
	o, err := shm.Memfd("anonmap", size, func(mem []byte) error {
		binary.NativeEndian.PutUint64(mem, uint64(len(text)))
		copy(mem[atText:], text)
		return nil
	})
	if err != nil {
		return err
	}
	defer o.Close() //nolint:errcheck // the program ends
	f, err := o.File()
	if err != nil {
		return err
	}
	defer f.Close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, "-child")
	cmd.ExtraFiles = []*os.File{f} // descriptor 3 there
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil { // its end is what orders its writes before our reads
		return err
	}
	fmt.Printf("%s\n", o.Bytes()[atText:atText+len(text)])
	return nil
}

func child() error {
	o, err := shm.FromFile(os.NewFile(3, "memory"), size)
	if err != nil {
		return err
	}
	defer o.Close() //nolint:errcheck // the program ends
	mem := o.Bytes()
	n := binary.NativeEndian.Uint64(mem)
	if n > size-atText {
		return errors.New("the length in the memory is wrong")
	}
	text := []rune(string(mem[atText : atText+n]))
	slices.Reverse(text)
	copy(mem[atText:atText+n], string(text))
	return nil
}
