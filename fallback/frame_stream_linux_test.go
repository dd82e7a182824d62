package fallback

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// streamTestFrame is a frame as it travels.
func streamTestFrame(msg []byte, files int, trailer byte) []byte {
	var h [frameAlign]byte
	putFrameHeader(&h, len(msg), files)
	f := append(append([]byte{}, h[:frameLead(len(msg))]...), msg...)
	f = append(f, make([]byte, frameTail(len(msg)))...)
	f[len(f)-1] = trailer
	return f
}

func TestFrameHeaderSaysWhatWasPut(t *testing.T) {
	for _, length := range []int{0, 1, 255, 256, largeFrame - 1, largeFrame, 1 << 20, frameMost} {
		for _, files := range []int{0, 1, MaxRights, 255} {
			var h [frameAlign]byte
			putFrameHeader(&h, length, files)
			gotLength, gotFiles, whole, err := readFrameHeader(h[:], frameMost)
			require.NoError(t, err)
			require.True(t, whole)
			require.Equal(t, [2]int{length, files}, [2]int{gotLength, gotFiles})
			for n := range frameHeader {
				_, _, whole, err = readFrameHeader(h[:n], frameMost)
				require.NoError(t, err)
				require.False(t, whole)
			}
			if length > 0 {
				_, _, _, err = readFrameHeader(h[:], length-1)
				require.ErrorIs(t, err, ErrFrame, "too long")
			}
			for bit := range 8 * frameHeader {
				flipped := h
				flipped[bit/8] ^= 1 << (bit % 8)
				_, _, _, err = readFrameHeader(flipped[:], frameMost)
				require.ErrorIs(t, err, ErrFrame, "bit %d of length %d, files %d", bit, length, files)
			}
		}
	}
}

func TestFrameOfALargePayloadIsAligned(t *testing.T) {
	for length := largeFrame; length < largeFrame+2*frameAlign; length++ {
		require.Zero(t, frameLead(length)%frameAlign)
		require.Zero(t, (frameLead(length)+length+frameTail(length))%frameAlign)
		require.Positive(t, frameTail(length))
	}
	require.Equal(t, frameHeader+1, frameLead(largeFrame-1)+frameTail(largeFrame-1))
}

// However the kernel cuts the bytes, and whatever receivers give up in between, what comes
// is what was committed, in order.
func TestFramesArriveWholeHoweverTheyAreCut(t *testing.T) {
	for _, exact := range []bool{false, true} {
		for seed := range uint64(12) {
			r := rand.New(rand.NewPCG(seed, 7))
			c, other := streamTestEnd(t)
			if exact {
				_, err := RawConn(c)
				require.NoError(t, err)
			}
			sizes := []int{0, 1, 50, 2040, largeFrame - 1, largeFrame, largeFrame + 1, 5000, 60_000, windowMost, windowMost + 1, readAhead, 200_000}
			var wire []byte
			var want [][]byte
			for range 60 {
				msg := make([]byte, sizes[r.IntN(len(sizes))])
				for i := range msg {
					msg[i] = byte(r.Uint32())
				}
				if r.IntN(4) == 0 {
					wire = append(wire, streamTestFrame(msg, 0, frameAbort)...)
					continue
				}
				wire = append(wire, streamTestFrame(msg, 0, frameCommit)...)
				want = append(want, msg)
			}
			wire = append(wire, streamTestFrame(make([]byte, 5000), 0, frameCommit)[:r.IntN(5000)]...) // cut short
			go func() {
				w := rand.New(rand.NewPCG(seed, 8))
				for len(wire) > 0 {
					n := min(len(wire), 1+[]int{w.IntN(3), w.IntN(100), w.IntN(9000), w.IntN(100_000)}[w.IntN(4)])
					if _, err := other.Write(wire[:n]); err != nil {
						return
					}
					wire = wire[n:]
				}
				other.Close()
			}()
			for i := 0; ; {
				prefix := []byte("before")[:r.IntN(7)]
				dst := append(make([]byte, 0, len(prefix)+[]int{0, 10, 5000, 70_000, 300_000}[r.IntN(5)]), prefix...)
				var got []byte
				var err error
				switch r.IntN(3) {
				case 0:
					got, err = c.TryReceive(dst)
				case 1:
					got, err = c.Receive(context.Background(), dst)
				case 2:
					ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.IntN(50))*time.Microsecond)
					got, err = c.Receive(ctx, dst)
					cancel()
				}
				if errors.Is(err, ErrWouldBlock) || errors.Is(err, context.DeadlineExceeded) {
					require.Equal(t, prefix, got)
					continue
				}
				if errors.Is(err, io.EOF) {
					require.Equal(t, prefix, got)
					require.Equal(t, len(want), i, "messages")
					break
				}
				require.NoError(t, err)
				require.Less(t, i, len(want))
				require.True(t, bytes.HasPrefix(got, prefix))
				require.True(t, bytes.Equal(want[i], got[len(prefix):]), "message %d of %d bytes", i, len(want[i]))
				i++
			}
		}
	}
}
