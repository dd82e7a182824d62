// Filemap writes through a shared mapping of a file, or prints what is there.
//
//	filemap FILE TEXT    maps the first 4096 bytes of FILE, made if need be, and writes
//	                     TEXT and a NUL; msync(2) puts it on the disk
//	filemap FILE         maps FILE and prints what is there up to the first NUL
//
// Exit status: 0; 1 with the reason; 2 for wrong usage.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/shmchan/shmchan/fallback"
)

const size = 4096

func main() {
	flag.Usage = func() { fmt.Fprintln(os.Stderr, "usage: filemap FILE [TEXT]") }
	flag.Parse()
	var err error
	switch flag.NArg() {
	case 1:
		err = show(flag.Arg(0))
	case 2:
		err = write(flag.Arg(0), flag.Arg(1))
	default:
		flag.Usage()
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "filemap:", err)
		os.Exit(1)
	}
}

func write(file, text string) error {
	if len(text) >= size {
		return errors.New("the text is too long")
	}
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	m, err := fallback.MapFile(f, size, true)
	if err != nil {
		return err
	}
	defer m.Close() //nolint:errcheck // Sync has said how it went
	n := copy(m.Bytes(), text)
	m.Bytes()[n] = 0
	return m.Sync(0, n+1)
}

func show(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	m, err := fallback.MapFile(f, 0, false)
	if err != nil {
		return err
	}
	defer m.Close() //nolint:errcheck // nothing was written
	text, _, _ := bytes.Cut(m.Bytes(), []byte{0})
	fmt.Printf("%s\n", text)
	return nil
}
