//go:build linux

package channel_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/channel"
)

// MaxMessage, Space and WithCodec.

func TestSemAMessageOverMaxMessageIsNotSent(t *testing.T) {
	semEach(t, semModes, []int{0, 1, 10}, func(t *testing.T, s semShape) {
		const most = 100
		tx, rx := semMake[[]byte](t, s, channel.MaxMessage(most))
		name := tx.Name()
		for _, size := range []int{most + 1, 2 * most, 1 << 20} {
			large := make([]byte, size)
			semIs(t, tx.Send(large), channel.ErrTooLarge, "send", name)
			semIs(t, tx.TrySend(large), channel.ErrTooLarge, "send", name)
			semIs(t, tx.SendContext(context.Background(), large), channel.ErrTooLarge, "send", name)
			n, err := tx.SendBatch([][]byte{large})
			semIs(t, err, channel.ErrTooLarge, "send", name)
			require.Zero(t, n)
			_, err = tx.Reserve(size)
			semIs(t, err, channel.ErrTooLarge, "reserve", name)
			semDrained(t, rx)
		}
		for range 3 { // the largest that is allowed
			sender := semSend(tx, semPattern[:most])
			v, ok := rx.Recv()
			require.True(t, ok)
			require.Equal(t, semPattern[:most], v)
			require.NoError(t, sender.wait())
		}
	})
}

func TestSemABatchStopsBeforeAMessageThatIsTooLarge(t *testing.T) {
	semEachMode(t, func(t *testing.T, mode channel.Option) {
		c := semNew[string](t, 10, mode, channel.MaxMessage(5))
		n, err := c.SendBatch([]string{"a", "bb", "six...", "d"})
		require.ErrorIs(t, err, channel.ErrTooLarge)
		require.Equal(t, 2, n)
		semWant(t, c, "a")
		semWant(t, c, "bb")
		semDrained(t, c)
	})
}

func TestSemMaxMessageLimitsWhatTheCodecMade(t *testing.T) {
	// the value is small, its encoding is not
	c := semNew[semRecord](t, 4, channel.MaxMessage(200))
	require.ErrorIs(t, c.TrySend(semRecord{Name: strings.Repeat("x", 300)}), channel.ErrTooLarge)
	semFill(t, c, semRecord{ID: 1, Name: strings.Repeat("x", 50)})
	v, err := c.TryRecv()
	require.NoError(t, err)
	require.Len(t, v.Name, 50)
}

func TestSemMaxMessageIs64KiBUnlessTold(t *testing.T) {
	require.Equal(t, 64<<10, channel.DefaultMaxMessage)
	for _, mode := range semModes {
		c := semNew[[]byte](t, 2, mode.opt)
		require.NoError(t, c.TrySend(make([]byte, 64<<10)))
		require.ErrorIs(t, c.TrySend(make([]byte, 64<<10+1)), channel.ErrTooLarge)
		v, err := c.TryRecv()
		require.NoError(t, err)
		require.Len(t, v, 64<<10)
	}
}

func TestSemAPlainTHasNoMaxMessage(t *testing.T) {
	c := semNew[semHuge](t, 2, channel.MaxMessage(8))
	semFill(t, c, semHuges.gen(3))
	semWant(t, c, semHuges.gen(3))
}

func TestSemEmptyMessagesAreMessages(t *testing.T) {
	semEach(t, semModes, []int{0, 1, 10, 1000}, func(t *testing.T, s semShape) {
		tx, rx := semMake[[]byte](t, s, channel.MaxMessage(8), channel.Space(8))
		for i := range s.capacity {
			require.NoError(t, tx.TrySend(nil), "message %d: it takes no bytes", i)
		}
		require.ErrorIs(t, tx.TrySend([]byte{}), channel.ErrFull)
		sender := semSend(tx, []byte{})
		for range s.capacity + 1 {
			v, ok := rx.Recv()
			require.True(t, ok)
			require.Empty(t, v)
		}
		require.NoError(t, sender.wait())
		semDrained(t, rx)
	})
}

func TestSemManySmallMessagesShareASmallSpace(t *testing.T) {
	// At one MaxMessage each they would need 256 MiB.
	semEachMode(t, func(t *testing.T, mode channel.Option) {
		const capacity, size = 4096, 32
		c := semNew[[]byte](t, capacity, mode, channel.Space(256<<10))
		for range 2 {
			for i := range capacity {
				require.NoError(t, c.TrySend(semPattern[i:i+size]), "message %d of %d", i, capacity)
			}
			require.ErrorIs(t, c.TrySend(nil), channel.ErrFull)
			for i := range capacity {
				semWant(t, c, semPattern[i:i+size])
			}
		}
	})
}

func TestSemSpaceIsWhatMessagesMayFill(t *testing.T) {
	// Places for 100, bytes for 10: from an empty channel ten go in, and the
	// bytes of one that is taken serve for another.
	semEachMode(t, func(t *testing.T, mode channel.Option) {
		const size = 100
		c := semNew[[]byte](t, 100, mode, channel.MaxMessage(size), channel.Space(10*size))
		held := 0
		for ; c.TrySend(semPattern[held:held+size]) == nil; held++ {
		}
		require.GreaterOrEqual(t, held, 10, "Space is 10 messages of %d bytes", size)
		require.LessOrEqual(t, held, 20, "Space is 10 messages of %d bytes", size)
		semIs(t, c.TrySend(semPattern[:size]), channel.ErrFull)
		require.Equal(t, held, c.Len())

		sender := semSend(c, semPattern[1000:1000+size])
		sender.blocks(t, "Send while the bytes are full")
		semWant(t, c, semPattern[:size])
		require.NoError(t, sender.wait())
		for i := 1; i < held; i++ {
			semWant(t, c, semPattern[i:i+size])
		}
		semWant(t, c, semPattern[1000:1000+size])
		semDrained(t, c)
	})
}

func TestSemAnEmptyChannelTakesAnyMessageHoweverItsSpaceLies(t *testing.T) {
	// Space for one message only, and messages of all sizes: wherever the last
	// one ended, the next must fit.
	for _, most := range []int{1, 2, 7, 8, 9, 63, 100, 257} {
		for _, mode := range semModes {
			t.Run(fmt.Sprintf("%s/MaxMessage=%d", mode.name, most), func(t *testing.T) {
				c := semNew[[]byte](t, 4, mode.opt, channel.MaxMessage(most), channel.Space(most))
				r := semRand(uint64(most))
				for i := range 600 {
					size := r.IntN(most + 1)
					if i%3 == 0 {
						size = most
					}
					v := semPattern[i : i+size]
					require.NoError(t, c.TrySend(v), "message %d of %d bytes, nothing else is there", i, size)
					semWant(t, c, v)
				}
			})
		}
	}
}

func TestSemASpaceBelowMaxMessageIsRaisedToIt(t *testing.T) {
	for _, mode := range semModes {
		c := semNew[[]byte](t, 2, mode.opt, channel.MaxMessage(1000), channel.Space(1))
		for range 5 {
			semFill(t, c, semPattern[:1000])
			semWant(t, c, semPattern[:1000])
		}
	}
}

func TestSemSendWaitsForBytesAndGoesOnWhenTheyAreFreed(t *testing.T) {
	semEachMode(t, func(t *testing.T, mode channel.Option) {
		const n = 3000
		c := semNew[[]byte](t, 64, mode, channel.MaxMessage(700), channel.Space(1500))
		size := func(i int) int { return (i*37 + i*i%101*7) % 701 }
		sender := semStart(func() error {
			for i := range n {
				if err := c.Send(semPattern[i : i+size(i)]); err != nil {
					return fmt.Errorf("message %d: %w", i, err)
				}
			}
			return c.Close()
		})
		i := 0
		for v := range c.All() {
			if !bytes.Equal(v, semPattern[i:i+size(i)]) {
				t.Fatalf("message %d of %d bytes came as %d others", i, size(i), len(v))
			}
			i++
		}
		require.Equal(t, n, i)
		require.NoError(t, sender.wait())
	})
}

func TestSemABatchWaitsForBytes(t *testing.T) {
	semEachMode(t, func(t *testing.T, mode channel.Option) {
		const n = 500
		c := semNew[[]byte](t, 1000, mode, channel.MaxMessage(300), channel.Space(1000))
		vs := make([][]byte, n)
		for i := range vs {
			vs[i] = semPattern[i : i+i*7%301]
		}
		batch := semStart(func() semGot[int] { k, err := c.SendBatch(vs); return semGot[int]{k, err} })
		batch.blocks(t, "SendBatch of more than Space")
		for got := 0; got < n; {
			buf := make([][]byte, 20)
			k, err := c.RecvBatch(buf)
			require.NoError(t, err)
			for _, v := range buf[:k] {
				require.Equal(t, vs[got], v)
				got++
			}
		}
		require.Equal(t, semGot[int]{n, nil}, batch.wait())
	})
}

func TestSemManySendersAndReceiversShareLittleSpace(t *testing.T) {
	const parties = 3
	c := semNew[[]byte](t, 16, channel.MaxMessage(200), channel.Space(500))
	each := semFewer(1500)
	var senders, receivers []*semTask[error]
	seen := make([][]bool, parties)
	counts := make(chan [2]int, parties*each)
	for p := range parties {
		seen[p] = make([]bool, each)
		senders = append(senders, semStart(func() error {
			for i := range each {
				msg := append([]byte(fmt.Sprintf("%d %d ", p, i)), semPattern[:(i*31+p)%150]...)
				if err := c.Send(msg); err != nil {
					return err
				}
			}
			return nil
		}))
		receivers = append(receivers, semStart(func() error {
			for v := range c.All() {
				var id [2]int
				if _, err := fmt.Sscanf(string(v), "%d %d ", &id[0], &id[1]); err != nil {
					return fmt.Errorf("%q: %w", v, err)
				}
				body := v[len(fmt.Sprintf("%d %d ", id[0], id[1])):]
				if !bytes.Equal(body, semPattern[:(id[1]*31+id[0])%150]) {
					return fmt.Errorf("message %v is torn: %q", id, body)
				}
				counts <- id
			}
			return c.Err()
		}))
	}
	for _, k := range senders {
		require.NoError(t, k.wait())
	}
	require.NoError(t, c.Close())
	for _, k := range receivers {
		require.NoError(t, k.wait())
	}
	close(counts)
	n := 0
	for id := range counts {
		require.False(t, seen[id[0]][id[1]], "message %v came twice", id)
		seen[id[0]][id[1]] = true
		n++
	}
	require.Equal(t, parties*each, n)
}

// semCaesar encodes a string with each byte shifted.
type semCaesar struct{ shift byte }

var errSemCodec = errors.New("the codec does not like it")

func (k semCaesar) Append(dst []byte, v string) ([]byte, error) {
	if v == "bad" {
		return append(dst, "half"...), errSemCodec
	}
	for i := range len(v) {
		dst = append(dst, v[i]+k.shift)
	}
	return dst, nil
}

func (k semCaesar) Decode(src []byte, v *string) error {
	out := make([]byte, len(src))
	for i, b := range src {
		out[i] = b - k.shift
	}
	if string(out) == "undecodable" {
		return errSemCodec
	}
	*v = string(out)
	return nil
}

func TestSemWithCodecReplacesTheEncoding(t *testing.T) {
	semEach(t, semModes, []int{0, 1, 10}, func(t *testing.T, s semShape) {
		tx, rx := semMake[string](t, s, channel.WithCodec(semCaesar{3}))
		for i := range 30 {
			v := fmt.Sprint("text ", i)
			sender := semSend(tx, v)
			var got string
			var err error
			if i%2 == 0 {
				got, err = rx.RecvContext(context.Background())
			} else {
				err = rx.RecvFunc(func(p *string) error { got = *p; return nil })
			}
			require.NoError(t, err)
			require.Equal(t, v, got)
			require.NoError(t, sender.wait())
		}
		require.ErrorIs(t, tx.Send("bad"), errSemCodec)
		require.ErrorIs(t, tx.TrySend("bad"), errSemCodec)
		n, err := tx.SendBatch([]string{"bad"})
		require.ErrorIs(t, err, errSemCodec)
		require.Zero(t, n)
		semDrained(t, rx)
	})
}

func TestSemWithCodecServesAPlainTAndOneThatCouldNotCrossAlone(t *testing.T) {
	c := semNew[uint64](t, 2, channel.WithCodec(semDecimal{}), channel.MaxMessage(4))
	semFill(t, c, 12, 9999)
	require.ErrorIs(t, c.TrySend(12345), channel.ErrTooLarge, "five digits")
	semWant(t, c, uint64(12))
	semWant(t, c, uint64(9999))
}

// semDecimal writes a number as its digits.
type semDecimal struct{}

func (semDecimal) Append(dst []byte, v uint64) ([]byte, error) { return fmt.Append(dst, v), nil }

func (semDecimal) Decode(src []byte, v *uint64) error {
	_, err := fmt.Sscan(string(src), v)
	return err
}

func TestSemACodecOfAnotherTIsRefused(t *testing.T) {
	c, err := channel.New[int](1, channel.WithCodec(semCaesar{}))
	if err == nil {
		c.Detach()
	}
	semSays(t, err, "new", "codec")
}

func TestSemAMessageThatCannotBeDecodedIsAnError(t *testing.T) {
	// and does not stop those behind it
	semEachMode(t, func(t *testing.T, mode channel.Option) {
		c := semNew[string](t, 4, mode, channel.WithCodec(semCaesar{1}))
		semFill(t, c, "undecodable", "fine")
		_, err := c.TryRecv()
		require.ErrorIs(t, err, errSemCodec)
		semDrainTo(t, c, "fine")
	})
}

// semDrainTo receives until v comes, past at most a few errors.
func semDrainTo(t *testing.T, c *channel.Chan[string], v string) {
	t.Helper()
	var err error
	for range 5 {
		var got string
		if got, err = c.TryRecv(); err == nil {
			require.Equal(t, v, got)
			return
		}
	}
	t.Fatalf("%q never came: %v", v, err)
}
