//go:build linux

package channel_test

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/channel"
)

// semWide fills a cache line.
type semWide struct {
	ID   uint64
	Body [7]uint64
}

// semHuge is bigger than a page and no multiple of one.
type semHuge struct {
	ID   uint64
	Body [4992]byte
}

// semRecord has pointers, so CBOR carries it.
type semRecord struct {
	ID   uint64
	Name string
	Tags []string
	Next *semRecord
	Pos  map[string]float64
}

// semKind is a T with its values: gen(i) differs from gen(j) wherever i and j do.
type semKind[T any] struct {
	gen   func(i int) T
	same  func(a, b T) bool
	keep  func(v *T) T // out of RecvFunc
	loans bool
	opts  []channel.Option
}

func semPlain[T comparable](gen func(i int) T) semKind[T] {
	return semKind[T]{
		gen:   gen,
		same:  func(a, b T) bool { return a == b },
		keep:  func(v *T) T { return *v },
		loans: true,
	}
}

var semPattern = func() (p [8192]byte) {
	for i := range p {
		p[i] = byte(i*i>>3 ^ i)
	}
	return p
}()

var (
	semUints = semPlain(func(i int) uint64 { return uint64(i)*0x9e3779b97f4a7c15 + 1 })
	semWides = semPlain(func(i int) (v semWide) {
		v.ID = uint64(i)
		for k := range v.Body {
			v.Body[k] = uint64(i) * uint64(k+3)
		}
		return v
	})
	semHuges = semPlain(func(i int) (v semHuge) {
		v.ID = uint64(i)
		copy(v.Body[:], semPattern[i%3000:])
		return v
	})
	semBytes = semKind[[]byte]{
		gen: func(i int) []byte {
			return append([]byte(fmt.Sprintf("%d:", i)), semPattern[:i*7%300]...)
		},
		same:  bytes.Equal,
		keep:  func(v *[]byte) []byte { return bytes.Clone(*v) },
		loans: true,
		opts:  []channel.Option{channel.MaxMessage(512)},
	}
	semStrings = semKind[string]{
		gen:  func(i int) string { return fmt.Sprintf("%d:", i) + strings.Repeat("héllo, ", i%20) },
		same: func(a, b string) bool { return a == b },
		keep: func(v *string) string { return strings.Clone(*v) },
		opts: []channel.Option{channel.MaxMessage(512)},
	}
	semRecords = semKind[semRecord]{
		gen: func(i int) semRecord {
			r := semRecord{ID: uint64(i), Name: fmt.Sprint("record ", i), Tags: []string{"a", "b", "c"}[:i%4]}
			if i%2 == 1 {
				r.Next = &semRecord{Name: "next", Pos: map[string]float64{"x": float64(i) / 3, "y": -1}}
			}
			return r
		},
		same: func(a, b semRecord) bool {
			// CBOR keeps an empty list and none apart, but nothing here asks it to.
			if len(a.Tags) == 0 && len(b.Tags) == 0 {
				a.Tags, b.Tags = nil, nil
			}
			return reflect.DeepEqual(a, b)
		},
		keep: func(v *semRecord) semRecord { return *v },
		opts: []channel.Option{channel.MaxMessage(512)},
	}
	semTimes = semKind[time.Time]{
		gen: func(i int) time.Time {
			zone := time.FixedZone("", (i%24-12)*3600)
			return time.Date(2001, 2, 3, 4, 5, i, i*1001, zone)
		},
		same: func(a, b time.Time) bool {
			_, za := a.Zone()
			_, zb := b.Zone()
			return a.Equal(b) && za == zb
		},
		keep: func(v *time.Time) time.Time { return *v },
		opts: []channel.Option{channel.MaxMessage(512)},
	}
)

func TestSemEveryKindOfValueGoesThroughEveryKindOfChannel(t *testing.T) {
	t.Run("uint64", semUints.everywhere)
	t.Run("64 bytes", semWides.everywhere)
	t.Run("5000 bytes", semHuges.everywhere)
	t.Run("[]byte", semBytes.everywhere)
	t.Run("string", semStrings.everywhere)
	t.Run("CBOR", semRecords.everywhere)
	t.Run("time.Time", semTimes.everywhere)
}

func (k semKind[T]) everywhere(t *testing.T) {
	semEach(t, semModes, semCapacities, func(t *testing.T, s semShape) {
		if s.capacity > 1000 && (s.way == "Open" || s.way == "Create+FromFile" || semRace && s.way != "Create+Attach") {
			t.Skip("as the other ways, and slow")
		}
		tx, rx := semMake[T](t, s, k.opts...)
		require.Equal(t, s.capacity, tx.Cap())
		require.Equal(t, s.capacity, rx.Cap())
		if s.capacity > 0 {
			k.fillsAndDrains(t, tx, rx)
			k.streams(t, tx, rx, min(s.capacity, 100)+60)
			k.drainsAfterClose(t, tx, rx)
			return
		}
		require.ErrorIs(t, tx.TrySend(k.gen(0)), channel.ErrFull)
		k.streams(t, tx, rx, 60)
		require.NoError(t, tx.Close())
		k.isClosed(t, tx, rx)
	})
}

// fillsAndDrains fills the channel to the brim, small ones twice, so that
// positions move.
func (k semKind[T]) fillsAndDrains(t *testing.T, tx, rx *channel.Chan[T]) {
	t.Helper()
	sent, taken := 0, 0
	laps := 2
	if tx.Cap() > 1000 {
		laps = 1
	}
	take := func() {
		t.Helper()
		v, err := rx.TryRecv()
		require.NoError(t, err)
		if want := k.gen(taken); !k.same(want, v) {
			t.Fatalf("message %d: got %.60v, want %.60v", taken, v, want)
		}
		taken++
	}
	for range laps {
		for i := range tx.Cap() {
			if err := tx.TrySend(k.gen(sent)); err != nil {
				t.Fatalf("message %d of %d: %v", i, tx.Cap(), err)
			}
			sent++
			if n := rx.Len(); n != sent-taken {
				t.Fatalf("Len is %d, want %d", n, sent-taken)
			}
		}
		require.ErrorIs(t, tx.TrySend(k.gen(sent)), channel.ErrFull)
		take()
		require.NoError(t, tx.TrySend(k.gen(sent)))
		sent++
		require.ErrorIs(t, tx.TrySend(k.gen(sent)), channel.ErrFull)
		for n := taken%tx.Cap()/2 + 1; rx.Len() > 0 && n > 0; n-- {
			take()
			if got := tx.Len(); got != sent-taken {
				t.Fatalf("Len is %d, want %d", got, sent-taken)
			}
		}
		for rx.Len() > 0 {
			take()
		}
		_, err := rx.TryRecv()
		require.ErrorIs(t, err, channel.ErrEmpty)
	}
	require.Equal(t, sent, taken)
}

// streams sends n messages while they are received, in every form there is.
func (k semKind[T]) streams(t *testing.T, tx, rx *channel.Chan[T], n int) {
	t.Helper()
	sendForms := semSendForms[T](tx.Cap() > 0, k.loans)
	sender := semStart(func() error {
		for i := range n {
			form := sendForms[i%len(sendForms)]
			if form.name == "Reserve" {
				if err := k.lend(tx, k.gen(i)); err != nil {
					return fmt.Errorf("loan %d: %w", i, err)
				}
				continue
			}
			if err := form.call(tx, k.gen(i)); err != nil {
				return fmt.Errorf("%s of message %d: %w", form.name, i, err)
			}
		}
		return nil
	})
	recvForms := semRecvForms[T](true)
	for i := range n {
		form := recvForms[i/3%len(recvForms)]
		var v T
		var err error
		if form.name == "RecvFunc" {
			err = rx.RecvFunc(func(p *T) error { v = k.keep(p); return nil })
		} else {
			v, err = form.call(rx)
		}
		if err != nil {
			t.Fatalf("%s of message %d: %v (sender: %v)", form.name, i, err, semPeek(sender))
		}
		if want := k.gen(i); !k.same(want, v) {
			t.Fatalf("%s of message %d: got %.60v, want %.60v", form.name, i, v, want)
		}
	}
	require.NoError(t, sender.wait())
	semDrained(t, rx)
}

// lend sends v by way of a loan.
func (k semKind[T]) lend(c *channel.Chan[T], v T) error {
	if b, ok := any(v).([]byte); ok {
		l, err := c.Reserve(len(b) + 5)
		if err != nil {
			return err
		}
		place := any(l.Value).(*[]byte)
		if len(*place) != len(b)+5 {
			return fmt.Errorf("asked for %d bytes, got %d", len(b)+5, len(*place))
		}
		*place = (*place)[:copy(*place, b)]
		return l.Commit()
	}
	l, err := c.Reserve()
	if err != nil {
		return err
	}
	*l.Value = v
	return l.Commit()
}

func (k semKind[T]) drainsAfterClose(t *testing.T, tx, rx *channel.Chan[T]) {
	t.Helper()
	n := min(tx.Cap(), 100)
	for i := range n {
		require.NoError(t, tx.Send(k.gen(i)))
	}
	require.NoError(t, tx.Close())
	i := 0
	for v := range rx.All() {
		if want := k.gen(i); !k.same(want, v) {
			t.Fatalf("message %d: got %.60v, want %.60v", i, v, want)
		}
		i++
	}
	require.Equal(t, n, i)
	k.isClosed(t, tx, rx)
}

func (k semKind[T]) isClosed(t *testing.T, tx, rx *channel.Chan[T]) {
	t.Helper()
	var zero T
	v, ok := rx.Recv()
	require.False(t, ok)
	require.Equal(t, zero, v)
	require.NoError(t, rx.Err())
	_, err := rx.TryRecv()
	require.ErrorIs(t, err, channel.ErrClosed)
	require.ErrorIs(t, tx.Send(k.gen(0)), channel.ErrClosed)
	require.ErrorIs(t, tx.TrySend(k.gen(0)), channel.ErrClosed)
	require.ErrorIs(t, tx.Close(), channel.ErrClosed)
}

// semPeek is a task's result if it has one.
func semPeek[R any](k *semTask[R]) any {
	select {
	case <-k.done:
		return k.result
	default:
		return "still at it"
	}
}

func TestSemManyKindsOfT(t *testing.T) {
	type id uint64
	type inner struct {
		A int8
		B [3]uint16
	}
	type odd struct {
		In inner
		C  bool
		F  float32
		Z  complex128
		_  int16
		E  struct{}
	}
	type node struct {
		V    int
		Next *node
	}
	type empty struct{}

	semRoundTrips(t, "bool", true, false)
	semRoundTrips[int8](t, "int8", -128, 0, 127)
	semRoundTrips[int64](t, "int64", -1<<63, 1<<63-1)
	semRoundTrips(t, "float64", 0.1, -2, 1e300)
	semRoundTrips(t, "complex128", 1+2i)
	semRoundTrips[id](t, "named integer", 7)
	semRoundTrips(t, "array", [5]byte{1, 2, 3, 4, 5})
	semRoundTrips(t, "odd struct", odd{In: inner{-1, [3]uint16{1, 2, 65535}}, C: true, F: 1.5, Z: 3i})
	semRoundTrips(t, "struct{}", struct{}{}, struct{}{})
	semRoundTrips(t, "named empty struct", empty{})
	semRoundTrips(t, "[0]byte", [0]byte{})
	semRoundTrips(t, "64 kB", semBig(1), semBig(200))
	semRoundTrips(t, "linked list", node{1, &node{2, &node{3, nil}}})
	semRoundTrips(t, "map", map[string]int{"a": 1, "b": 2})
	semRoundTrips(t, "slice", []uint32{1, 2, 3})
	semRoundTrips(t, "slice of strings", []string{"", "x", strings.Repeat("y", 1000)})
	semRoundTrips(t, "slice of byte slices", [][]byte{{1}, {2, 3}})
	semRoundTrips[any](t, "any", "text", true)
	one := 1
	semRoundTrips(t, "pointer", &one)
	semRoundTrips(t, "array of strings", [2]string{"a", "b"})
	semRoundTrips(t, "duration", time.Second)
}

func semBig(b byte) (v [1<<16 - 1]byte) {
	for i := range v {
		v[i] = b + byte(i>>8)
	}
	return v
}

// semRoundTrips sends vs on a channel with room, and on a rendezvous.
func semRoundTrips[T any](t *testing.T, name string, vs ...T) {
	t.Run(name, func(t *testing.T) {
		c := semNew[T](t, len(vs))
		semFill(t, c, vs...)
		for _, want := range vs {
			semWant(t, c, want)
		}
		c = semNew[T](t, 0)
		for _, want := range vs {
			sender := semSend(c, want)
			got, ok := c.Recv()
			require.True(t, ok)
			require.Equal(t, want, got)
			require.NoError(t, sender.wait())
		}
	})
}

func TestSemATThatCannotCrossIsRefusedAtOpening(t *testing.T) {
	semRefuses[chan int](t)
	semRefuses[<-chan struct{}](t)
	semRefuses[func()](t)
	semRefuses[uintptr](t)
	semRefuses[semPointer](t)
	semRefuses[struct{ C chan int }](t)
	semRefuses[struct{ F func(int) error }](t)
	semRefuses[struct{ P semPointer }](t)
	semRefuses[struct {
		A int
		P uintptr
	}](t)
	semRefuses[struct {
		In struct{ In [2]struct{ P uintptr } }
	}](t)
	semRefuses[[3]uintptr](t)
	semRefuses[[]func()](t)
	semRefuses[map[string]chan int](t)
	semRefuses[*func()](t)
	semRefuses[struct{ S []struct{ F func() } }](t)
	semRefuses[struct{ private chan int }](t)
}

func semRefuses[T any](t *testing.T) {
	kind := reflect.TypeFor[T]().String()
	t.Run(kind, func(t *testing.T) {
		name := uniqueName(t)
		check := func(op string, c *channel.Chan[T], err error) {
			t.Helper()
			if err == nil {
				c.Detach()
				t.Fatalf("%s took a T of %s", op, kind)
			}
			require.Nil(t, c)
			semSays(t, err, op)
		}
		c, err := channel.New[T](1)
		check("new", c, err)
		c, err = channel.Open[T](name, 1)
		check("open", c, err)
		semSays(t, err, name)
		c, err = channel.Create[T](name, 1)
		check("create", c, err)
		semSays(t, err, name)
		require.NoFileExists(t, semPath(name), "a refused T leaves no object")

		semOpen[int32](t, name, 1)
		c, err = channel.Attach[T](name)
		check("attach", c, err)
		semSays(t, err, name)
	})
}

func TestSemWhatWasReceivedBelongsToItsReceiver(t *testing.T) {
	semEachMode(t, func(t *testing.T, mode channel.Option) {
		c := semNew[[]byte](t, 2, mode, channel.MaxMessage(64), channel.Space(128))
		s := semNew[string](t, 2, mode, channel.MaxMessage(64), channel.Space(128))
		var kept [][]byte
		var keptStrings []string
		for i := range 100 {
			text := fmt.Sprintf("message number %d", i)
			semFill(t, c, []byte(text))
			semFill(t, s, text)
			b, err := c.TryRecv()
			require.NoError(t, err)
			str, err := s.TryRecv()
			require.NoError(t, err)
			kept = append(kept, b)
			keptStrings = append(keptStrings, str)
		}
		for i := range kept {
			want := fmt.Sprintf("message number %d", i)
			require.Equal(t, want, string(kept[i]))
			require.Equal(t, want, keptStrings[i])
		}
		_ = append(kept[3], "more"...)
	})
}

func TestSemWhatWasSentMayBeOverwrittenByItsSender(t *testing.T) {
	semEachMode(t, func(t *testing.T, mode channel.Option) {
		c := semNew[[]byte](t, 4, mode, channel.MaxMessage(64))
		buf := []byte("first")
		require.NoError(t, c.Send(buf))
		copy(buf, "XXXXX")
		semWant(t, c, []byte("first"))

		batch := [][]byte{[]byte("one"), []byte("two")}
		n, err := c.SendBatch(batch)
		require.NoError(t, err)
		require.Equal(t, 2, n)
		batch[0][0], batch[1][0] = 'X', 'X'
		semWant(t, c, []byte("one"))
		semWant(t, c, []byte("two"))
	})
}

func TestSemAMarshalerCarriesItself(t *testing.T) {
	c := semNew[semSecret](t, 2)
	semFill(t, c, semSecret{text: "in an unexported field"})
	v, err := c.TryRecv()
	require.NoError(t, err)
	require.Equal(t, "in an unexported field", v.text)

	require.ErrorIs(t, c.TrySend(semSecret{text: "unwilling"}), errSemUnwilling)
	require.Zero(t, c.Len())
	semFill(t, c, semSecret{text: "and on"})
	v, ok := c.Recv()
	require.True(t, ok)
	require.Equal(t, "and on", v.text)
}

var errSemUnwilling = errors.New("does not want to be sent")

// semSecret has nothing that CBOR would see.
type semSecret struct{ text string }

func (s semSecret) MarshalBinary() ([]byte, error) {
	if s.text == "unwilling" {
		return nil, errSemUnwilling
	}
	return []byte(s.text), nil
}

func (s *semSecret) UnmarshalBinary(b []byte) error {
	s.text = string(b)
	return nil
}

func TestSemValuesOfNoSizeAreCounted(t *testing.T) {
	semEach(t, semModes, semCapacities, func(t *testing.T, s semShape) {
		tx, rx := semMake[struct{}](t, s)
		for range s.capacity {
			require.NoError(t, tx.TrySend(struct{}{}))
		}
		require.Equal(t, s.capacity, rx.Len())
		require.ErrorIs(t, tx.TrySend(struct{}{}), channel.ErrFull)
		sender := semSend(tx, struct{}{})
		for range s.capacity + 1 {
			_, ok := rx.Recv()
			require.True(t, ok)
		}
		require.NoError(t, sender.wait())
		semDrained(t, rx)

		batch := semStart(func() int { n, _ := tx.SendBatch(make([]struct{}, 2*s.capacity+3)); return n })
		for n := 0; n < 2*s.capacity+3; {
			k, err := rx.RecvBatch(make([]struct{}, s.capacity+1))
			require.NoError(t, err)
			n += k
		}
		require.Equal(t, 2*s.capacity+3, batch.wait())
		if s.capacity > 0 {
			l, err := tx.Reserve()
			require.NoError(t, err)
			require.NotNil(t, l.Value)
			require.NoError(t, l.Commit())
			require.NoError(t, rx.RecvFunc(func(p *struct{}) error {
				require.NotNil(t, p)
				return nil
			}))
		}
		require.NoError(t, tx.Close())
		semEnded(t, rx, nil)
	})
}

func TestSemEveryFormOfSendMeetsEveryFormOfRecv(t *testing.T) {
	semEach(t, semModes, []int{0, 1, 3}, func(t *testing.T, s semShape) {
		tx, rx := semMake[uint64](t, s)
		for _, send := range semSendForms[uint64](true, true) {
			for _, recv := range semRecvForms[uint64](true) {
				if s.capacity == 0 && send.name == "TrySend" && recv.name == "TryRecv" {
					continue // neither waits for the other
				}
				sender := semStart(func() error {
					for i := range uint64(5) {
						if err := send.call(tx, i); err != nil {
							return fmt.Errorf("%s of %d: %w", send.name, i, err)
						}
					}
					return nil
				})
				for i := range uint64(5) {
					v, err := recv.call(rx)
					require.NoError(t, err, "%s and %s", send.name, recv.name)
					require.Equal(t, i, v, "%s and %s", send.name, recv.name)
				}
				require.NoError(t, sender.wait())
			}
		}
		runtime.KeepAlive(rx)
	})
}
