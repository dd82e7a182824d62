// Fifo: lines from any number of clients, through a name in the file system.
//
//	go run ./examples/fifo server PATH
//	go run ./examples/fifo client PATH
//
// The server makes the FIFO if it is not there and prints each line that clients send,
// until the last client has gone; then it removes what it made. A client waits until a server
// has the FIFO open, and sends its standard input. What goes through the FIFO is plain
// text, so either can be any other program: cat PATH, or echo hello > PATH.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"syscall"

	"github.com/shmchan/shmchan/fallback"
)

func main() {
	if len(os.Args) != 3 || os.Args[1] != "server" && os.Args[1] != "client" {
		fmt.Fprintln(os.Stderr, "usage: fifo server|client PATH")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run := client
	if os.Args[1] == "server" {
		run = server
	}
	if err := run(ctx, os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "fifo:", err)
		os.Exit(1)
	}
}

func server(ctx context.Context, path string) error {
	switch err := fallback.MakeFIFO(path, 0o600); {
	case err == nil:
		defer os.Remove(path)
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	// Returns when the first client is there, so that the end of file below is the last one's.
	f, err := fallback.OpenFIFO(ctx, path, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	defer context.AfterFunc(ctx, func() { f.Close() })()
	lines := bufio.NewReader(f)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			fmt.Print(line)
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

func client(ctx context.Context, path string) error {
	f, err := fallback.OpenFIFO(ctx, path, os.O_WRONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	signal.Reset(os.Interrupt, syscall.SIGTERM) // nothing to tidy up: let them end this process
	lines := bufio.NewReader(os.Stdin)
	for {
		line, err := lines.ReadString('\n')
		// A write of up to fallback.PipeBuf bytes is atomic: clients do not get into each other's lines.
		if _, err := f.WriteString(line); err != nil {
			return err
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
