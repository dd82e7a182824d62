package fallback

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// packetWaiting receives in the background, and returns when that is about to wait.
func packetWaiting(c Conn, receive func()) {
	go receive()
	for taken := packetsOf(c).reading.taken; len(taken) == 0; {
		runtime.Gosched()
	}
}

func TestPacketsThatComeDuringTheWaitAreWhole(t *testing.T) {
	for name, pair := range packetWays {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			most := a.MaxMessage()
			type result struct {
				msg []byte
				err error
			}
			for _, room := range []int{0, 100, 5000, most, most + 100} {
				for _, size := range []int{0, 1, 100, 5000, most} {
					for _, inKernel := range []bool{true, false} {
						packetsOf(b).reading.hurry = hurry{}
						if !inKernel {
							packetsOf(b).reading.hurry.rest = 1
						}
						got := make(chan result, 1)
						packetWaiting(b, func() {
							msg, err := b.Receive(forever, append(make([]byte, 0, room+3), "pre"...))
							got <- result{msg, err}
						})
						msg := packetPattern(size)
						require.NoError(t, a.Send(forever, msg))
						r := <-got
						require.NoError(t, r.err)
						require.True(t, bytes.Equal(append([]byte("pre"), msg...), r.msg), "room %d, size %d", room, size)
					}
				}
			}
			// One that is too long is an error or, of UDP, dropped, and the next one comes.
			packetsOf(b).most = 1000
			for range 20 {
				got := make(chan result, 1)
				packetWaiting(b, func() {
					msg, err := b.Receive(forever, nil)
					got <- result{msg, err}
				})
				require.NoError(t, a.Send(forever, make([]byte, 1001)))
				require.NoError(t, a.Send(forever, packetPattern(1000)))
				r := <-got
				if a.Kind() != KindUDP {
					require.ErrorIs(t, r.err, ErrFrame)
					r.msg, r.err = b.Receive(forever, nil)
				}
				require.NoError(t, r.err)
				require.Equal(t, packetPattern(1000), r.msg)
			}
		})
	}
}

func TestDescriptorsThatComeDuringTheWaitAreTheReceiversAlone(t *testing.T) {
	for _, name := range []string{"seqpacket", "datagram"} {
		t.Run(name, func(t *testing.T) {
			a, b := packetWays[name](t)
			for range 20 {
				got := make(chan []*os.File, 1)
				packetWaiting(b, func() {
					_, files, err := ReceiveFiles(forever, b, nil)
					assert.NoError(t, err)
					got <- files
				})
				r, w, err := os.Pipe()
				require.NoError(t, err)
				defer r.Close()
				require.NoError(t, SendFiles(forever, a, nil, w))
				w.Close()
				files := <-got
				require.Len(t, files, 1)
				flags, err := unix.FcntlInt(files[0].Fd(), unix.F_GETFD, 0)
				require.NoError(t, err)
				require.NotZero(t, flags&unix.FD_CLOEXEC)
				files[0].Close()
				// Whoever does not want them has them closed.
				if r, w, err = os.Pipe(); err != nil {
					t.Fatal(err)
				}
				done := make(chan error, 1)
				packetWaiting(b, func() { _, err := b.Receive(forever, nil); done <- err })
				require.NoError(t, SendFiles(forever, a, nil, w))
				w.Close()
				require.NoError(t, <-done)
				n, err := r.Read(make([]byte, 1))
				require.Zero(t, n)
				require.Error(t, err, "the end of file: nobody has the other end")
				r.Close()
			}
		})
	}
}

// A socket that travels through itself is a cycle, which only the kernel's collector ends.
func TestDescriptorOfTheConnItselfMayTravel(t *testing.T) {
	for _, name := range []string{"seqpacket", "datagram"} {
		a, b := packetWays[name](t)
		f, err := packetsOf(b).duplicate()
		require.NoError(t, err)
		require.NoError(t, SendFiles(forever, a, []byte("you"), f))
		f.Close()
		msg, files, err := ReceiveFiles(forever, b, nil)
		require.NoError(t, err)
		require.Equal(t, "you", string(msg))
		closeFiles(files)
		require.NoError(t, a.Send(forever, []byte("goes on")))
		msg, err = b.Receive(forever, nil)
		require.NoError(t, err)
		require.Equal(t, "goes on", string(msg))
	}
}

// Signals rain on the threads of this process, and so on the waits in the kernel, which they end.
func TestPacketsThroughAStormOfSignals(t *testing.T) {
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGUSR2)
	defer signal.Stop(caught)
	for name, pair := range packetWays {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			var stop atomic.Bool
			stopped := make(chan struct{})
			go func() {
				defer close(stopped)
				for !stop.Load() {
					threads, _ := os.ReadDir("/proc/self/task")
					for _, thread := range threads {
						var tid int
						_, _ = fmt.Sscan(thread.Name(), &tid)
						_ = unix.Tgkill(os.Getpid(), tid, unix.SIGUSR2)
					}
				}
			}()
			echoed := make(chan error, 1)
			const n = 300
			go func() {
				var err error
				var buf []byte
				for range n {
					if buf, err = b.Receive(forever, buf[:0]); err == nil {
						err = b.Send(forever, buf)
					}
					if err != nil {
						break
					}
				}
				echoed <- err
			}()
			for i := range n {
				msg := packetPattern(i * 200)
				require.NoError(t, a.Send(forever, msg))
				got, err := a.Receive(forever, nil)
				require.NoError(t, err)
				require.True(t, bytes.Equal(msg, got))
			}
			require.NoError(t, <-echoed)
			// Nor do they keep Close from its descriptor.
			done := make(chan error, 1)
			packetWaiting(b, func() { _, err := b.Receive(forever, nil); done <- err })
			require.NoError(t, b.Close())
			require.ErrorIs(t, <-done, os.ErrClosed)
			stop.Store(true)
			<-stopped
		})
	}
}

// No kernel runs out of memory for packets when told to. So seccomp(2) gives the system calls
// that send to a supervisor, who says ENOBUFS for the kernel as often as it is told to.

func init() {
	roles["packets: ENOBUFS"] = func() {
		if err := packetsWithoutMemory(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
}

func TestPacketsWaitForMemory(t *testing.T) {
	t.Parallel() // a second for each kind, until Send gives up
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SHMCHAN_ROLE=packets: ENOBUFS")
	out, err := cmd.CombinedOutput()
	if strings.HasPrefix(string(out), "unsupported") {
		t.Skip(string(out))
	}
	require.NoError(t, err, "%s", out)
}

type seccompNotif struct { // struct seccomp_notif
	id         uint64
	pid, flags uint32
	nr         int32
	arch       uint32
	ip         uint64
	args       [6]uint64
}

type seccompNotifResp struct { // struct seccomp_notif_resp
	id    uint64
	val   int64
	err   int32
	flags uint32
}

// superviseSends lets refuse decide about each sendmsg(2), and each sendto(2) of this length.
func superviseSends(length uint32, refuse func() bool) error {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // seccomp_data.nr
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_SENDMSG, Jt: 3},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_SENDTO, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 32}, // the low half of args[2]
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: length, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_TSYNC|unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH|unix.SECCOMP_FILTER_FLAG_NEW_LISTENER,
		uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return errno
	}
	go func() {
		for {
			var n seccompNotif
			if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&n))); errno != 0 {
				continue
			}
			r := seccompNotifResp{id: n.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
			if refuse() {
				r.flags, r.err = 0, -int32(unix.ENOBUFS)
			}
			_, _, _ = unix.Syscall(unix.SYS_IOCTL, fd, unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&r)))
		}
	}()
	return nil
}

func packetsWithoutMemory() error {
	const length = 7777 // which takes the schedulers' way into the kernel, and UDP's sendmsg
	var refusals, refused atomic.Int64
	err := superviseSends(length, func() bool {
		if refusals.Add(-1) >= 0 {
			refused.Add(1)
			return true
		}
		return false
	})
	if err != nil {
		fmt.Println("unsupported: seccomp: ", err)
		return nil
	}
	t := &packetFaultTB{}
	for name, pair := range packetWays {
		a, b := pair(t)
		msg := packetPattern(length)
		fail := func(what string, err error) error { return fmt.Errorf("%s: %s: %w", name, what, err) }

		// For some time: Send waits, and the message comes once.
		refusals.Store(10)
		refused.Store(0)
		if err := a.Send(forever, msg); err != nil {
			return fail("Send", err)
		}
		if refused.Load() != 10 {
			return fmt.Errorf("%s: %d refusals", name, refused.Load())
		}
		if got, err := b.Receive(forever, nil); err != nil || !bytes.Equal(got, msg) {
			return fail("Receive", err)
		}

		// TrySend does not wait. (It asks the kernel twice at most.)
		refusals.Store(2)
		if err := a.TrySend(msg); err != ErrWouldBlock {
			return fail("TrySend", err)
		}

		// A context ends the wait.
		refusals.Store(1 << 40)
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
		err := a.Send(ctx, msg)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			return fail("Send with a context", err)
		}

		// For good: Send gives up.
		if err := a.Send(forever, msg); !errors.Is(err, unix.ENOBUFS) {
			return fail("Send without memory", err)
		}

		// And when there is memory again all goes on; nothing of before has been sent.
		refusals.Store(0)
		if err := a.TrySend(msg[:length:length]); err != nil {
			return fail("TrySend afterwards", err)
		}
		if got, err := b.Receive(forever, nil); err != nil || !bytes.Equal(got, msg) {
			return fail("Receive afterwards", err)
		}
		if _, err := b.TryReceive(nil); err != ErrWouldBlock {
			return fail("TryReceive", err)
		}
	}
	return nil
}

// packetFaultTB is what packetWays ask of a test.
type packetFaultTB struct{ testing.TB }

func (*packetFaultTB) Cleanup(func()) {}
func (*packetFaultTB) Helper()        {}
func (*packetFaultTB) Errorf(format string, args ...any) {
	fmt.Printf(format+"\n", args...)
}
func (*packetFaultTB) FailNow() { os.Exit(1) }
