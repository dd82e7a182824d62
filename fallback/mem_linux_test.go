package fallback

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// crossRawSend puts arbitrary bytes where c's packets go.
func crossRawSend(c *CrossMemoryConn, p []byte) error {
	var err error
	if cerr := c.data.rc.Control(func(fd uintptr) {
		err = unix.Sendto(int(fd), p, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, nil)
	}); cerr != nil {
		return cerr
	}
	return err
}

// memBothKinds runs a test over both carriers.
func memBothKinds(t *testing.T, f func(t *testing.T, a, b Conn)) {
	for _, c := range carriers {
		if c.name != "CrossMemory" && c.name != "Shm" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			a, b := c.open(t)
			f(t, a, b)
		})
	}
}

// memFill is a message that shows any byte out of place.
func memFill(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7) + byte(i>>8) + seed
	}
	return b
}

// memSizes are the lengths around every boundary that these carriers have.
func memSizes(c Conn) []int {
	sizes := []int{0, 1, 7, 8, 9, 63, 64, 65, 4095, 4096, 4097}
	for _, n := range []int{crossInlineDefault, crossInlineMost, c.MaxMessage()} {
		sizes = append(sizes, n-1, n, n+1)
	}
	return sizes
}

func TestMemMessagesOfEverySizeArriveInOrder(t *testing.T) {
	memBothKinds(t, func(t *testing.T, a, b Conn) {
		var wg sync.WaitGroup
		var sent []int
		for _, n := range memSizes(a) {
			if n <= a.MaxMessage() {
				sent = append(sent, n)
			} else {
				require.ErrorIs(t, a.Send(forever, make([]byte, n)), ErrTooLarge)
				require.ErrorIs(t, a.TrySend(make([]byte, n)), ErrTooLarge)
			}
		}
		for _, ends := range [][2]Conn{{a, b}, {b, a}} {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for i, n := range sent {
					if err := ends[0].Send(forever, memFill(n, byte(i))); err != nil {
						t.Errorf("send of %d: %v", n, err)
						return
					}
				}
				if err := ends[0].CloseSend(); err != nil {
					t.Error(err)
				}
			}()
			for i, n := range sent {
				prefix := []byte("before")
				got, err := ends[1].Receive(forever, prefix)
				require.NoError(t, err, "%d bytes", n)
				require.True(t, bytes.Equal(append([]byte("before"), memFill(n, byte(i))...), got), "%d bytes", n)
			}
			_, err := ends[1].Receive(forever, nil)
			require.ErrorIs(t, err, io.EOF)
		}
		wg.Wait()
		require.ErrorIs(t, a.Send(forever, nil), os.ErrClosed)
		require.ErrorIs(t, a.CloseSend(), os.ErrClosed)
	})
}

func TestMemTryCallsDoNotWait(t *testing.T) {
	memBothKinds(t, func(t *testing.T, a, b Conn) {
		_, err := b.TryReceive(nil)
		require.ErrorIs(t, err, ErrWouldBlock)
		for _, n := range []int{16, 60000, a.MaxMessage()} {
			require.NoError(t, a.TrySend(memFill(n, 1)))
			got, err := b.TryReceive(nil)
			require.NoError(t, err)
			require.True(t, bytes.Equal(memFill(n, 1), got))
		}
		n := 0
		for err = nil; err == nil; n++ {
			err = a.TrySend(memFill(1000, byte(n)))
		}
		require.ErrorIs(t, err, ErrWouldBlock)
		for i := range n - 1 {
			got, err := b.TryReceive(nil)
			require.NoError(t, err)
			require.True(t, bytes.Equal(memFill(1000, byte(i)), got))
		}
		_, err = b.TryReceive(nil)
		require.ErrorIs(t, err, ErrWouldBlock)
	})
}

func TestMemContextEndsABlockedCall(t *testing.T) {
	memBothKinds(t, func(t *testing.T, a, b Conn) {
		ended, end := context.WithCancel(context.Background())
		end()
		_, err := b.Receive(ended, nil)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, a.Send(ended, nil), context.Canceled)
		for range 20 {
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 2)
			go func() { _, err := b.Receive(ctx, nil); done <- err }()
			go cancel()
			require.ErrorIs(t, <-done, context.Canceled)
		}
		for err = nil; err == nil; {
			err = a.TrySend(memFill(1000, 0))
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, a.Send(ctx, memFill(1000, 9)), context.DeadlineExceeded)
		for err = nil; err == nil; {
			var got []byte
			if got, err = b.TryReceive(nil); err == nil {
				require.Equal(t, byte(0), got[0], "what was not sent has come")
			}
		}
		require.NoError(t, a.Send(forever, []byte("on")))
		got, err := b.Receive(forever, nil)
		require.NoError(t, err)
		require.Equal(t, "on", string(got))
	})
}

// One call's context must not break another's.
func TestMemContextsOfConcurrentCallsAreTheirOwn(t *testing.T) {
	memBothKinds(t, func(t *testing.T, a, b Conn) {
		const calls = 30
		got := make(chan []byte, calls)
		var wg sync.WaitGroup
		for i := range calls {
			wg.Add(1)
			go func() {
				defer wg.Done()
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				if i%2 == 0 {
					time.AfterFunc(time.Duration(i)*100*time.Microsecond, cancel)
				}
				msg, err := b.Receive(ctx, nil)
				switch {
				case err == nil:
					got <- msg
				case i%2 == 0 && errors.Is(err, context.Canceled):
				default:
					t.Error(err)
				}
			}()
		}
		n := 0
		finished := make(chan struct{})
		go func() { wg.Wait(); close(finished) }()
		for {
			select {
			case <-finished:
			default:
				require.NoError(t, a.Send(forever, []byte{byte(n)}))
				n++
				if n < calls {
					time.Sleep(100 * time.Microsecond)
					continue
				}
				<-finished
			}
			break
		}
		for {
			if _, err := b.TryReceive(nil); err != nil {
				break
			}
			n--
		}
		require.Len(t, got, n, "every message came once")
	})
}

func TestMemCloseEndsBlockedCallsAndTellsThePeer(t *testing.T) {
	memBothKinds(t, func(t *testing.T, a, b Conn) {
		done := make(chan error, 8)
		for range 4 {
			go func() { _, err := b.Receive(forever, nil); done <- err }()
		}
		require.NoError(t, a.Send(forever, []byte("x")))
		require.NoError(t, <-done)
		require.NoError(t, b.Close())
		for range 3 {
			require.ErrorIs(t, <-done, os.ErrClosed)
		}
		require.ErrorIs(t, b.Close(), os.ErrClosed)
		_, err := b.TryReceive(nil)
		require.ErrorIs(t, err, os.ErrClosed)
		require.ErrorIs(t, b.Send(forever, nil), os.ErrClosed)
		require.ErrorIs(t, a.Send(forever, []byte("y")), syscall.EPIPE)
		require.ErrorIs(t, a.TrySend([]byte("y")), syscall.EPIPE)
		_, err = a.Receive(forever, nil)
		require.ErrorIs(t, err, io.EOF)
	})
}

func TestMemWhatWasSentStaysReceivableAfterClose(t *testing.T) {
	memBothKinds(t, func(t *testing.T, a, b Conn) {
		require.NoError(t, b.Send(forever, []byte("unread"))) // a will not read it
		for i := range 10 {
			require.NoError(t, a.TrySend(memFill(100, byte(i))))
		}
		require.NoError(t, a.Close())
		for i := range 10 {
			got, err := b.Receive(forever, nil)
			require.NoError(t, err)
			require.True(t, bytes.Equal(memFill(100, byte(i)), got))
		}
		_, err := b.Receive(forever, nil)
		require.ErrorIs(t, err, io.EOF)
		require.ErrorIs(t, b.Send(forever, nil), syscall.EPIPE)
	})
}

func TestMemCloseSendEndsABlockedSend(t *testing.T) {
	memBothKinds(t, func(t *testing.T, a, b Conn) {
		var err error
		for err = nil; err == nil; {
			err = a.TrySend(memFill(1000, 0))
		}
		done := make(chan error, 2)
		for range 2 {
			go func() { done <- a.Send(forever, memFill(1000, 0)) }()
		}
		require.NoError(t, a.CloseSend())
		require.ErrorIs(t, <-done, os.ErrClosed)
		require.ErrorIs(t, <-done, os.ErrClosed)
		require.NoError(t, b.Send(forever, []byte("back")))
		got, err := a.Receive(forever, nil)
		require.NoError(t, err)
		require.Equal(t, "back", string(got))
	})
}

func TestMemManyGoroutinesLoseAndDoubleNothing(t *testing.T) {
	memBothKinds(t, func(t *testing.T, a, b Conn) {
		const senders, each = 4, 200
		var wg sync.WaitGroup
		for s := range senders {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for i := range each {
					n := 3
					if i%20 == 0 {
						n = 50000
					}
					msg := memFill(n, 0)
					msg[0], msg[1], msg[2] = byte(s), byte(i), byte(i>>8)
					if err := a.Send(forever, msg); err != nil {
						t.Error(err)
					}
				}
			}()
		}
		var mu sync.Mutex
		seen := map[[3]byte]int{}
		var rg sync.WaitGroup
		for range 3 {
			rg.Add(1)
			go func() {
				defer rg.Done()
				for {
					msg, err := b.Receive(forever, nil)
					if errors.Is(err, io.EOF) {
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					seen[[3]byte(msg)]++
					mu.Unlock()
				}
			}()
		}
		wg.Wait()
		require.NoError(t, a.CloseSend())
		rg.Wait()
		require.Len(t, seen, senders*each)
		for k, n := range seen {
			require.Equal(t, 1, n, "%v", k)
		}
	})
}

func TestMemPeerIsWhoTheKernelSays(t *testing.T) {
	memBothKinds(t, func(t *testing.T, a, b Conn) {
		for _, c := range []Conn{a, b} {
			p, err := c.Peer()
			require.NoError(t, err)
			require.Equal(t, Credentials{PID: os.Getpid(), UID: os.Getuid(), GID: os.Getgid()}, p)
		}
	})
}

// memChild starts a role that finds the other end of a socket as descriptor 3.
func memChild(t *testing.T, role string, attr *syscall.SysProcAttr, env ...string) (*net.UnixConn, *exec.Cmd) {
	c, f := miscSocket(t)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), append(env, "SHMCHAN_ROLE="+role)...)
	cmd.ExtraFiles = []*os.File{f}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = attr
	require.NoError(t, cmd.Start())
	f.Close()
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return c, cmd
}

func memMust(err error) {
	if err != nil {
		panic(err)
	}
}

func memOpenIn(kind string, c *net.UnixConn) (Conn, error) {
	if kind == "Shm" {
		return Shm(forever, c, ShmOptions{MaxMessage: 1 << 20})
	}
	return CrossMemory(forever, c, CrossMemoryOptions{MaxMessage: 1 << 20, AllowPeer: true})
}

func init() {
	roles["mem-echo"] = func() {
		c, err := miscInherited()
		memMust(err)
		conn, err := memOpenIn(os.Getenv("MEM_KIND"), c)
		memMust(err)
		var buf []byte
		for {
			buf, err = conn.Receive(forever, buf[:0])
			if errors.Is(err, io.EOF) {
				break
			}
			memMust(err)
			memMust(conn.Send(forever, buf))
		}
		memMust(conn.Close())
	}
	// mem-stuck receives as many messages as it is told, and no more, and never ends.
	roles["mem-stuck"] = func() {
		c, err := miscInherited()
		memMust(err)
		conn, err := memOpenIn(os.Getenv("MEM_KIND"), c)
		memMust(err)
		n, err := strconv.Atoi(os.Getenv("MEM_COUNT"))
		memMust(err)
		for range n {
			_, err := conn.Receive(forever, nil)
			memMust(err)
		}
		memMust(conn.Send(forever, []byte("stuck")))
		select {}
	}
	// mem-sender sends without end.
	roles["mem-sender"] = func() {
		c, err := miscInherited()
		memMust(err)
		conn, err := memOpenIn(os.Getenv("MEM_KIND"), c)
		memMust(err)
		for i := 0; ; i++ {
			memMust(conn.Send(forever, memFill(1<<(i%21), byte(i))))
		}
	}
}

var memKinds = []string{"CrossMemory", "Shm"}

func TestMemBetweenProcesses(t *testing.T) {
	for _, kind := range memKinds {
		t.Run(kind, func(t *testing.T) {
			c, cmd := memChild(t, "mem-echo", nil, "MEM_KIND="+kind)
			conn, err := memOpenIn(kind, c)
			require.NoError(t, err)
			defer conn.Close()
			p, err := conn.Peer()
			require.NoError(t, err)
			require.Equal(t, cmd.Process.Pid, p.PID, "the child, although the parent made the pair")
			for i, n := range memSizes(conn) {
				if n > conn.MaxMessage() {
					continue
				}
				require.NoError(t, conn.Send(forever, memFill(n, byte(i))))
				got, err := conn.Receive(forever, nil)
				require.NoError(t, err)
				require.True(t, bytes.Equal(memFill(n, byte(i)), got), "%d bytes", n)
			}
			require.NoError(t, conn.CloseSend())
			_, err = conn.Receive(forever, nil)
			require.ErrorIs(t, err, io.EOF)
			require.NoError(t, cmd.Wait())
		})
	}
}

func TestMemKilledReceiverEndsABlockedSend(t *testing.T) {
	for _, kind := range memKinds {
		t.Run(kind, func(t *testing.T) {
			c, cmd := memChild(t, "mem-stuck", nil, "MEM_KIND="+kind, "MEM_COUNT=3")
			conn, err := memOpenIn(kind, c)
			require.NoError(t, err)
			defer conn.Close()
			for range 3 {
				require.NoError(t, conn.Send(forever, memFill(300000, 1)))
			}
			got, err := conn.Receive(forever, nil)
			require.NoError(t, err)
			require.Equal(t, "stuck", string(got))
			blocked := make(chan error)
			go func() {
				var err error
				for err == nil {
					err = conn.Send(forever, memFill(300000, 2))
				}
				blocked <- err
			}()
			time.Sleep(5 * time.Millisecond) // whichever phase that meets, the outcome is the same
			require.NoError(t, cmd.Process.Kill())
			require.ErrorIs(t, <-blocked, syscall.EPIPE)
			_, err = conn.Receive(forever, nil)
			require.ErrorIs(t, err, io.EOF)
			require.ErrorIs(t, conn.Send(forever, nil), syscall.EPIPE)
		})
	}
}

func TestMemKilledSenderLeavesWholeMessagesAndAnEnd(t *testing.T) {
	for _, kind := range memKinds {
		t.Run(kind, func(t *testing.T) {
			for round := range 5 {
				c, cmd := memChild(t, "mem-sender", nil, "MEM_KIND="+kind)
				conn, err := memOpenIn(kind, c)
				require.NoError(t, err)
				kill := 15 + 13*round
				i := 0
				var buf []byte
				for ; ; i++ {
					if i == kill {
						go func() { _ = cmd.Process.Kill() }()
					}
					buf, err = conn.Receive(forever, buf[:0])
					if err != nil {
						break
					}
					require.True(t, bytes.Equal(memFill(1<<(i%21), byte(i)), buf), "message %d", i)
				}
				require.ErrorIs(t, err, io.EOF)
				require.GreaterOrEqual(t, i, kill)
				_ = cmd.Wait()
				require.NoError(t, conn.Close())
			}
		})
	}
}

func TestMemSteadyStateAllocatesNothing(t *testing.T) {
	if memRaceBuild {
		t.Skip("sync.Pool throws things away under the race detector")
	}
	memBothKinds(t, func(t *testing.T, a, b Conn) {
		for _, n := range []int{0, 64, 4096, 32768, 60000} {
			msg, dst := memFill(n, 0), make([]byte, 0, crossInlineMost)
			go1 := make(chan struct{})
			stop := make(chan struct{})
			go func() {
				for {
					select {
					case <-go1:
						_ = a.Send(forever, msg)
					case <-stop:
						return
					}
				}
			}()
			per := testing.AllocsPerRun(100, func() {
				go1 <- struct{}{}
				if _, err := b.Receive(forever, dst); err != nil {
					t.Fatal(err)
				}
			})
			close(stop)
			require.Zero(t, per, "%d bytes", n)
		}
	})
}

func TestMemHandshakeRefusesStrangers(t *testing.T) {
	for _, kind := range memKinds {
		t.Run(kind, func(t *testing.T) {
			other := memFrame{kind: KindPipe, step: memStepHello, nonce: 1}
			wrong := other.encode()
			cases := map[string]func(c *net.UnixConn){
				"junk":            func(c *net.UnixConn) { _, _ = c.Write(memFill(64, 3)) },
				"short, then end": func(c *net.UnixConn) { _, _ = c.Write([]byte("hello")); c.Close() },
				"end":             func(c *net.UnixConn) { c.Close() },
				"another carrier": func(c *net.UnixConn) { _, _ = c.Write(wrong[:]) },
				"descriptors": func(c *net.UnixConn) {
					f := memFrame{kind: KindShm, step: memStepHello}
					if kind != "Shm" {
						f.kind = KindCrossMemory
					}
					b := f.encode()
					_, _, _ = c.WriteMsgUnix(b[:], unix.UnixRights(0, 1, 2), nil)
				},
			}
			for name, hostile := range cases {
				t.Run(name, func(t *testing.T) {
					a, b, err := memUnixPair()
					require.NoError(t, err)
					defer b.Close()
					go hostile(b)
					_, err = memOpenIn(kind, a)
					require.Error(t, err)
					require.True(t, errors.Is(err, ErrFrame) || errors.Is(err, io.EOF) || errors.Is(err, syscall.EPIPE), "%v", err)
				})
			}
			t.Run("silence", func(t *testing.T) {
				a, b, err := memUnixPair()
				require.NoError(t, err)
				defer b.Close()
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
				defer cancel()
				if kind == "Shm" {
					_, err = Shm(ctx, a, ShmOptions{})
				} else {
					_, err = CrossMemory(ctx, a, CrossMemoryOptions{})
				}
				require.ErrorIs(t, err, context.DeadlineExceeded)
			})
		})
	}
}

func TestMemSetUpOverAStreamSocket(t *testing.T) {
	for _, kind := range memKinds {
		t.Run(kind, func(t *testing.T) {
			path := t.TempDir() + "/s"
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
			require.NoError(t, err)
			defer l.Close()
			type end struct {
				c   Conn
				err error
			}
			other := make(chan end)
			go func() {
				c, err := net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr))
				if err != nil {
					other <- end{nil, err}
					return
				}
				conn, err := memOpenIn(kind, c)
				other <- end{conn, err}
			}()
			c, err := l.AcceptUnix()
			require.NoError(t, err)
			a, err := memOpenIn(kind, c)
			require.NoError(t, err)
			defer a.Close()
			b := <-other
			require.NoError(t, b.err)
			defer b.c.Close()
			go func() { _ = a.Send(forever, memFill(100000, 4)) }()
			got, err := b.c.Receive(forever, nil)
			require.NoError(t, err)
			require.True(t, bytes.Equal(memFill(100000, 4), got))
		})
	}
}
