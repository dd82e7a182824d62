// Command fdpass hands an open file to another process through a UNIX socket
// (SCM_RIGHTS, unix(7)): the receiver needs no right to open the file itself, and
// need not see its name.
//
//	fdpass receive PATH         waits at PATH for a file, and prints what is in it
//	fdpass send    PATH FILE    opens FILE and hands it over
//
// An interrupt (SIGINT, SIGTERM) ends the receiver, and the socket's name with it. Exit
// status: 0; 1 with the reason; 2 for wrong usage.
//
// With the descriptor goes one byte, since a message needs one. A C program may stand at
// either end.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/shmchan/shmchan/fallback"
)

func main() {
	var err error
	switch args := os.Args[1:]; {
	case len(args) == 2 && args[0] == "receive":
		err = receive(args[1])
	case len(args) == 3 && args[0] == "send":
		err = send(args[1], args[2])
	default:
		fmt.Fprintln(os.Stderr, "usage: fdpass receive PATH | fdpass send PATH FILE")
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "fdpass:", err)
		os.Exit(1)
	}
}

func send(path, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	return fallback.SendRights(c, []byte{0}, f)
}

func receive(path string) error {
	f, err := file(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(os.Stdout, f) // may take as long as it likes: signals end the process again
	return err
}

// file waits for the first client and what it sends. The socket's name is gone when
// it returns.
func file(path string) (*os.File, error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	defer func() { _ = l.Close() }()
	context.AfterFunc(ctx, func() { _ = l.Close() })
	c, err := l.AcceptUnix()
	if ctx.Err() != nil {
		return nil, errors.New("interrupted before a client came")
	}
	if err != nil {
		return nil, err
	}
	_ = l.Close()
	defer func() { _ = c.Close() }()
	context.AfterFunc(ctx, func() { _ = c.Close() })
	who, err := fallback.PeerCredentials(c)
	if err != nil {
		return nil, err
	}
	_, files, err := fallback.ReceiveRights(c, make([]byte, 1), 1)
	switch {
	case ctx.Err() != nil:
		return nil, errors.New("interrupted before the client sent a file")
	case err != nil:
		return nil, err
	case len(files) == 0:
		return nil, errors.New("the other side sent no file")
	}
	fmt.Fprintf(os.Stderr, "a file from process %d of user %d\n", who.PID, who.UID)
	return files[0], nil
}
