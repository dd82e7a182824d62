// Filter: two processes and a pipe, as the shell's ls | wc -l.
//
//	go run ./examples/filter [FOLDER]
//
// The kernel connects the two programs; no byte passes through this one.
package main

import (
	"fmt"
	"os"
	"os/exec"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "filter:", err)
		os.Exit(1)
	}
}

func run(folders []string) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	defer w.Close()
	ls := exec.Command("ls", folders...)
	ls.Stdout, ls.Stderr = w, os.Stderr
	wc := exec.Command("wc", "-l")
	wc.Stdin, wc.Stdout, wc.Stderr = r, os.Stdout, os.Stderr
	if err := ls.Start(); err != nil {
		return err
	}
	if err := wc.Start(); err != nil {
		r.Close() // so that ls gets SIGPIPE
		_ = ls.Wait()
		return err
	}
	// wc sees the end only when every writing end is closed, ours too; and ls sees that nobody
	// reads only when ours is closed.
	w.Close()
	r.Close()
	lsErr, wcErr := ls.Wait(), wc.Wait()
	if lsErr != nil {
		return fmt.Errorf("ls: %w", lsErr)
	}
	if wcErr != nil {
		return fmt.Errorf("wc: %w", wcErr)
	}
	return nil
}
