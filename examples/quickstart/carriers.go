package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"github.com/shmchan/shmchan/channel"
)

// buffer is the capacity of the buffered channels, in messages.
const buffer = 4096

// Names of the channels to measure with, after the prefix.
const (
	tasksName  = "tasks"
	valuesName = "values"
	pingName   = "ping"
	pongName   = "pong"
)

// task tells the child what comes next.
type task struct {
	How carrier
	N   uint64 // messages
}

type carrier uint32

const (
	channelOneWay carrier = iota
	channelRoundTrip
	pipeOneWay
	pipeRoundTrip
)

// bench is what parent and child measure with. Both have the same four channels;
// one's send is the other's receive.
type bench struct {
	tasks      *channel.Chan[task]
	values     *channel.Chan[uint64] // one way
	ping, pong *channel.Chan[uint64] // there and back
	in, out    *os.File              // pipes from and to the other process
	theirs     []*os.File            // the parent's hold on the child's ends
}

// spin makes the wait for a round trip a busy one, where each process can have a
// CPU to itself.
func spin() channel.Option {
	if runtime.NumCPU() < 2 {
		return channel.Spin(channel.SpinNever())
	}
	return channel.Spin(channel.SpinBusy())
}

// newBench opens the channels, which whoever comes first creates.
func newBench(prefix string) (b *bench, err error) {
	b = &bench{}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if b.tasks, err = channel.Open[task](prefix+tasksName, 1, channel.HangUp()); err != nil {
		return nil, err
	}
	if b.values, err = channel.Open[uint64](prefix+valuesName, buffer, channel.SPSC(), channel.HangUp()); err != nil {
		return nil, err
	}
	if b.ping, err = channel.Open[uint64](prefix+pingName, 1, channel.SPSC(), channel.HangUp(), spin()); err != nil {
		return nil, err
	}
	b.pong, err = channel.Open[uint64](prefix+pongName, 1, channel.SPSC(), channel.HangUp(), spin())
	return b, err
}

// makePipes makes the pipes, on the parent's side. The child finds its ends as
// descriptors 3 and 4.
func (b *bench) makePipes() error {
	theirIn, out, err := os.Pipe()
	if err != nil {
		return err
	}
	in, theirOut, err := os.Pipe()
	if err != nil {
		theirIn.Close()
		out.Close()
		return err
	}
	b.in, b.out, b.theirs = in, out, []*os.File{theirIn, theirOut}
	return nil
}

func (b *bench) close() {
	if b.tasks != nil {
		_ = b.tasks.Close() // ends the child's loop
		b.tasks.Detach()
	}
	for _, c := range []*channel.Chan[uint64]{b.values, b.ping, b.pong} {
		if c != nil {
			c.Detach()
		}
	}
	for _, f := range append(b.theirs, b.in, b.out) {
		if f != nil {
			f.Close()
		}
	}
}

// channelOneWay sends n values. The child answers with their sum.
func (b *bench) channelOneWay(n int) (time.Duration, error) {
	start := time.Now()
	if err := b.tasks.Send(task{channelOneWay, uint64(n)}); err != nil {
		return 0, err
	}
	for v := range uint64(n) {
		if err := b.values.Send(v); err != nil {
			return 0, err
		}
	}
	sum, ok := b.pong.Recv()
	if !ok {
		return 0, b.pong.Err()
	}
	return time.Since(start), checkSum(n, sum)
}

func (b *bench) channelRoundTrip(n int) (time.Duration, error) {
	if err := b.tasks.Send(task{channelRoundTrip, uint64(n)}); err != nil {
		return 0, err
	}
	start := time.Now()
	for v := range uint64(n) {
		if err := b.ping.Send(v); err != nil {
			return 0, err
		}
		got, ok := b.pong.Recv()
		if !ok {
			return 0, b.pong.Err()
		}
		if got != v {
			return 0, fmt.Errorf("%d came back as %d", v, got)
		}
	}
	return time.Since(start), nil
}

// pipeOneWay writes each value with a call of its own, as a message. The child
// may read many at once.
func (b *bench) pipeOneWay(n int) (time.Duration, error) {
	start := time.Now()
	if err := b.tasks.Send(task{pipeOneWay, uint64(n)}); err != nil {
		return 0, err
	}
	var word [8]byte
	for v := range uint64(n) {
		if err := put(b.out, &word, v); err != nil {
			return 0, err
		}
	}
	sum, err := get(b.in, &word)
	if err != nil {
		return 0, err
	}
	return time.Since(start), checkSum(n, sum)
}

func (b *bench) pipeRoundTrip(n int) (time.Duration, error) {
	if err := b.tasks.Send(task{pipeRoundTrip, uint64(n)}); err != nil {
		return 0, err
	}
	start := time.Now()
	var word [8]byte
	for v := range uint64(n) {
		if err := put(b.out, &word, v); err != nil {
			return 0, err
		}
		got, err := get(b.in, &word)
		if err != nil {
			return 0, err
		}
		if got != v {
			return 0, fmt.Errorf("%d came back as %d", v, got)
		}
	}
	return time.Since(start), nil
}

// serve is the child's side of all these, until the parent closes the tasks.
func (b *bench) serve() error {
	b.in, b.out = os.NewFile(3, "pipe"), os.NewFile(4, "pipe")
	in := bufio.NewReader(b.in)
	for t := range b.tasks.All() {
		if err := b.do(t, in); err != nil {
			return err
		}
	}
	return b.tasks.Err()
}

func (b *bench) do(t task, in io.Reader) error {
	var word [8]byte
	sum := uint64(0)
	for range t.N {
		switch t.How {
		case channelOneWay:
			v, ok := b.values.Recv()
			if !ok {
				return b.values.Err()
			}
			sum += v
		case channelRoundTrip:
			v, ok := b.ping.Recv()
			if !ok {
				return b.ping.Err()
			}
			if err := b.pong.Send(v); err != nil {
				return err
			}
		case pipeOneWay:
			v, err := get(in, &word)
			if err != nil {
				return err
			}
			sum += v
		case pipeRoundTrip:
			v, err := get(in, &word)
			if err != nil {
				return err
			}
			if err := put(b.out, &word, v); err != nil {
				return err
			}
		}
	}
	switch t.How {
	case channelOneWay:
		return b.pong.Send(sum)
	case pipeOneWay:
		return put(b.out, &word, sum)
	}
	return nil
}

// goOneWay and goRoundTrip do the same between two goroutines.
func goOneWay(n int) (time.Duration, error) {
	values, sums := make(chan uint64, buffer), make(chan uint64)
	start := time.Now()
	go func() {
		sum := uint64(0)
		for v := range values {
			sum += v
		}
		sums <- sum
	}()
	for v := range uint64(n) {
		values <- v
	}
	close(values)
	sum := <-sums
	return time.Since(start), checkSum(n, sum)
}

func goRoundTrip(n int) (time.Duration, error) {
	ping, pong := make(chan uint64), make(chan uint64)
	go func() {
		for v := range ping {
			pong <- v
		}
	}()
	defer close(ping)
	start := time.Now()
	for v := range uint64(n) {
		ping <- v
		if got := <-pong; got != v {
			return 0, fmt.Errorf("%d came back as %d", v, got)
		}
	}
	return time.Since(start), nil
}

func put(w io.Writer, word *[8]byte, v uint64) error {
	binary.NativeEndian.PutUint64(word[:], v)
	_, err := w.Write(word[:])
	return err
}

func get(r io.Reader, word *[8]byte) (uint64, error) {
	_, err := io.ReadFull(r, word[:])
	return binary.NativeEndian.Uint64(word[:]), err
}

func checkSum(n int, sum uint64) error {
	if want := uint64(n) * uint64(n-1) / 2; sum != want {
		return fmt.Errorf("the values sent add up to %d, those received to %d", want, sum)
	}
	return nil
}
