//go:build linux

package channel_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/shmchan/shmchan/channel"
)

// Two programs that open the same name and agree on T share one channel. Here
// one program plays both.
func Example() {
	type Tick struct {
		Symbol [8]byte
		Price  float64
	}
	name := fmt.Sprintf("example-ticks-%d", os.Getpid())
	defer channel.Unlink(name)

	go func() { // in one process
		out, err := channel.Open[Tick](name, 4096)
		if err != nil {
			panic(err)
		}
		defer out.Detach()
		for i := range 3 {
			if err := out.Send(Tick{Symbol: [8]byte{'G', 'O'}, Price: float64(i) + 0.5}); err != nil {
				panic(err)
			}
		}
		out.Close() // no more, for anyone
	}()

	in, err := channel.Open[Tick](name, 4096) // in another
	if err != nil {
		panic(err)
	}
	defer in.Detach()
	for tick := range in.All() {
		fmt.Printf("%s %.1f\n", tick.Symbol[:2], tick.Price)
	}
	fmt.Println("the end:", in.Err())
	// Output:
	// GO 0.5
	// GO 1.5
	// GO 2.5
	// the end: <nil>
}

// Recv is v, ok := <-ch.
func ExampleChan_Recv() {
	ch, err := channel.New[string](2)
	if err != nil {
		panic(err)
	}
	defer ch.Detach()
	ch.Send("hello")
	ch.Close()

	v, ok := ch.Recv()
	fmt.Printf("%q %v\n", v, ok)
	v, ok = ch.Recv()
	fmt.Printf("%q %v\n", v, ok)
	// Output:
	// "hello" true
	// "" false
}

// What RecvFunc's function refuses is delivered again.
func ExampleChan_RecvFunc() {
	jobs, err := channel.New[[]byte](16)
	if err != nil {
		panic(err)
	}
	defer jobs.Detach()
	jobs.Send([]byte("resize image 7"))

	attempts := 0
	work := func(job *[]byte) error { // *job lies in shared memory, and is valid until work returns
		attempts++
		if attempts == 1 {
			return errors.New("disk full")
		}
		fmt.Printf("attempt %d: %s\n", attempts, *job)
		return nil
	}
	fmt.Println("error:", jobs.RecvFunc(work), "- still there:", jobs.Len())
	fmt.Println("error:", jobs.RecvFunc(work), "- still there:", jobs.Len())
	// Output:
	// error: disk full - still there: 1
	// attempt 2: resize image 7
	// error: <nil> - still there: 0
}

// A loan is a message written where it will be read.
func ExampleChan_Reserve() {
	type Frame struct {
		Number uint32
		Pixels [1 << 12]byte
	}
	frames, err := channel.New[Frame](4)
	if err != nil {
		panic(err)
	}
	defer frames.Detach()

	loan, err := frames.Reserve()
	if err != nil {
		panic(err)
	}
	loan.Value.Number = 7
	for i := range loan.Value.Pixels {
		loan.Value.Pixels[i] = byte(i)
	}
	fmt.Println("before Commit:", frames.Len())
	if err := loan.Commit(); err != nil {
		panic(err)
	}
	fmt.Println("after Commit:", frames.Len())

	frames.RecvFunc(func(f *Frame) error {
		fmt.Println("frame", f.Number, "pixel 100 is", f.Pixels[100])
		return nil
	})
	// Output:
	// before Commit: 0
	// after Commit: 1
	// frame 7 pixel 100 is 100
}

// Messages of bytes are reserved by size, and may be cut shorter.
func ExampleChan_Reserve_bytes() {
	ch, err := channel.New[[]byte](4)
	if err != nil {
		panic(err)
	}
	defer ch.Detach()

	loan, err := ch.Reserve(1000)
	if err != nil {
		panic(err)
	}
	n := copy(*loan.Value, "only so much")
	*loan.Value = (*loan.Value)[:n]
	loan.Commit()

	v, _ := ch.Recv()
	fmt.Printf("%d bytes: %s\n", len(v), v)
	// Output:
	// 12 bytes: only so much
}

func ExampleChan_SendContext() {
	ch, err := channel.New[int](1)
	if err != nil {
		panic(err)
	}
	defer ch.Detach()
	ch.Send(1) // now it is full, and nobody receives

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	err = ch.SendContext(ctx, 2)
	fmt.Println("in time:", err == nil)
	fmt.Println("deadline exceeded:", errors.Is(err, context.DeadlineExceeded))
	fmt.Println("messages:", ch.Len())
	// Output:
	// in time: false
	// deadline exceeded: true
	// messages: 1
}

func ExampleChan_TrySend() {
	ch, err := channel.New[int](2)
	if err != nil {
		panic(err)
	}
	defer ch.Detach()
	for i := range 3 {
		err := ch.TrySend(i)
		fmt.Println(i, err == nil, errors.Is(err, channel.ErrFull))
	}
	// Output:
	// 0 true false
	// 1 true false
	// 2 false true
}

// With HangUp a receiver learns that the last sender has gone, as from a pipe.
func ExampleHangUp() {
	name := fmt.Sprintf("example-hangup-%d", os.Getpid())
	defer channel.Unlink(name)
	sender, err := channel.Open[int](name, 8)
	if err != nil {
		panic(err)
	}
	receiver, err := channel.Open[int](name, 8, channel.HangUp())
	if err != nil {
		panic(err)
	}
	defer receiver.Detach()

	sender.SendBatch([]int{1, 2, 3})
	sender.Detach() // or its process ends, in whatever way

	for v := range receiver.All() {
		fmt.Println(v)
	}
	fmt.Println("sender lost:", errors.Is(receiver.Err(), channel.ErrPeerLost))
	// Output:
	// 1
	// 2
	// 3
	// sender lost: true
}

// A File is how a channel without a name reaches another process: a child gets
// it in exec.Cmd's ExtraFiles, others over a UNIX socket.
func ExampleFromFile() {
	ch, err := channel.New[string](8)
	if err != nil {
		panic(err)
	}
	defer ch.Detach()
	f, err := ch.File()
	if err != nil {
		panic(err)
	}

	other, err := channel.FromFile[string](f)
	if err != nil {
		panic(err)
	}
	defer other.Detach()
	f.Close()

	ch.Send("over there")
	v, _ := other.Recv()
	fmt.Println(v)
	// Output:
	// over there
}

// Everybody who opens a channel has to mean the same T.
func ExampleMismatchError() {
	name := fmt.Sprintf("example-mismatch-%d", os.Getpid())
	defer channel.Unlink(name)
	ch, err := channel.Create[struct{ Price float64 }](name, 8)
	if err != nil {
		panic(err)
	}
	defer ch.Detach()

	_, err = channel.Attach[struct{ Price float32 }](name)
	var mismatch *channel.MismatchError
	if errors.As(err, &mismatch) {
		fmt.Println("another", mismatch.What)
	}
	// Output:
	// another type
}
