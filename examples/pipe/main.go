// Pipe: a parent sends its child a text through a pipe.
//
//	go run ./examples/pipe
//
// The parent makes a pipe, starts itself once more as the child with the reading end as
// descriptor 3, and sends three messages. The child prints each one until the parent
// closes the pipe: the end of file.
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

const (
	childArg = "child"
	childFD  = 3 // the first of ExtraFiles
)

func main() {
	run := parent
	if len(os.Args) == 2 && os.Args[1] == childArg {
		run = child
	}
	if err := run(context.Background()); err != nil {
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
	for _, text := range []string{"hello, child", "a message is what is sent at once,\nwhatever is in it", "bye"} {
		if err := conn.Send(ctx, []byte(text)); err != nil {
			return err
		}
	}
	// Closing is the child's end of file.
	return errors.Join(conn.Close(), cmd.Wait())
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
