//go:build linux

package channel_test

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/channel"
)

func semReserve[T any](t testing.TB, c *channel.Chan[T], size ...int) channel.Loan[T] {
	t.Helper()
	l, err := c.Reserve(size...)
	require.NoError(t, err)
	require.NotNil(t, l.Value)
	return l
}

func semLend(t testing.TB, c *channel.Chan[uint64], v uint64) channel.Loan[uint64] {
	t.Helper()
	l := semReserve(t, c)
	*l.Value = v
	return l
}

func TestSemALoanIsSentWhenItIsCommitted(t *testing.T) {
	semEach(t, semModes, []int{1, 2, 10, 1000}, func(t *testing.T, s semShape) {
		tx, rx := semMake[uint64](t, s)
		for i := range uint64(2*s.capacity + 3) {
			l := semLend(t, tx, i)
			require.Zero(t, rx.Len(), "a loan does not count")
			semDrained(t, rx)
			require.NoError(t, l.Commit())
			require.Equal(t, 1, rx.Len())
			semWant(t, rx, i)
		}
	})
}

func TestSemLoansComeInTheOrderOfTheirCommits(t *testing.T) {
	for _, way := range semWays {
		t.Run(way, func(t *testing.T) {
			tx, rx := semConnect[uint64](t, way, 10)
			orders := [][]int{{0, 1, 2, 3}, {3, 2, 1, 0}, {2, 0, 3, 1}}
			for _, order := range orders {
				var loans []channel.Loan[uint64]
				for i := range order {
					loans = append(loans, semLend(t, tx, uint64(i)))
				}
				require.NoError(t, tx.Send(100)) // sent before any of them
				for k, i := range order {
					require.NoError(t, loans[i].Commit())
					require.Equal(t, k+2, rx.Len())
				}
				require.NoError(t, tx.Send(101))
				semWant(t, rx, uint64(100))
				for _, i := range order {
					semWant(t, rx, uint64(i))
				}
				semWant(t, rx, uint64(101))
				semDrained(t, rx)
			}
		})
	}
}

func TestSemALoanTakesOneOfTheCapacitysPlaces(t *testing.T) {
	for _, capacity := range []int{1, 2, 3, 8, 1000} {
		t.Run(fmt.Sprintf("cap=%d", capacity), func(t *testing.T) {
			c := semNew[uint64](t, capacity)
			for lap := range 3 {
				lent := min(capacity, 1+lap*3)
				var loans []channel.Loan[uint64]
				for range lent {
					loans = append(loans, semLend(t, c, 9))
				}
				for i := range uint64(capacity - lent) {
					require.NoError(t, c.TrySend(i))
				}
				require.ErrorIs(t, c.TrySend(0), channel.ErrFull)
				require.Equal(t, capacity-lent, c.Len())
				sender := semSend(c, 50)
				reserver := semStart(func() error {
					l, err := c.Reserve()
					if err != nil {
						return err
					}
					*l.Value = 51
					return l.Commit()
				})
				sender.blocks(t, "Send with every place lent or full")
				reserver.blocks(t, "Reserve with every place lent or full")

				require.NoError(t, loans[0].Abort()) // one waiter goes on
				for _, l := range loans[1:] {
					require.NoError(t, l.Abort())
				}
				for i := range uint64(capacity - lent) {
					v, ok := c.Recv()
					require.True(t, ok)
					require.Equal(t, i, v)
				}
				a, ok := c.Recv()
				require.True(t, ok)
				b, ok := c.Recv()
				require.True(t, ok)
				require.Equal(t, uint64(101), a+b)
				require.NoError(t, sender.wait())
				require.NoError(t, reserver.wait())
				semDrained(t, c)
			}
		})
	}
}

func TestSemAnAbortedLoanNeverComes(t *testing.T) {
	semEach(t, semModes, []int{1, 3, 1000}, func(t *testing.T, s semShape) {
		tx, rx := semMake[uint64](t, s)
		for i := range uint64(3*s.capacity + 10) {
			require.NoError(t, semLend(t, tx, 666).Abort())
			require.Zero(t, rx.Len())
			require.NoError(t, tx.TrySend(i), "the place is free again")
			semWant(t, rx, i)
		}
		semDrained(t, rx)
	})
}

func TestSemALoanEndsOnce(t *testing.T) {
	semEachMode(t, func(t *testing.T, mode channel.Option) {
		c := semNew[uint64](t, 2, mode)
		l := semLend(t, c, 1)
		twin := l
		require.NoError(t, l.Commit())
		require.Error(t, l.Commit())
		require.Error(t, l.Abort())
		require.Error(t, twin.Commit(), "a copy is the same loan")
		require.Error(t, twin.Abort())
		require.Equal(t, 1, c.Len())
		semWant(t, c, uint64(1))

		// the place is lent anew: the old loan has no say in it
		for i := range uint64(10) {
			next := semLend(t, c, i)
			require.Error(t, l.Commit())
			require.Error(t, l.Abort())
			require.Zero(t, c.Len())
			if i%2 == 0 {
				require.NoError(t, next.Commit())
				semWant(t, c, i)
			} else {
				require.NoError(t, next.Abort())
			}
			require.Error(t, next.Abort())
			require.Error(t, next.Commit())
			semDrained(t, c)
		}
		var none channel.Loan[uint64]
		require.Error(t, none.Commit())
		require.Error(t, none.Abort())
	})
}

func TestSemOfCommitsAndAbortsAtOnceOneWins(t *testing.T) {
	c := semNew[uint64](t, 2)
	for i := range uint64(semFewer(1000)) {
		l := semLend(t, c, i)
		committed := semStart(l.Commit)
		again := semStart(l.Commit)
		aborted := l.Abort()
		wins := 0
		for _, err := range []error{committed.wait(), again.wait(), aborted} {
			if err == nil {
				wins++
			}
		}
		require.Equal(t, 1, wins)
		if aborted == nil {
			semDrained(t, c)
		} else {
			semWant(t, c, i)
			semDrained(t, c)
		}
	}
}

// semHold is what stands still in a channel while others go on.
var semHolds = []struct {
	name    string
	lend    bool
	receive bool
}{
	{"a loan", true, false},
	{"a RecvFunc", false, true},
	{"a loan and a RecvFunc", true, true},
}

func TestSemAHeldPlaceHoldsUpNobodyElse(t *testing.T) {
	for _, capacity := range []int{1, 2, 3, 8, 1000} {
		for _, hold := range semHolds {
			for _, way := range []string{"New", "Create+Attach"} {
				t.Run(fmt.Sprintf("cap=%d/%s/%s", capacity, hold.name, way), func(t *testing.T) {
					tx, rx := semConnect[uint64](t, way, capacity)
					free := capacity
					var loan channel.Loan[uint64]
					var receiver *semTask[error]
					leave := semNewGate(t)
					if hold.receive {
						free--
						require.NoError(t, tx.Send(7))
						inside := make(chan struct{})
						receiver = semStart(func() error {
							return rx.RecvFunc(func(v *uint64) error {
								close(inside)
								leave.pass()
								if *v != 7 {
									return fmt.Errorf("what I held became %d", *v)
								}
								return nil
							})
						})
						<-inside
					}
					if hold.lend && free > 0 {
						free--
						loan = semLend(t, tx, 8)
					}
					if free == 0 {
						require.ErrorIs(t, tx.TrySend(1), channel.ErrFull)
						_, err := rx.TryRecv()
						require.ErrorIs(t, err, channel.ErrEmpty)
					} else {
						semLaps(t, tx, rx, free)
					}
					if loan.Value != nil {
						require.Equal(t, uint64(8), *loan.Value)
						require.NoError(t, loan.Commit())
						semWant(t, rx, uint64(8))
					}
					if receiver != nil {
						leave.open()
						require.NoError(t, receiver.wait())
					}
					// all places are back
					for i := range capacity {
						require.NoError(t, tx.TrySend(uint64(i)))
					}
					require.ErrorIs(t, tx.TrySend(0), channel.ErrFull)
				})
			}
		}
	}
}

// semLaps sends and receives for many laps, blocking, trying and in full
// batches, in a channel with that many places free.
func semLaps(t *testing.T, tx, rx *channel.Chan[uint64], free int) {
	t.Helper()
	n := uint64(semFewer(2000) + 5*free)
	sender := semStart(func() error {
		for i := range n {
			if err := tx.Send(i); err != nil {
				return err
			}
		}
		return nil
	})
	for i := range n {
		v, ok := rx.Recv()
		require.True(t, ok)
		require.Equal(t, i, v)
	}
	require.NoError(t, sender.wait())
	inHand := rx.Len() // whether Len counts what a RecvFunc holds is left open
	require.LessOrEqual(t, inHand, 1)
	for range 3 {
		for i := range uint64(free) {
			require.NoError(t, tx.TrySend(i))
			require.Equal(t, inHand+int(i)+1, rx.Len())
		}
		require.ErrorIs(t, tx.TrySend(0), channel.ErrFull)
		for i := range uint64(free) {
			semWant(t, rx, i)
		}
		_, err := rx.TryRecv()
		require.ErrorIs(t, err, channel.ErrEmpty)
	}
}

func TestSemManyLoansHoldUpNobodyElse(t *testing.T) {
	// all places but one are lent, and ended in no order while others go on
	const capacity = 40
	c := semNew[uint64](t, capacity)
	r := semRand(3)
	for range 20 {
		var loans []channel.Loan[uint64]
		for range capacity - 1 {
			loans = append(loans, semLend(t, c, semID(1, 0)))
		}
		r.Shuffle(len(loans), func(i, k int) { loans[i], loans[k] = loans[k], loans[i] })
		for i, l := range loans {
			v := semID(0, i)
			require.NoError(t, c.TrySend(v))
			if i%2 == 0 {
				require.NoError(t, l.Abort())
				semWant(t, c, v)
			} else {
				require.NoError(t, l.Commit())
				semWant(t, c, v)
				semWant(t, c, semID(1, 0))
			}
			semDrained(t, c)
		}
	}
}

func TestSemALoanOfBytesHasTheSizeAskedFor(t *testing.T) {
	semEach(t, semModes, []int{1, 3, 100}, func(t *testing.T, s semShape) {
		const most = 200
		tx, rx := semMake[[]byte](t, s, channel.MaxMessage(most))
		for i := range 3 * s.capacity {
			size := i * 13 % (most + 1)
			l := semReserve(t, tx, size)
			require.Len(t, *l.Value, size)
			copy(*l.Value, semPattern[i:])
			require.NoError(t, l.Commit())
			semWant(t, rx, semPattern[i:i+size])

			l = semReserve(t, tx) // no size: the largest
			require.Len(t, *l.Value, most)
			*l.Value = (*l.Value)[:copy(*l.Value, semPattern[i:i+size])]
			require.NoError(t, l.Commit())
			semWant(t, rx, semPattern[i:i+size])

			l = semReserve(t, tx, size)
			*l.Value = append((*l.Value)[:0], semPattern[i:i+size/2]...)
			require.NoError(t, l.Commit())
			semWant(t, rx, semPattern[i:i+size/2])
		}
		_, err := tx.Reserve(most + 1)
		require.ErrorIs(t, err, channel.ErrTooLarge)
		_, err = tx.Reserve(-1)
		require.Error(t, err)
		require.NoError(t, semReserve(t, tx, most).Abort())
		semDrained(t, rx)
	})
}

func TestSemALoanOfBytesCannotReachItsNeighbours(t *testing.T) {
	semEachMode(t, func(t *testing.T, mode channel.Option) {
		c := semNew[[]byte](t, 8, mode, channel.MaxMessage(64), channel.Space(512))
		for range 20 {
			before, after := semPattern[10:30], semPattern[50:80]
			semFill(t, c, before)
			l := semReserve(t, c, 12)
			require.Equal(t, len(*l.Value), cap(*l.Value), "append must not write behind the loan")
			over := append(*l.Value, semPattern[:40]...)
			require.Len(t, over, 52)
			copy(*l.Value, "twelve bytes")
			require.NoError(t, l.Commit())
			semFill(t, c, after)
			semWant(t, c, before)
			semWant(t, c, []byte("twelve bytes"))
			semWant(t, c, after)
		}
	})
}

func TestSemALoanWhoseSliceWasReplacedComesWholeOrFails(t *testing.T) {
	semEachMode(t, func(t *testing.T, mode channel.Option) {
		for _, v := range [][]byte{nil, {}, []byte("short"), semPattern[:64], semPattern[:1000]} {
			c := semNew[[]byte](t, 2, mode, channel.MaxMessage(64))
			l := semReserve(t, c, 20)
			*l.Value = v
			if err := l.Commit(); err == nil {
				require.LessOrEqual(t, len(v), 64)
				got, err := c.TryRecv()
				require.NoError(t, err)
				require.Equal(t, string(v), string(got))
			} else {
				l.Abort()
				semDrained(t, c)
			}
			semFill(t, c, []byte("a"), []byte("b"))
		}
	})
}

func TestSemOtherEncodedValuesHaveNoLoans(t *testing.T) {
	semNoLoans[string](t)
	semNoLoans[semRecord](t)
	semNoLoans[map[string]int](t)
	semNoLoans[semSecret](t)
}

func semNoLoans[T any](t *testing.T) {
	semEachMode(t, func(t *testing.T, mode channel.Option) {
		for _, capacity := range []int{0, 2} {
			c := semNew[T](t, capacity, mode)
			_, err := c.Reserve()
			semIs(t, err, errors.ErrUnsupported, "reserve")
			_, err = c.Reserve(10)
			require.ErrorIs(t, err, errors.ErrUnsupported)
			if capacity > 0 {
				var v T
				semFill(t, c, v, v) // no place was taken
			}
		}
	})
}

func TestSemARendezvousCommitBlocksUntilAReceiverHasTheValue(t *testing.T) {
	semEachMeeting(t, semModes, func(t *testing.T, tx, rx *channel.Chan[uint64]) {
		for i := range uint64(20) {
			l := semLend(t, tx, i)
			commit := semStart(l.Commit)
			commit.blocks(t, "Commit without a receiver")
			v, ok := rx.Recv()
			require.True(t, ok)
			require.Equal(t, i, v)
			require.NoError(t, commit.wait())
			require.Error(t, l.Commit())

			require.NoError(t, semLend(t, tx, 666).Abort())
			semDrained(t, rx)
		}
	})
}

func TestSemARendezvousLoanHoldsUpNobodyElse(t *testing.T) {
	semEachMeeting(t, []semMode{semMPMC}, func(t *testing.T, tx, rx *channel.Chan[uint64]) {
		l := semLend(t, tx, 1000)
		for i := range uint64(100) {
			sender := semSend(tx, i)
			v, ok := rx.Recv()
			require.True(t, ok)
			require.Equal(t, i, v)
			require.NoError(t, sender.wait())
		}
		commit := semStart(l.Commit)
		v, ok := rx.Recv()
		require.True(t, ok)
		require.Equal(t, uint64(1000), v)
		require.NoError(t, commit.wait())
	})
}

func TestSemSPSCHasOneLoanAndNoSendMeanwhile(t *testing.T) {
	semEach(t, []semMode{semSPSC}, []int{1, 2, 10}, func(t *testing.T, s semShape) {
		tx, rx := semMake[uint64](t, s)
		for i := range uint64(20) {
			l := semLend(t, tx, i)
			_, err := tx.Reserve()
			require.ErrorIs(t, err, channel.ErrBusy)
			require.ErrorIs(t, tx.Send(1), channel.ErrBusy)
			require.ErrorIs(t, tx.TrySend(1), channel.ErrBusy)
			n, err := tx.SendBatch([]uint64{1, 2})
			require.ErrorIs(t, err, channel.ErrBusy)
			require.Zero(t, n)
			if i%2 == 0 {
				require.NoError(t, l.Commit())
				semWant(t, rx, i)
			} else {
				require.NoError(t, l.Abort())
			}
			require.NoError(t, tx.Send(i))
			semWant(t, rx, i)
			semDrained(t, rx)
		}
	})
}

func TestSemSPSCReceiverGoesOnWhileALoanIsOut(t *testing.T) {
	c := semNew[uint64](t, 4, channel.SPSC())
	semFill(t, c, 1, 2, 3)
	l := semLend(t, c, 4)
	for i := range uint64(3) {
		semWant(t, c, i+1)
	}
	semDrained(t, c)
	require.NoError(t, l.Commit())
	semWant(t, c, uint64(4))
}

func TestSemDetachAbortsLoans(t *testing.T) {
	for _, mode := range semModes {
		t.Run(mode.name, func(t *testing.T) {
			name := uniqueName(t)
			other := semCreate[uint64](t, name, 2, mode.opt)
			mine := semAttach[uint64](t, name)
			l := semLend(t, mine, 1)
			if mode.name == "MPMC" {
				second := semLend(t, mine, 2)
				require.ErrorIs(t, other.TrySend(3), channel.ErrFull)
				require.NoError(t, mine.Detach())
				require.ErrorIs(t, second.Commit(), channel.ErrDetached)
			} else {
				require.NoError(t, mine.Detach())
			}
			require.ErrorIs(t, l.Commit(), channel.ErrDetached)
			require.ErrorIs(t, l.Abort(), channel.ErrDetached)
			semDrained(t, other)
			semFill(t, other, 10, 11)
			require.ErrorIs(t, other.TrySend(12), channel.ErrFull)
			semWant(t, other, uint64(10))
			semWant(t, other, uint64(11))
			semDrained(t, other)
		})
	}
}

func TestSemDetachOfALenderWakesWhoWaitsForItsPlace(t *testing.T) {
	name := uniqueName(t)
	other := semCreate[uint64](t, name, 1)
	mine := semAttach[uint64](t, name)
	semLend(t, mine, 1)
	sender := semSend(other, 2)
	sender.blocks(t, "Send while the only place is lent")
	require.NoError(t, mine.Detach())
	require.NoError(t, sender.wait())
	semWant(t, other, uint64(2))
}

func TestSemALoanOnAClosedChannelCannotBeCommitted(t *testing.T) {
	semEachMode(t, func(t *testing.T, mode channel.Option) {
		for _, capacity := range []int{0, 1, 3} {
			c := semNew[uint64](t, capacity, mode)
			l := semLend(t, c, 1)
			require.NoError(t, c.Close())
			require.ErrorIs(t, l.Commit(), channel.ErrClosed)
			semEnded(t, c, nil) // it neither comes nor keeps receivers waiting
			_, err := c.Reserve()
			require.ErrorIs(t, err, channel.ErrClosed)
		}
	})
}

func TestSemACommittedLoanWakesAReceiver(t *testing.T) {
	semEachMode(t, func(t *testing.T, mode channel.Option) {
		c := semNew[uint64](t, 1, mode)
		receiver := semRecv(c)
		l := semLend(t, c, 5)
		receiver.blocks(t, "Recv while the only message is a loan")
		require.NoError(t, l.Commit())
		require.Equal(t, semGot[uint64]{5, nil}, receiver.wait())
	})
}

func TestSemALoanKeepsItsValueWhileOthersWrite(t *testing.T) {
	c := semNew[semHuge](t, 4)
	want := semHuges.gen(77)
	l := semReserve(t, c)
	*l.Value = want
	var stop atomic.Bool
	traffic := semStart(func() error {
		for i := 0; !stop.Load(); i++ {
			if err := c.Send(semHuges.gen(i)); err != nil {
				return err
			}
			if v, ok := c.Recv(); !ok || v != semHuges.gen(i) {
				return fmt.Errorf("message %d: %v", i, ok)
			}
		}
		return nil
	})
	for range 100 {
		require.True(t, want == *l.Value)
		runtime.Gosched()
	}
	stop.Store(true)
	require.NoError(t, traffic.wait())
	require.NoError(t, l.Commit())
	v, ok := c.Recv()
	require.True(t, ok)
	require.True(t, want == v)
}
