//go:build linux

package channel_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/shmchan/shmchan/channel"
)

// Benchmarks between processes: the children are the senders, receivers and
// echoes, this process starts them together and waits for all.

type benchArgs struct {
	chanArgs
	Back  string // name of the channel that answers
	Role  string // send, recv, echo, ping
	N     int
	Sleep bool // never spin
	Count int  // processes of one side
	Index int
}

func (a benchArgs) options() []channel.Option {
	opts := a.chanArgs.options()
	if a.Sleep {
		opts = append(opts, channel.Spin(channel.SpinNever()))
	}
	return opts
}

// share is how many of N fall to the process of that index.
func (a benchArgs) share() int {
	n := a.N / a.Count
	if a.Index < a.N%a.Count {
		n++
	}
	return n
}

var roleBench = role("bench", func(c *child, a benchArgs) {
	switch a.Kind {
	case "uint64":
		benchOn(c, a, func() uint64 { return 1 })
	case "line":
		benchOn(c, a, func() line64 { return line64{Seq: 1} })
	case "bytes":
		v := make([]byte, 64)
		benchOn(c, a, func() []byte { return v })
	case "bytes-inplace":
		benchBytesInPlace(c, a)
	case "fd":
		benchDescriptors(c, a)
	default:
		c.fatalf("kind %q", a.Kind)
	}
})

func benchOn[T any](c *child, a benchArgs, value func() T) {
	to, err := channel.Open[T](a.Name, a.Cap, a.options()...)
	c.must(err)
	back := to
	if a.Back != "" {
		back, err = channel.Open[T](a.Back, a.Cap, a.options()...)
		c.must(err)
	}
	take := func(ch *channel.Chan[T]) {
		if _, ok := ch.Recv(); !ok {
			c.fatalf("the end: %v", ch.Err())
		}
	}
	n := a.share()
	c.say("ready", nil)
	c.hear()
	switch a.Role {
	case "send":
		for range n {
			c.must(to.Send(value()))
		}
	case "recv":
		for range n {
			take(to)
		}
	case "ping":
		for range n {
			c.must(to.Send(value()))
			take(back)
		}
	case "echo":
		for range n {
			take(to)
			c.must(back.Send(value()))
		}
	}
	c.say("done", nil)
	c.hear() // stays a member until all are done
}

// benchBytesInPlace writes and reads 64-byte messages where they lie.
func benchBytesInPlace(c *child, a benchArgs) {
	ch, err := channel.Open[[]byte](a.Name, a.Cap, a.options()...)
	c.must(err)
	n := a.share()
	c.say("ready", nil)
	c.hear()
	var sum uint64
	for i := range n {
		if a.Role == "send" {
			l, err := ch.Reserve(64)
			c.must(err)
			binary.LittleEndian.PutUint64(*l.Value, uint64(i))
			c.must(l.Commit())
			continue
		}
		c.must(ch.RecvFunc(func(b *[]byte) error {
			sum += binary.LittleEndian.Uint64(*b)
			return nil
		}))
	}
	c.say("done", sum)
	c.hear()
}

// benchDescriptors does the same over descriptors 3 (in) and 4 (out).
func benchDescriptors(c *child, a benchArgs) {
	in, out := os.NewFile(3, "in"), os.NewFile(4, "out")
	buf := make([]byte, a.Cap) // bytes of a message
	n := a.share()
	c.say("ready", nil)
	c.hear()
	read := func() {
		_, err := io.ReadFull(in, buf)
		c.must(err)
	}
	write := func() {
		_, err := out.Write(buf)
		c.must(err)
	}
	for range n {
		switch a.Role {
		case "send":
			write()
		case "recv":
			read()
		case "ping":
			write()
			read()
		case "echo":
			read()
			write()
		}
	}
	c.say("done", nil)
	c.hear()
}

// bench starts the processes, then times them from the start to the last end.
func bench(b *testing.B, args []benchArgs, files [][]*os.File) {
	b.Helper()
	var procs []*proc
	for i, a := range args {
		a.N = b.N
		var opts []spawnOption
		if files != nil {
			opts = append(opts, withFiles(files[i]...))
		}
		procs = append(procs, spawn(b, roleBench, a, opts...))
	}
	for _, p := range procs {
		p.expect("ready")
	}
	b.ResetTimer()
	for _, p := range procs {
		p.tell("go")
	}
	for _, p := range procs {
		p.expect("done")
	}
	b.StopTimer()
	for _, p := range procs {
		p.tell("leave")
		p.wait()
	}
	if b.N > 1 {
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "M/s")
	}
}

// pair is k senders and k receivers on one channel.
func pair(b *testing.B, a benchArgs, k int) (all []benchArgs) {
	b.Helper()
	if a.Kind != "fd" {
		a.Name = uniqueName(b)
	}
	a.Count = k
	for a.Index = range k {
		for _, a.Role = range []string{"send", "recv"} {
			all = append(all, a)
		}
	}
	return all
}

// pingPong is a process that asks and one that answers.
func pingPong(b *testing.B, a benchArgs) (all []benchArgs) {
	b.Helper()
	if a.Kind != "fd" {
		a.Name, a.Back = uniqueName(b), uniqueName(b)
	}
	a.Count = 1
	for _, a.Role = range []string{"ping", "echo"} {
		all = append(all, a)
	}
	return all
}

func sides(k int) string { return fmt.Sprintf("sides=%d:%d", k, k) }
