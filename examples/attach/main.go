// Attach reads a buffer of its child's memory, and writes into it, while the child does
// nothing about it: process_vm_readv(2) and process_vm_writev(2).
//
//	go run ./examples/attach
//
// A parent may do this to its child if both run as the same user and Yama's ptrace_scope
// is at most 1. Exit status: 0; 1 with the reason; 2 for wrong usage.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"reflect"

	"github.com/shmchan/shmchan/fallback"
)

// buffer is what the child shows. A global does not move; nor does anything on Go's heap.
var buffer = []byte("written by the child")

func main() {
	run := parent
	switch {
	case len(os.Args) == 2 && os.Args[1] == "-child":
		run = child
	case len(os.Args) > 1:
		fmt.Fprintln(os.Stderr, "usage: attach")
		os.Exit(2)
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "attach:", err)
		os.Exit(1)
	}
}

// child says where its buffer is, and, once its input ends, what has become of it.
func child() error {
	fmt.Println(reflect.ValueOf(buffer).Pointer(), len(buffer))
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	fmt.Printf("%s\n", buffer)
	return nil
}

func parent() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, "-child")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewReader(out)
	err = exchange(cmd.Process.Pid, lines)
	in.Close() // the child goes on
	if err == nil {
		var line string
		line, err = lines.ReadString('\n')
		fmt.Printf("the child has now: %s", line)
	}
	if e := cmd.Wait(); err == nil {
		err = e
	}
	return err
}

func exchange(pid int, lines io.Reader) error {
	var addr uintptr
	var size int
	if _, err := fmt.Fscanln(lines, &addr, &size); err != nil {
		return err
	}
	p, err := fallback.OpenProcess(pid)
	if err != nil {
		return err
	}
	defer p.Close() //nolint:errcheck // it is only let go
	b := make([]byte, size)
	if _, err := p.Read(b, addr); err != nil {
		return err
	}
	fmt.Printf("read from the child: %s\n", b)
	_, err = p.Write(addr, []byte("changed"))
	return err
}
