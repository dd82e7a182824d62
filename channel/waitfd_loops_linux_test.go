package channel_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmchan/shmchan/channel"
)

var roleLastSender = role("waitfd-last-sender", func(c *child, a chanArgs) {
	ch, err := join[int](a)
	c.must(err)
	c.must(ch.Send(1))
	c.say("sent", nil)
	c.hear()
})

func TestWaitFDTellsThatTheLastSenderWasKilled(t *testing.T) {
	for _, spsc := range []bool{false, true} {
		a := chanArgs{Name: uniqueName(t), Cap: 4, HangUp: true, SPSC: spsc}
		ch := mustJoin[int](t, a)
		f := waitFD(t, ch)
		p := spawn(t, roleLastSender, a)
		p.expect("sent")
		becomesReadable(t, f)
		semWant(t, ch, 1)
		rearmed(t, ch)
		staysQuiet(t, f)
		p.kill()
		becomesReadable(t, f)
		_, err := ch.TryRecv()
		require.ErrorIs(t, err, channel.ErrPeerLost)
	}
}

type waitFDSendArgs struct {
	chanArgs
	Count int
}

var roleWaitFDSend = role("waitfd-send", func(c *child, a waitFDSendArgs) {
	ch, err := join[uint64](a.chanArgs)
	c.must(err)
	for i := range a.Count {
		c.must(ch.Send(uint64(i)))
	}
	c.must(ch.Close())
	c.say("sent", nil)
})

func drain(ch *channel.Chan[uint64], next *uint64) error {
	for {
		v, err := ch.TryRecv()
		switch {
		case errors.Is(err, channel.ErrEmpty):
			return nil
		case err != nil:
			return err
		case v != *next:
			return fmt.Errorf("%d came, not %d", v, *next)
		}
		*next++
	}
}

var waitFDLoops = map[string]func(f *os.File, drained func() error) error{
	"poll": func(f *os.File, drained func() error) error {
		p := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}}
		for {
			if _, err := unix.Poll(p, -1); err != nil && err != unix.EINTR {
				return err
			}
			if err := drained(); err != nil {
				return err
			}
		}
	},
	"epoll, edge-triggered": func(f *os.File, drained func() error) error {
		ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
		if err != nil {
			return err
		}
		defer unix.Close(ep)
		raw, err := f.SyscallConn()
		if err != nil {
			return err
		}
		var inner error
		if err := raw.Control(func(fd uintptr) {
			inner = unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, int(fd), &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET})
		}); err != nil || inner != nil {
			return errors.Join(err, inner)
		}
		events := make([]unix.EpollEvent, 1)
		for {
			if _, err := unix.EpollWait(ep, events, -1); err != nil && err != unix.EINTR {
				return err
			}
			if err := drained(); err != nil {
				return err
			}
		}
	},
	"netpoller": func(f *os.File, drained func() error) error {
		raw, err := f.SyscallConn()
		if err != nil {
			return err
		}
		var inner error
		err = raw.Read(func(uintptr) bool {
			inner = drained()
			return inner != nil
		})
		return errors.Join(err, inner)
	},
}

func TestWaitFDLosesNoWakeUpBetweenProcesses(t *testing.T) {
	for loop, wait := range waitFDLoops {
		for _, a := range []chanArgs{{Cap: 1}, {Cap: 64}, {Cap: 1, SPSC: true}, {Cap: 64, SPSC: true}, {Cap: 0}} {
			count := times(semFewer(5_000), 100_000)
			if loop == "netpoller" && a.Cap != 0 && !a.SPSC {
				count = semFewer(100_000)
			}
			t.Run(fmt.Sprintf("%s/%s", loop, a), func(t *testing.T) {
				a.Name = uniqueName(t)
				ch := mustJoin[uint64](t, a)
				f := waitFD(t, ch)
				p := spawn(t, roleWaitFDSend, waitFDSendArgs{a, count})
				next, loops := uint64(0), 0
				within(t, "receiving", func() {
					err := wait(f, func() error {
						loops++
						return drain(ch, &next)
					})
					if !errors.Is(err, channel.ErrClosed) {
						t.Errorf("after %d messages: %v", next, err)
					}
				})
				p.expect("sent")
				p.wait()
				require.EqualValues(t, count, next)
				t.Logf("%d messages in %d wake-ups", next, loops)
			})
		}
	}
}

type waitFDIdleArgs struct {
	chanArgs
	Raised bool
}

var roleWaitFDIdle = role("waitfd-idle", func(c *child, a waitFDIdleArgs) {
	ch, err := join[uint64](a.chanArgs)
	c.must(err)
	f, err := ch.WaitFD()
	c.must(err)
	if a.Raised {
		c.must(ch.Send(1))
		c.must(ch.SendContext(bg, 2))
	}
	c.say("idle", nil)
	used := cpuTime()
	c.hear()
	c.say("used", cpuTime()-used)
	f.Close()
})

func TestWaitFDUsesNoCPUWhileNothingHappens(t *testing.T) {
	var procs []*proc
	for _, a := range []waitFDIdleArgs{
		{chanArgs{Cap: 4}, false},
		{chanArgs{Cap: 4}, true},
		{chanArgs{Cap: 4, SPSC: true}, false},
		{chanArgs{Cap: 4, HangUp: true}, false},
		{chanArgs{Cap: 0}, false},
	} {
		a.Name = uniqueName(t)
		mustJoin[uint64](t, a.chanArgs)
		p := spawn(t, roleWaitFDIdle, a)
		p.expect("idle")
		procs = append(procs, p)
	}
	time.Sleep(2 * time.Second) // the test is that nothing happens
	for _, p := range procs {
		p.tell("")
		var used time.Duration
		p.expect("used", &used)
		p.wait()
		if used >= 10*time.Millisecond {
			t.Errorf("used %v of the processor", used)
		}
	}
}

func compiled(t *testing.T, source string) string {
	t.Helper()
	cc := strings.Fields(os.Getenv("CC"))
	if len(cc) == 0 {
		for _, name := range []string{"cc", "gcc"} {
			if _, err := exec.LookPath(name); err == nil {
				cc = []string{name}
				break
			}
		}
	}
	if len(cc) == 0 {
		t.Skip("no C compiler (cc, gcc or $CC): no C program's event loop was tried")
	}
	program := filepath.Join(t.TempDir(), strings.TrimSuffix(source, ".c"))
	args := append(cc[1:len(cc):len(cc)], "-O1", "-Wall", "-Werror", "-o", program, filepath.Join("testdata", source))
	said, err := exec.Command(cc[0], args...).CombinedOutput()
	require.NoError(t, err, "%s", said)
	return program
}

func TestWaitFDInAnEventLoopOfC(t *testing.T) {
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "386" && os.Getenv("CC") == "" {
		t.Skip("what the C compiler here makes may not run beside this emulated program")
	}
	program := compiled(t, "pollfd.c")
	c := semNew[int](t, 4)
	f, err := c.WaitFD()
	require.NoError(t, err)
	defer f.Close()
	cmd := exec.Command(program)
	cmd.ExtraFiles = []*os.File{f}
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	spawnerRun(func() { err = cmd.Start() })
	require.NoError(t, err)
	guard := time.AfterFunc(watchdog, func() { cmd.Process.Kill() })
	defer guard.Stop()
	lines := bufio.NewScanner(out)
	says := func(want string) {
		t.Helper()
		if !lines.Scan() || lines.Text() != want {
			t.Errorf("the C program says %q, not %q: %v", lines.Text(), want, lines.Err())
		}
	}
	says("idle")
	for i := range 1000 {
		require.NoError(t, c.Send(i))
		says("ready")
		semWant(t, c, i)
		rearmed(t, c)
		_, err := io.WriteString(in, "\n")
		require.NoError(t, err)
	}
	require.NoError(t, c.Detach())
	says("end")
	require.NoError(t, cmd.Wait(), stderr.String())
}
