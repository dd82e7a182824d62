//go:build linux

package channel_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/shmchan/shmchan/channel"
)

// chanArgs tells a child which channel to join.
type chanArgs struct {
	Kind   string // of payload, see traffics
	Name   string // empty: FromFile of descriptor 3
	Cap    int
	SPSC   bool
	HangUp bool
	Dir    string
	Space  int
}

func (a chanArgs) options() []channel.Option {
	var opts []channel.Option
	if a.SPSC {
		opts = append(opts, channel.SPSC())
	}
	if a.HangUp {
		opts = append(opts, channel.HangUp())
	}
	if a.Dir != "" {
		opts = append(opts, channel.Dir(a.Dir))
	}
	if a.Space != 0 {
		opts = append(opts, channel.Space(a.Space))
	}
	return opts
}

func (a chanArgs) String() string {
	mode := "mpmc"
	if a.SPSC {
		mode = "spsc"
	}
	return fmt.Sprintf("%s/%s/cap=%d", mode, a.Kind, a.Cap)
}

// join opens what a names, or the inherited file.
func join[T any](a chanArgs) (*channel.Chan[T], error) {
	if a.Name != "" {
		return channel.Open[T](a.Name, a.Cap, a.options()...)
	}
	f := os.NewFile(3, "inherited")
	defer f.Close()
	return channel.FromFile[T](f, a.options()...)
}

// mustJoin opens in the test itself.
func mustJoin[T any](t testing.TB, a chanArgs) *channel.Chan[T] {
	t.Helper()
	ch, err := join[T](a)
	if err != nil {
		t.Fatalf("open %s %q: %v", a, a.Name, err)
	}
	t.Cleanup(func() { ch.Detach() })
	return ch
}

// trafficArgs tells a child what to send. Styles: plain, try, batch, ctx, loan,
// func, refuse, all, mixed.
type trafficArgs struct {
	chanArgs
	From  uint32
	First uint32
	Count uint32
	Style string
	Seed  uint64
}

// traffic is a payload with its T out of sight.
type traffic interface {
	send(c *child, a trafficArgs)
	recv(c *child, a trafficArgs)
	// openAny joins in the test itself.
	openAny(t testing.TB, a chanArgs) closer
	throughFile(t *testing.T, a chanArgs, name string)
	sendOn(c *child, a lifeArgs)
	recvOn(c *child, a lifeArgs)
	stormSend(c *child, a trafficArgs)
	stormRecv(c *child, a trafficArgs)
}

// closer is what the tests need of a channel of whatever T.
type closer interface {
	Close() error
	Detach() error
	Len() int
	Cap() int
	Stats() channel.Stats
	Err() error
}

var traffics = map[string]traffic{
	"uint64": wordPayload,
	"line":   linePayload,
	"page":   pagePayload,
	"bytes":  bytesPayload,
	"string": stringPayload,
	"record": recordPayload,
}

var (
	roleSend = role("send", func(c *child, a trafficArgs) { traffics[a.Kind].send(c, a) })
	roleRecv = role("recv", func(c *child, a trafficArgs) { traffics[a.Kind].recv(c, a) })
)

func (p payload[T]) openAny(t testing.TB, a chanArgs) closer { return mustJoin[T](t, a) }

// send sends the stamps From/First … and reports "sent". Then it leaves.
func (p payload[T]) send(c *child, a trafficArgs) {
	ch, err := join[T](a.chanArgs)
	c.must(err)
	c.say("ready", nil)
	r := rand.New(rand.NewPCG(a.Seed, uint64(a.From)))
	for seq, end := a.First, a.First+a.Count; seq != end; {
		n, err := p.sendSome(ch, stamp{a.From, seq}, end-seq, a.Style, r)
		if err != nil {
			c.fatalf("%s in style %s after %d: %v", a.chanArgs, a.Style, seq, err)
		}
		seq += n
	}
	c.must(ch.Detach())
	c.say("sent", a.Count)
}

var sendStyles = []string{"plain", "try", "batch", "ctx", "loan"}

// sendSome sends at least one of the messages from s on, at most limit.
func (p payload[T]) sendSome(ch channel.Sender[T], s stamp, limit uint32, style string, r *rand.Rand) (uint32, error) {
	if style == "mixed" {
		style = sendStyles[r.IntN(len(sendStyles))]
	}
	v := p.pack(s)
	switch style {
	case "try":
		err := ch.TrySend(v)
		if errors.Is(err, channel.ErrFull) {
			err = ch.Send(v)
		}
		return 1, err
	case "ctx":
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		return 1, ch.SendContext(ctx, v)
	case "loan":
		full, ok := ch.(*channel.Chan[T])
		if !ok || p.loan == nil {
			return 1, ch.Send(v)
		}
		if r.IntN(4) == 0 {
			l, err := p.loan(full, v)
			if err != nil {
				return 0, err
			}
			if err := l.Abort(); err != nil {
				return 0, err
			}
		}
		l, err := p.loan(full, v)
		if err != nil {
			return 0, err
		}
		return 1, l.Commit()
	case "batch":
		n := min(1+r.Uint32N(20), limit)
		vs := []T{v}
		for i := uint32(1); i < n; i++ {
			vs = append(vs, p.pack(stamp{s.From, s.Seq + i}))
		}
		sent, err := ch.SendBatch(vs)
		if err == nil && sent != int(n) {
			err = fmt.Errorf("SendBatch sent %d of %d, no error", sent, n)
		}
		return n, err
	}
	return 1, ch.Send(v)
}

// recv receives until the channel's end and reports "got" with the stamps, in
// the order in which they came, and "end" with Err's text.
func (p payload[T]) recv(c *child, a trafficArgs) {
	ch, err := join[T](a.chanArgs)
	c.must(err)
	c.say("ready", nil)
	r := rand.New(rand.NewPCG(a.Seed, 1<<32+uint64(a.From)))
	var got []uint64
	keep := func(v T) error {
		s, err := p.read(v)
		if err == nil {
			got = append(got, s.word())
		}
		return err
	}
	for {
		more, err := recvSome(ch, keep, a.Style, r)
		if err != nil {
			c.fatalf("%s in style %s after %d: %v", a.chanArgs, a.Style, len(got), err)
		}
		if !more {
			break
		}
	}
	if _, ok := ch.Recv(); ok {
		c.fatalf("a message after the end")
	}
	end := ""
	if err := ch.Err(); err != nil {
		end = err.Error()
	}
	c.must(ch.Detach())
	c.say("got", got)
	c.say("end", end)
}

var recvStyles = []string{"plain", "try", "batch", "ctx", "func"}

// recvSome receives at least one message and hands it to keep. more is false
// at the channel's end, whatever its reason; err is for what must not be.
func recvSome[T any](ch channel.Receiver[T], keep func(T) error, style string, r *rand.Rand) (more bool, err error) {
	if style == "mixed" {
		style = recvStyles[r.IntN(len(recvStyles))]
	}
	var v T
	switch style {
	case "try":
		v, err = ch.TryRecv()
		if errors.Is(err, channel.ErrEmpty) {
			v, err = ch.RecvContext(context.Background())
		}
	case "ctx":
		ctx, cancel := context.WithCancel(context.Background())
		v, err = ch.RecvContext(ctx)
		cancel()
	case "batch":
		buf := make([]T, 1+r.IntN(20))
		n, err := ch.RecvBatch(buf)
		for _, v := range buf[:n] {
			if err := keep(v); err != nil {
				return false, err
			}
		}
		if err == nil && n == 0 {
			err = errors.New("RecvBatch gave nothing, no error")
		}
		return err == nil, atEnd(err)
	case "func", "refuse":
		refused := style == "refuse" && r.IntN(3) == 0
		var kept error
		err = ch.RecvFunc(func(v *T) error {
			if refused {
				return errRefused
			}
			kept = keep(*v)
			return nil
		})
		switch {
		case kept != nil:
			return false, kept
		case refused && errors.Is(err, errRefused):
			return true, nil
		}
		return err == nil, atEnd(err)
	case "all":
		for v := range ch.All() {
			if err := keep(v); err != nil {
				return false, err
			}
		}
		return false, nil
	default:
		var ok bool
		v, ok = ch.Recv()
		if !ok {
			return false, nil
		}
	}
	if err != nil {
		return false, atEnd(err)
	}
	return true, keep(v)
}

var errRefused = errors.New("refused")

// atEnd passes on all errors but those that end a channel.
func atEnd(err error) error {
	if errors.Is(err, channel.ErrClosed) || errors.Is(err, channel.ErrPeerLost) {
		return nil
	}
	return err
}
