// Pipe: a parent sends its child a text through a pipe.
//
//	go run ./examples/pipe [COMMAND [ARGUMENT…]]
//
// The parent makes a pipe, starts itself once more as the child with the reading end as
// descriptor 3, and sends three messages. The child prints each one until the parent
// closes the pipe: the end of file. A COMMAND, which may be a C program, is the child
// instead if there is one: it has the reading end as its standard input, and the texts come
// as they are, each with a newline, since a pipe itself keeps no messages apart.
//
// Exit status: 0, or 1 with the reason.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"github.com/shmchan/shmchan/fallback"
)

var texts = []string{"hello, child", "a message is what is sent at once,\nwhatever is in it", "bye"}

const (
	childArg = "-child"
	childFD  = 3 // the first of ExtraFiles
)

func main() {
	var err error
	switch args := os.Args[1:]; {
	case len(args) == 0:
		err = parent(context.Background())
	case len(args) == 1 && args[0] == childArg:
		err = child(context.Background())
	default:
		err = parentOf(exec.Command(args[0], args[1:]...))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "pipe:", err)
		os.Exit(1)
	}
}

func parent(ctx context.Context) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, childArg)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{r}
	if err := cmd.Start(); err != nil {
		return err
	}
	// Should the child die, no reading end must be left here, or Send would never see it.
	r.Close()
	conn, err := fallback.PipeConn(nil, w)
	if err != nil {
		return err
	}
	for _, text := range texts {
		if err := conn.Send(ctx, []byte(text)); err != nil {
			return err
		}
	}
	// Closing is the child's end of file.
	return errors.Join(conn.Close(), cmd.Wait())
}

// parentOf writes the texts into a child's standard input.
func parentOf(cmd *exec.Cmd) error {
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	w, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	for _, text := range texts {
		// A child that has ended, or closed its input, is EPIPE.
		if _, err = fmt.Fprintln(w, text); err != nil {
			break
		}
	}
	return errors.Join(err, w.Close(), cmd.Wait())
}

func child(ctx context.Context) error {
	conn, err := fallback.PipeEnd(childFD)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // the process ends
	var msg []byte
	for {
		msg, err = conn.Receive(ctx, msg[:0])
		if errors.Is(err, io.EOF) {
			fmt.Println("end of file")
			return nil
		}
		if err != nil {
			return err
		}
		fmt.Printf("received %q\n", msg)
	}
}
