package fallback

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"
)

func init() {
	checks = append(checks,
		check{name: "hostile bytes end in ErrFrame, io.EOF or a message", run: checkHostile, needs: needsRaw},
		check{name: "a promised length costs no memory", run: checkPromises, needs: needsRaw, alone: true},
	)
}

// framers decode all that is in data, as if it had come from another process, until the
// error that ends it. Carriers add theirs, for the fuzzer, which is a hundred times as fast
// without the kernel between.
var framers = map[string]func(data []byte) error{}

// lengths are n in the encodings that a frame's length may have.
func lengths(n uint64) [][]byte {
	return [][]byte{
		binary.LittleEndian.AppendUint32(nil, uint32(n)),
		binary.BigEndian.AppendUint32(nil, uint32(n)),
		binary.LittleEndian.AppendUint64(nil, n),
		binary.BigEndian.AppendUint64(nil, n),
		binary.AppendUvarint(nil, n),
	}
}

// hostileBytes are what a process that means ill, or none of ours, may send.
func hostileBytes(most int) (all [][]byte) {
	for _, n := range []uint64{
		0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff,
		1 << 32, 1<<63 - 1, 1 << 63, 1<<64 - 1, uint64(most), uint64(most) - 1, uint64(most) + 1, uint64(most) + 64,
	} {
		for _, l := range lengths(n) {
			all = append(all, l, append(l[:len(l):len(l)], "some bytes"...))
		}
	}
	frame := append(binary.LittleEndian.AppendUint32(nil, 20), "twenty bytes of text"...)
	for i := range len(frame) {
		all = append(all, frame[:i])
	}
	for i := range 8 * len(frame) {
		flipped := append([]byte{}, frame...)
		flipped[i/8] ^= 1 << (i % 8)
		all = append(all, append(flipped, frame...))
	}
	all = append(all, []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), make([]byte, 4096))
	r := rand.New(rand.NewPCG(1, 2))
	for range rounds(50) {
		junk := make([]byte, r.IntN(3000))
		for i := range junk {
			junk[i] = byte(r.Uint32())
		}
		all = append(all, junk)
	}
	return all
}

// ordeal writes data to a fresh Conn and receives what comes of it.
func ordeal(t testing.TB, c carrier, data []byte) {
	t.Helper()
	scope(t, func(t testing.TB) {
		a, write := c.raw(t)
		within(t, "receiving hostile bytes", func() {
			_ = write(data) // what the kernel does not take does not come
			quiet := 0
			for i := 0; ; i++ {
				if i > len(data)+100 {
					t.Errorf("%d bytes, and more messages than that", len(data))
					return
				}
				msg, err := a.TryReceive(nil)
				switch {
				case err == nil:
					if len(msg) > a.MaxMessage() {
						t.Errorf("a message of %d bytes, MaxMessage is %d", len(msg), a.MaxMessage())
					}
				case errors.Is(err, ErrWouldBlock):
					if quiet++; quiet < 3 && a.Capabilities().Network {
						time.Sleep(time.Millisecond)
						continue
					}
					return
				case errors.Is(err, io.EOF):
					return
				case errors.Is(err, ErrFrame):
					if a.Capabilities().Boundaries {
						continue
					}
					// Where the next frame would begin is not known any more.
					if _, err := a.TryReceive(nil); !errors.Is(err, ErrFrame) {
						t.Errorf("Receive after ErrFrame: %v, want ErrFrame", err)
					}
					if _, err := a.Receive(forever, nil); !errors.Is(err, ErrFrame) {
						t.Errorf("Receive after ErrFrame: %v, want ErrFrame", err)
					}
					return
				default:
					t.Errorf("hostile bytes end in %v", err)
					return
				}
			}
		})
		if err := a.Close(); err != nil {
			t.Errorf("Close after hostile bytes: %v", err)
		}
	})
}

func checkHostile(t testing.TB, c carrier) {
	a, _ := c.raw(t)
	for _, data := range hostileBytes(a.MaxMessage()) {
		ordeal(t, c, data)
	}
}

// checkPromises: a length costs the other process four bytes, so it must not cost this one
// the memory that it promises.
func checkPromises(t testing.TB, c carrier) {
	const most = 1 << 20
	first, _ := c.raw(t)
	for _, n := range []uint64{uint64(first.MaxMessage()), uint64(first.MaxMessage()) - 1, 1 << 24, 1<<31 - 1, 1 << 62} {
		for _, l := range lengths(n) {
			scope(t, func(t testing.TB) {
				a, write := c.raw(t)
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				_ = write(append(l, "no more than this"...))
				ctx, cancel := context.WithTimeout(context.Background(), 2*time.Millisecond)
				defer cancel()
				_, err := beginReceive(ctx, a).wait(t, "Receive of a broken promise")
				runtime.ReadMemStats(&after)
				if grown := after.TotalAlloc - before.TotalAlloc; grown > most {
					t.Errorf("% x: %d bytes were allocated (%v)", l, grown, err)
				}
			})
		}
	}
}

// FuzzHostileFrames sends its bytes through the kernel to each carrier that has a way in for
// them, and to the framers that are known.
func FuzzHostileFrames(f *testing.F) {
	for _, data := range hostileBytes(1 << 20) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			t.Skip("more than a pipe holds")
		}
		for name, decode := range framers {
			if err := decode(data); err != nil && !errors.Is(err, ErrFrame) && !errors.Is(err, io.EOF) {
				t.Errorf("%s: hostile bytes end in %v", name, err)
			}
		}
		for _, c := range carriers {
			if c.raw != nil {
				ordeal(t, c, data)
			}
		}
	})
}
