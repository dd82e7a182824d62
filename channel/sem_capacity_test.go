//go:build linux

package channel_test

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/channel"
)

func TestSemCapacityIsExact(t *testing.T) {
	semEach(t, semModes, []int{1, 2, 3, 7, 1000, 4096}, func(t *testing.T, s semShape) {
		tx, rx := semMake[uint64](t, s)
		require.Equal(t, s.capacity, tx.Cap())
		require.Equal(t, s.capacity, rx.Cap())
		require.Zero(t, rx.Len())
		next, first := uint64(0), uint64(0)
		for range 3 { // positions pass a lap, at each capacity at other places
			for tx.Len() < s.capacity {
				require.NoError(t, tx.TrySend(next))
				next++
				require.Equal(t, int(next-first), tx.Len())
				require.Equal(t, int(next-first), rx.Len())
			}
			for range 2 {
				require.ErrorIs(t, tx.TrySend(next), channel.ErrFull)
				require.Equal(t, s.capacity, rx.Len())
			}
			// one out, exactly one in
			for range 3 {
				semWant(t, rx, first)
				first++
				require.Equal(t, s.capacity-1, tx.Len())
				require.NoError(t, tx.TrySend(next))
				next++
				require.ErrorIs(t, tx.TrySend(next), channel.ErrFull)
			}
			for n := s.capacity/2 + 1; n > 0; n-- {
				semWant(t, rx, first)
				first++
				require.Equal(t, int(next-first), tx.Len())
			}
		}
		for first < next {
			semWant(t, rx, first)
			first++
		}
		semDrained(t, rx)
	})
}

func TestSemCapacityIsExactForEncodedMessagesOfTheLargestSize(t *testing.T) {
	// The default Space is capacity × MaxMessage: it must not be what fills up
	// first, however odd the size.
	for _, size := range []int{1, 7, 8, 13, 64, 100, 1001, 4096} {
		for _, mode := range semModes {
			t.Run(fmt.Sprintf("%s/MaxMessage=%d", mode.name, size), func(t *testing.T) {
				for _, capacity := range []int{1, 2, 3, 7, 100} {
					c := semNew[[]byte](t, capacity, mode.opt, channel.MaxMessage(size))
					for lap := range 3 {
						for i := range capacity {
							require.NoError(t, c.TrySend(semPattern[i:i+size]), "capacity %d, lap %d, message %d", capacity, lap, i)
						}
						require.ErrorIs(t, c.TrySend(nil), channel.ErrFull)
						for i := range capacity {
							semWant(t, c, semPattern[i:i+size])
						}
					}
					require.NoError(t, c.Detach())
				}
			})
		}
	}
}

func TestSemCapacityIsExactForEncodedMessagesOfAnySize(t *testing.T) {
	// However the messages before them lay, as many go in as there are places:
	// with the default Space none is so large that bytes could be wanting.
	for _, most := range []int{1, 13, 100, 1001} {
		for _, mode := range semModes {
			t.Run(fmt.Sprintf("%s/MaxMessage=%d", mode.name, most), func(t *testing.T) {
				for _, capacity := range []int{1, 2, 3, 7, 20} {
					c := semNew[[]byte](t, capacity, mode.opt, channel.MaxMessage(most))
					r := semRand(uint64(capacity))
					var there [][]byte
					for lap := range 50 {
						for len(there) < capacity {
							size := most
							if r.IntN(3) == 0 {
								size = r.IntN(most + 1)
							}
							v := semPattern[lap : lap+size]
							require.NoError(t, c.TrySend(v), "capacity %d, lap %d, %d bytes, %d messages there", capacity, lap, size, len(there))
							there = append(there, v)
						}
						require.ErrorIs(t, c.TrySend(nil), channel.ErrFull)
						for range 1 + r.IntN(capacity) {
							semWant(t, c, there[0])
							there = there[1:]
						}
					}
					require.NoError(t, c.Detach())
				}
			})
		}
	}
}

func TestSemASentMessageIsSeenAtOnceByEveryHandle(t *testing.T) {
	for _, mode := range semModes {
		for _, way := range semTwoHandles {
			t.Run(mode.name+"/"+way, func(t *testing.T) {
				tx, rx := semConnect[uint64](t, way, 5, mode.opt)
				for i := range uint64(200) {
					require.NoError(t, tx.Send(i))
					require.Equal(t, 1, rx.Len())
					semWant(t, rx, i)
					require.Equal(t, 0, tx.Len())

					n, err := tx.SendBatch([]uint64{i, i + 1, i + 2})
					require.NoError(t, err)
					require.Equal(t, 3, n)
					require.Equal(t, 3, rx.Len())
					for k := range uint64(3) {
						semWant(t, rx, i+k)
						require.Equal(t, 2-int(k), tx.Len())
					}
				}
			})
		}
	}
}

func TestSemASentMessageIsSeenByAGoroutineThatHearsOfIt(t *testing.T) {
	// The word that the message was sent goes another way, by a Go channel.
	for _, mode := range semModes {
		for _, way := range semTwoHandles {
			t.Run(mode.name+"/"+way, func(t *testing.T) {
				const capacity = 4
				tx, rx := semConnect[uint64](t, way, capacity, mode.opt)
				n := uint64(semFewer(1500))
				sent, taken := make(chan struct{}), make(chan struct{}, capacity)
				for range capacity {
					taken <- struct{}{}
				}
				sender := semStart(func() error {
					defer close(sent)
					for i := range n {
						<-taken
						if err := tx.TrySend(i); err != nil {
							return fmt.Errorf("message %d: %w", i, err)
						}
						sent <- struct{}{}
					}
					return nil
				})
				next := uint64(0)
				for range sent {
					v, err := rx.TryRecv()
					require.NoError(t, err, "message %d", next)
					require.Equal(t, next, v)
					next++
					taken <- struct{}{}
				}
				require.NoError(t, sender.wait())
				require.Equal(t, n, next)
			})
		}
	}
}

func TestSemTrySendIsNeverFullWhereNeverMoreThanCapacityMessagesExist(t *testing.T) {
	// Each goroutine owns a token and gives it away only for another. So there
	// are never more messages than places, its own included.
	for _, forms := range []string{"Recv", "all forms"} {
		for _, way := range []string{"New", "Create+Attach"} {
			semTokens(t, forms+"/"+way, []int{1, 2, 3, 4, 7}, func(t *testing.T, parties int) {
				tx, rx := semConnect[uint64](t, way, parties)
				recvForms := semRecvForms[uint64](true)
				semParties(t, parties, func(p, i int) error {
					if i%3 == 2 && forms == "all forms" {
						// a loan takes the token's place, and keeps it
						l, err := tx.Reserve()
						if err != nil {
							return err
						}
						*l.Value = 1
						runtime.Gosched()
						if err := l.Commit(); err != nil {
							return err
						}
					} else if err := tx.TrySend(1); err != nil {
						return fmt.Errorf("TrySend: %w", err)
					}
					form := recvForms[0]
					if forms == "all forms" {
						form = recvForms[(i+p)%len(recvForms)]
					}
					_, err := form.call(rx)
					return err
				})
				semDrained(t, rx)
			})
		}
	}
}

func TestSemTryRecvIsNeverEmptyWhereAMessageAlwaysExists(t *testing.T) {
	// There are as many messages as goroutines, and each takes one before it
	// gives one back: whoever asks, one is there.
	for _, way := range []string{"New", "Create+Attach"} {
		for _, room := range []int{0, 1, 5} {
			semTokens(t, fmt.Sprintf("%s/room=%d", way, room), []int{1, 2, 3, 4, 7}, func(t *testing.T, parties int) {
				tx, rx := semConnect[uint64](t, way, parties+room)
				for range parties {
					require.NoError(t, tx.Send(1))
				}
				sendForms := semSendForms[uint64](true, true)
				semParties(t, parties, func(p, i int) error {
					if _, err := rx.TryRecv(); err != nil {
						return fmt.Errorf("TryRecv: %w", err)
					}
					return sendForms[(i+p)%len(sendForms)].call(tx, 1)
				})
				require.Equal(t, parties, rx.Len())
			})
		}
	}
}

func TestSemTriesSucceedWhereRoomAndMessagesAlwaysExist(t *testing.T) {
	// Twice as many places as messages, as many messages as goroutines.
	t.Run("uint64", func(t *testing.T) { semRoomy(t, semUints) })
	t.Run("5000 bytes", func(t *testing.T) { semRoomy(t, semHuges) })
	t.Run("[]byte", func(t *testing.T) {
		// A message in hand may keep back bytes behind it, so there are enough
		// for all that is ever sent.
		k := semBytes
		k.opts = append(k.opts, channel.Space(4<<20))
		semRoomy(t, k)
	})
}

func semRoomy[T any](t *testing.T, k semKind[T]) {
	semTokens(t, "New", []int{1, 2, 4}, func(t *testing.T, parties int) {
		c := semNew[T](t, 2*parties, k.opts...)
		for range parties {
			require.NoError(t, c.Send(k.gen(0)))
		}
		semParties(t, parties, func(p, i int) error {
			if i%2 == 0 {
				if err := c.RecvFunc(func(*T) error { runtime.Gosched(); return nil }); err != nil {
					return err
				}
			} else if _, err := c.TryRecv(); err != nil {
				return fmt.Errorf("TryRecv: %w", err)
			}
			if err := c.TrySend(k.gen(i)); err != nil {
				return fmt.Errorf("TrySend: %w", err)
			}
			return nil
		})
		require.Equal(t, parties, c.Len())
	})
}

func TestSemLenIsExactInTraffic(t *testing.T) {
	// Of k messages, each of the goroutines has at most one in hand.
	const messages, parties = 9, 3
	for _, capacity := range []int{messages, messages + 4} {
		t.Run(fmt.Sprintf("cap=%d", capacity), func(t *testing.T) {
			c := semNew[uint64](t, capacity)
			watcher := semOther(t, c)
			for range messages {
				require.NoError(t, c.Send(1))
			}
			var stop atomic.Bool
			watching := semStart(func() error {
				for looks := 0; !stop.Load() || looks < 1000; looks++ {
					if n := watcher.Len(); n < messages-parties || n > messages {
						return fmt.Errorf("Len is %d, and there are always from %d to %d messages", n, messages-parties, messages)
					}
				}
				return nil
			})
			semParties(t, parties, func(_, _ int) error {
				v, ok := c.Recv()
				if !ok {
					return errors.New("Recv saw an end")
				}
				return c.Send(v)
			})
			stop.Store(true)
			require.NoError(t, watching.wait())
			require.Equal(t, messages, c.Len())
		})
	}
}

func semTokens(t *testing.T, name string, parties []int, f func(t *testing.T, parties int)) {
	for _, p := range parties {
		t.Run(fmt.Sprintf("%s/parties=%d", name, p), func(t *testing.T) { f(t, p) })
	}
}

// semParties runs step many times in each of n goroutines, until one fails.
func semParties(t *testing.T, n int, step func(p, i int) error) {
	t.Helper()
	rounds := semFewer(4000) / n
	var failed atomic.Bool
	var group sync.WaitGroup
	for p := range n {
		group.Go(func() {
			for i := 0; i < rounds && !failed.Load(); i++ {
				if err := step(p, i); err != nil {
					t.Errorf("goroutine %d, round %d: %v", p, i, err)
					failed.Store(true)
				}
			}
		})
	}
	group.Wait()
}
