//go:build linux

package channel_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/shmchan/shmchan/channel"
	"pgregory.net/rapid"
)

// However a stream is cut into batches on either side, it comes whole and in order.
func TestPropBatchBoundaries(t *testing.T) {
	for _, spsc := range []bool{false, true} {
		t.Run(chanArgs{SPSC: spsc}.mode(), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) { batchBoundaries(t, rt, spsc) })
		})
	}
}

func batchBoundaries(t *testing.T, rt *rapid.T, spsc bool) {
	capacity := rapid.SampledFrom([]int{0, 1, 2, 3, 7, 16, 33}).Draw(rt, "capacity")
	sends := rapid.SliceOfN(rapid.IntRange(0, 3*capacity+2), 1, 20).Draw(rt, "send batches")
	recvs := rapid.SliceOfN(rapid.IntRange(1, 3*capacity+2), 1, 20).Draw(rt, "receive buffers")
	ch, err := channel.New[uint32](capacity, chanArgs{SPSC: spsc}.options()...)
	if err != nil {
		rt.Fatal(err)
	}
	defer ch.Detach()
	total := uint32(0)
	for _, n := range sends {
		total += uint32(n)
	}
	failed := make(chan error, 1)
	go func() {
		defer close(failed)
		next := uint32(0)
		for _, size := range sends {
			batch := make([]uint32, size)
			for i := range batch {
				batch[i], next = next, next+1
			}
			if n, err := ch.SendBatch(batch); n != size || err != nil {
				failed <- errors.Join(err, errors.New("a batch was cut"))
				return
			}
		}
		if err := ch.Close(); err != nil {
			failed <- err
		}
	}()
	within(t, "the batches", func() {
		want := uint32(0)
		for i := 0; ; i++ {
			buf := make([]uint32, recvs[i%len(recvs)])
			n, err := ch.RecvBatch(buf)
			for _, v := range buf[:n] {
				if v != want {
					rt.Errorf("got %d, want %d", v, want)
				}
				want++
			}
			if err != nil {
				if !errors.Is(err, channel.ErrClosed) || n != 0 {
					rt.Errorf("RecvBatch: %d, %v", n, err)
				}
				break
			}
			if n == 0 {
				rt.Errorf("RecvBatch: nothing, and no error")
			}
		}
		if want != total {
			rt.Errorf("%d came of %d", want, total)
		}
	})
	if err := <-failed; err != nil {
		rt.Fatal(err)
	}
}

// Packed messages of any size share Space: they come whole and in order, bytes
// are full only when much is there (a message may cost up to 64 more than it
// has), and the largest one fits into an empty channel.
func TestPropPackedSpace(t *testing.T) {
	for _, spsc := range []bool{false, true} {
		t.Run(chanArgs{SPSC: spsc}.mode(), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) { packedSpace(t, spsc) })
		})
	}
}

func packedSpace(t *rapid.T, spsc bool) {
	capacity := rapid.SampledFrom([]int{1, 3, 10, 200}).Draw(t, "capacity")
	largest := rapid.SampledFrom([]int{1, 7, 100, 1000, 5000}).Draw(t, "MaxMessage")
	space := largest * rapid.IntRange(1, 12).Draw(t, "space in messages")
	opts := append(chanArgs{SPSC: spsc}.options(), channel.MaxMessage(largest), channel.Space(space))
	ch, err := channel.New[[]byte](capacity, opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer ch.Detach()

	var queue [][]byte
	held := 0
	next := byte(0)
	sizes := rapid.IntRange(0, largest)
	pop := func() {
		v, err := ch.TryRecv()
		if err != nil || !bytes.Equal(v, queue[0]) {
			t.Fatalf("TryRecv: %d bytes, %v; want %d bytes", len(v), err, len(queue[0]))
		}
		held -= len(queue[0])
		queue = queue[1:]
	}
	t.Repeat(map[string]func(*rapid.T){
		"": func(t *rapid.T) {
			if ch.Len() != len(queue) {
				t.Fatalf("Len %d, want %d", ch.Len(), len(queue))
			}
		},
		"send": func(t *rapid.T) {
			size := sizes.Draw(t, "size")
			next++
			v := bytes.Repeat([]byte{next}, size)
			err := ch.TrySend(v)
			switch {
			case err == nil && len(queue) < capacity:
				queue = append(queue, v)
				held += size
			case !errors.Is(err, channel.ErrFull):
				t.Fatalf("TrySend of %d bytes with %d messages, %d bytes there: %v", size, len(queue), held, err)
			case len(queue) < capacity && held+size+64*(len(queue)+1) <= space/2 && size <= space/8:
				t.Fatalf("full with %d of %d messages, %d of %d bytes there, for %d more", len(queue), capacity, held, space, size)
			}
		},
		"receive": func(t *rapid.T) {
			if len(queue) == 0 {
				if _, err := ch.TryRecv(); !errors.Is(err, channel.ErrEmpty) {
					t.Fatalf("TryRecv: %v", err)
				}
				return
			}
			pop()
		},
		"drain, then the largest": func(t *rapid.T) {
			for len(queue) > 0 {
				pop()
			}
			next++
			v := bytes.Repeat([]byte{next}, largest)
			if err := ch.TrySend(v); err != nil {
				t.Fatalf("the largest message into an empty channel: %v", err)
			}
			queue, held = append(queue, v), largest
		},
		"too large": func(t *rapid.T) {
			v := make([]byte, largest+1+sizes.Draw(t, "over"))
			if err := ch.TrySend(v); !errors.Is(err, channel.ErrTooLarge) {
				t.Fatalf("TrySend of %d bytes: %v", len(v), err)
			}
			if err := ch.Send(v); !errors.Is(err, channel.ErrTooLarge) {
				t.Fatalf("Send of %d bytes: %v", len(v), err)
			}
			if _, err := ch.Reserve(len(v)); !errors.Is(err, channel.ErrTooLarge) {
				t.Fatalf("Reserve(%d): %v", len(v), err)
			}
		},
	})
}
