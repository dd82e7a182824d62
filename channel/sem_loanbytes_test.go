//go:build linux

package channel_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/channel"
)

// Loans of bytes, loans in traffic, and what they keep back.

func TestSemBytesBehindALoanComeBack(t *testing.T) {
	// While it lasts, a loan may keep back bytes that lie behind it; then not.
	for _, end := range []string{"commit", "abort"} {
		t.Run(end, func(t *testing.T) {
			const size, space = 100, 1000
			c := semNew[[]byte](t, 100, channel.MaxMessage(size), channel.Space(space))
			for round := range 10 {
				l := semReserve(t, c, size)
				went := 0
				for ; went < 50; went++ {
					if err := c.TrySend(semPattern[went : went+size]); err != nil {
						require.ErrorIs(t, err, channel.ErrFull)
						break
					}
					semWant(t, c, semPattern[went:went+size])
				}
				require.GreaterOrEqual(t, went, space/size-1, "round %d: what lies before the loan is free", round)
				sender := semSend(c, []byte("waited"))
				if end == "commit" {
					copy(*l.Value, semPattern[:size])
					require.NoError(t, l.Commit())
				} else {
					require.NoError(t, l.Abort())
				}
				want := []string{"waited"}
				if end == "commit" { // it is a message now, and lies where the loan lay
					want = append(want, string(semPattern[:size]))
					slices.Sort(want)
				}
				var got []string
				for range want {
					v, ok := c.Recv()
					require.True(t, ok)
					got = append(got, string(v))
				}
				slices.Sort(got)
				require.Equal(t, want, got)
				require.NoError(t, sender.wait())
				semDrained(t, c)

				for i := range space / size { // all bytes are back
					require.NoError(t, c.TrySend(semPattern[i:i+size]), "round %d, message %d", round, i)
				}
				for i := range space / size {
					semWant(t, c, semPattern[i:i+size])
				}
				semDrained(t, c)
			}
		})
	}
}

func TestSemBytesBehindAMessageInHandComeBack(t *testing.T) {
	semEachMode(t, func(t *testing.T, mode channel.Option) {
		const size, space = 100, 1000
		tx, rx := semConnect[[]byte](t, "New+FromFile", 100, mode, channel.MaxMessage(size), channel.Space(space))
		for range 5 {
			require.NoError(t, tx.Send(semPattern[:size]))
			inside, leave := make(chan struct{}), semNewGate(t)
			receiver := semStart(func() error {
				return rx.RecvFunc(func(v *[]byte) error {
					close(inside)
					leave.pass()
					if !bytes.Equal(*v, semPattern[:size]) {
						return errors.New("the message changed in hand")
					}
					return nil
				})
			})
			<-inside
			n := 0
			for ; tx.TrySend(semPattern[n:n+size]) == nil; n++ {
			}
			require.GreaterOrEqual(t, n, space/size-1)
			sender := semSend(tx, semPattern[1000:1000+size])
			sender.blocks(t, "Send while the bytes are full")
			leave.open()
			require.NoError(t, receiver.wait())
			require.NoError(t, sender.wait())
			for i := range n {
				semWant(t, rx, semPattern[i:i+size])
			}
			semWant(t, rx, semPattern[1000:1000+size])
			semDrained(t, rx)
		}
	})
}

func TestSemReserveWaitsForBytes(t *testing.T) {
	semEachMode(t, func(t *testing.T, mode channel.Option) {
		c := semNew[[]byte](t, 100, mode, channel.MaxMessage(100), channel.Space(100))
		held := semFillBytes(t, c, 100)
		reserver := semStart(func() error {
			l, err := c.Reserve() // 100 bytes
			if err != nil {
				return err
			}
			*l.Value = (*l.Value)[:copy(*l.Value, "lent")]
			return l.Commit()
		})
		reserver.blocks(t, "Reserve while the bytes are full")
		for range held {
			_, ok := c.Recv()
			require.True(t, ok)
		}
		require.NoError(t, reserver.wait())
		semWant(t, c, []byte("lent"))
		semDrained(t, c)
	})
}

// semFillBytes sends messages of size bytes until there is no more room for one,
// and says how many they were. There are places left.
func semFillBytes(t *testing.T, c *channel.Chan[[]byte], size int) int {
	t.Helper()
	n := 0
	for ; n < c.Cap(); n++ {
		if err := c.TrySend(semPattern[n : n+size]); err != nil {
			require.ErrorIs(t, err, channel.ErrFull)
			require.Positive(t, n)
			return n
		}
	}
	t.Fatalf("%d messages of %d bytes, and no end of Space", n, size)
	return n
}

func TestSemWhatALoanWasCutByIsFreeAgain(t *testing.T) {
	// Loans of the largest size, used for little, many times over: as many
	// messages fit in the end as if they had been sent so.
	semEachMode(t, func(t *testing.T, mode channel.Option) {
		const most = 1000
		c := semNew[[]byte](t, 100, mode, channel.MaxMessage(most), channel.Space(4*most))
		for lap := range 20 {
			for i := range 3 {
				l := semReserve(t, c)
				*l.Value = append((*l.Value)[:0], semPattern[i:i+10]...)
				require.NoError(t, l.Commit(), "lap %d", lap)
			}
			for i := range 3 {
				semWant(t, c, semPattern[i:i+10])
			}
		}
		semFill(t, c, semPattern[:most], semPattern[1:most+1], semPattern[2:most+2], semPattern[3:most+3])
	})
}

func TestSemLoansInTrafficLoseAndDoubleNothing(t *testing.T) {
	for _, capacity := range []int{0, 1, 2, 3, 8, 100} {
		t.Run(fmt.Sprintf("uint64/cap=%d", capacity), func(t *testing.T) {
			semLoanTraffic(t, capacity, nil, func(v uint64) uint64 { return v }, func(l *uint64, v uint64) { *l = v },
				func(v *uint64) uint64 { return *v })
		})
		t.Run(fmt.Sprintf("[]byte/cap=%d", capacity), func(t *testing.T) {
			opts := []channel.Option{channel.MaxMessage(64), channel.Space(200)}
			encode := func(v uint64) []byte {
				return append(binary.LittleEndian.AppendUint64(nil, v), semPattern[:v%50]...)
			}
			semLoanTraffic(t, capacity, opts, encode,
				func(l *[]byte, v uint64) { *l = (*l)[:copy(*l, encode(v))] },
				func(b *[]byte) uint64 {
					if len(*b) < 8 {
						t.Errorf("torn message %q", *b)
						return 0
					}
					v := binary.LittleEndian.Uint64(*b)
					if !bytes.Equal(*b, encode(v)) {
						t.Errorf("torn message %q", *b)
					}
					return v
				})
		})
	}
}

// semLoanTraffic has senders who lend, commit and abort, and receivers who
// accept and refuse.
func semLoanTraffic[T any](t *testing.T, capacity int, opts []channel.Option,
	encode func(uint64) T, write func(*T, uint64), read func(*T) uint64,
) {
	const parties = 3
	tx, rx := semConnect[T](t, "New+FromFile", capacity, opts...)
	each := semFewer(500)
	sent := make([][]uint64, parties)
	got := make([][]uint64, parties)
	var senders, receivers sync.WaitGroup
	for p := range parties {
		senders.Go(func() {
			r := semRand(uint64(p))
			for i := range each {
				v := semID(p, i)
				if r.IntN(4) == 0 {
					if err := tx.Send(encode(v)); err != nil {
						t.Errorf("Send: %v", err)
						return
					}
					sent[p] = append(sent[p], v)
					continue
				}
				l, err := tx.Reserve()
				if err != nil {
					t.Errorf("Reserve: %v", err)
					return
				}
				write(l.Value, v)
				if r.IntN(3) == 0 {
					runtime.Gosched()
				}
				if r.IntN(3) == 0 {
					if err := l.Abort(); err != nil {
						t.Errorf("Abort: %v", err)
					}
					continue
				}
				if err := l.Commit(); err != nil {
					t.Errorf("Commit: %v", err)
					return
				}
				sent[p] = append(sent[p], v)
			}
		})
		receivers.Go(func() {
			r := semRand(uint64(100 + p))
			for {
				var v uint64
				err := rx.RecvFunc(func(m *T) error {
					v = read(m)
					if r.IntN(5) == 0 {
						runtime.Gosched()
						return errSemRefused
					}
					return nil
				})
				switch {
				case err == nil:
					got[p] = append(got[p], v)
				case errors.Is(err, channel.ErrClosed):
					return
				case !errors.Is(err, errSemRefused):
					t.Errorf("RecvFunc: %v", err)
					return
				}
			}
		})
	}
	senders.Wait()
	require.NoError(t, tx.Close())
	receivers.Wait()
	for _, vs := range got {
		slices.Sort(vs) // what was refused may come late
	}
	semExact(t, sent, got)
	require.Zero(t, rx.Len())
	require.Zero(t, rx.Stats().Loans)
}
