package fallback_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	"github.com/shmchan/shmchan/fallback"
)

// Two ends that are connected to each other; one of them would go to a child process, by
// StreamFile and exec.Cmd.ExtraFiles.
func ExampleUnixStreamPair() {
	ctx := context.Background()
	a, b, err := fallback.UnixStreamPair()
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	for _, word := range []string{"messages", "", "not bytes"} {
		if err := a.Send(ctx, []byte(word)); err != nil {
			log.Fatal(err)
		}
	}
	if err := a.Close(); err != nil {
		log.Fatal(err)
	}
	var buf []byte
	for {
		buf, err = b.Receive(ctx, buf[:0])
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%q\n", buf)
	}
	// Output:
	// "messages"
	// ""
	// "not bytes"
}

// An open file goes through a socket with a name; the receiver looks who sent it.
func ExampleListenUnixStream() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "socket")
	l, err := fallback.ListenUnixStream(path)
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()

	go func() { // another process, as a rule
		c, err := fallback.DialUnixStream(ctx, path)
		if err != nil {
			log.Fatal(err)
		}
		defer c.Close()
		r, w, err := os.Pipe()
		if err != nil {
			log.Fatal(err)
		}
		if err := fallback.SendFiles(ctx, c, []byte("read this"), r); err != nil {
			log.Fatal(err)
		}
		r.Close()
		fmt.Fprint(w, "it came through a pipe that came through a socket")
		w.Close()
	}()

	c, err := l.Accept(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if who, err := c.Peer(); err != nil || who.UID != os.Getuid() {
		log.Fatal("a stranger: ", who, err)
	}
	msg, files, err := fallback.ReceiveFiles(ctx, c, nil)
	if err != nil {
		log.Fatal(err)
	}
	text, err := io.ReadAll(files[0])
	files[0].Close()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s: %s\n", msg, text)
	// Output: read this: it came through a pipe that came through a socket
}

// A question and its answer over the network; the half-close says that no more questions come.
func ExampleDialTCP() {
	ctx := context.Background()
	l, err := fallback.ListenTCP("127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept(ctx)
		if err != nil {
			log.Fatal(err)
		}
		defer c.Close()
		n := 0
		for {
			if _, err := c.Receive(ctx, nil); err != nil {
				break
			}
			n++
		}
		if err := c.Send(ctx, fmt.Appendf(nil, "%d questions", n)); err != nil {
			log.Fatal(err)
		}
	}()
	c, err := fallback.DialTCP(ctx, l.Addr())
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for range 3 {
		if err := c.Send(ctx, []byte("?")); err != nil {
			log.Fatal(err)
		}
	}
	if err := c.CloseSend(); err != nil {
		log.Fatal(err)
	}
	answer, err := c.Receive(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", answer)
	// Output: 3 questions
}
