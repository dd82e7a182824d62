package fallback_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/shmchan/shmchan/fallback"
)

// must and must2 end the example that has an error, which a test then reports.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func must2[T, U any](v T, u U, err error) (T, U) { return must(v, err), u }

func ExamplePipe() {
	r, w := must2(fallback.Pipe())
	defer r.Close()
	ctx := context.Background()
	for _, msg := range []string{"one", "", "three"} {
		if err := w.Send(ctx, []byte(msg)); err != nil {
			fmt.Println(err)
			return
		}
	}
	w.Close()
	for {
		msg, err := r.Receive(ctx, nil)
		if errors.Is(err, io.EOF) {
			break
		}
		fmt.Printf("%q\n", msg)
	}
	// Output:
	// "one"
	// ""
	// "three"
}

// Two pipes, one for each direction. A child would be given theirs in exec.Cmd's
// ExtraFiles, and make its own end with PipeConn(os.NewFile(3, ""), os.NewFile(4, "")).
func ExamplePipeConn() {
	r1, w1 := must2(os.Pipe())
	r2, w2 := must2(os.Pipe())
	ours := must(fallback.PipeConn(r1, w2))
	defer ours.Close()
	theirs := must(fallback.PipeConn(r2, w1))
	defer theirs.Close()
	ctx := context.Background()
	ours.Send(ctx, []byte("question"))
	msg, _ := theirs.Receive(ctx, nil)
	theirs.Send(ctx, append(msg, "? answer"...))
	msg, _ = ours.Receive(ctx, nil)
	fmt.Printf("%s\n", msg)
	// Output: question? answer
}

func ExamplePacketPipe() {
	r, w := must2(fallback.PacketPipe())
	defer r.Close()
	defer w.Close()
	fmt.Println(w.MaxMessage(), r.Capabilities().ManyReceivers)
	err := w.TrySend(make([]byte, 5000))
	fmt.Println(errors.Is(err, fallback.ErrTooLarge))
	// Output:
	// 4095 true
	// true
}

func ExampleFIFO() {
	dir := must(os.MkdirTemp("", "fifo"))
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "orders")
	ctx := context.Background()

	// Without a receiver one cannot send.
	_, err := fallback.FIFO(ctx, path, os.O_WRONLY|os.O_CREATE|syscall.O_NONBLOCK)
	fmt.Println("no receiver:", errors.Is(err, syscall.ENXIO))

	r := must(fallback.FIFO(ctx, path, os.O_RDONLY))
	defer r.Close()
	w := must(fallback.FIFO(ctx, path, os.O_WRONLY))
	w.Send(ctx, []byte("buy 100"))
	w.Close()
	msg, _ := r.Receive(ctx, nil)
	fmt.Printf("%s\n", msg)
	_, err = r.Receive(ctx, nil)
	fmt.Println(err)
	// Output:
	// no receiver: true
	// buy 100
	// EOF
}

func ExampleSetPipeCapacity() {
	r, w := must2(os.Pipe())
	defer r.Close()
	defer w.Close()
	got, err := fallback.SetPipeCapacity(w, 100_000)
	fmt.Println(got, err)
	w.WriteString("hello")
	queued, _ := fallback.PipeQueued(r)
	fmt.Println(queued)
	// Output:
	// 131072 <nil>
	// 5
}

func ExampleSplice() {
	r, w := must2(os.Pipe())
	defer r.Close()
	defer w.Close()
	f := must(os.CreateTemp("", "splice"))
	defer os.Remove(f.Name())
	defer f.Close()
	w.WriteString("never seen by this process")
	n, err := fallback.Splice(f, r, 10)
	fmt.Println(n, err)
	text, _ := os.ReadFile(f.Name())
	fmt.Println(string(bytes.TrimSpace(text)))
	// Output:
	// 10 <nil>
	// never seen
}
