package fallback

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

var (
	mqPrefix = "/shmchan-mqtest-" + rand.Text()
	mqCount  atomic.Int64
)

// mqNewName returns a name that no queue has; the queue is unlinked at the end.
func mqNewName(t testing.TB) string {
	name := fmt.Sprintf("%s-%d", mqPrefix, mqCount.Add(1))
	t.Cleanup(func() { _ = UnlinkQueue(name) })
	return name
}

// mqSmall fits the default limits many times over.
var mqSmall = QueueAttr{MaxMessages: 3, MessageSize: 64}

func mqMake(t testing.TB, attr QueueAttr) *Queue {
	t.Helper()
	q, err := OpenQueue(mqNewName(t), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600, &attr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = q.Close() })
	return q
}

func mqOpenAgain(t testing.TB, q *Queue, flags int) *Queue {
	t.Helper()
	again, err := OpenQueue(q.Name(), flags, 0, nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = again.Close() })
	return again
}

// mqGuard ends the whole run with all stacks when a test is stuck; it times nothing.
func mqGuard(t *testing.T) {
	timer := time.AfterFunc(2*time.Minute, func() { panic("watchdog: " + t.Name() + " is stuck") })
	t.Cleanup(func() { timer.Stop() })
}

// mqAwaitWaiter returns when somebody has a direction's turn: about to wait, or waiting.
func mqAwaitWaiter(turn *mqTurn) {
	for len(turn.turn) == 0 {
		time.Sleep(100 * time.Microsecond)
	}
}

// mqChild is this test binary in a role. It ends when the test does: its standard input ends.
type mqChild struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func mqStart(t testing.TB, role string, files []*os.File, args ...string) *mqChild {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Args = append(cmd.Args, args...)
	cmd.Env = append(os.Environ(), "SHMCHAN_ROLE="+role)
	cmd.ExtraFiles = files
	return mqRun(t, cmd)
}

func mqRun(t testing.TB, cmd *exec.Cmd) *mqChild {
	t.Helper()
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	c := &mqChild{cmd: cmd, in: in, out: bufio.NewReader(out)}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			c.kill()
		}
	})
	return c
}

func (c *mqChild) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

// line is the next line that the child says, "" when it has ended.
func (c *mqChild) line() string {
	s, _ := c.out.ReadString('\n')
	return strings.TrimSuffix(s, "\n")
}

// finish waits for the child to end well.
func (c *mqChild) finish(t testing.TB) {
	t.Helper()
	rest, _ := io.ReadAll(c.out)
	require.NoError(t, c.cmd.Wait(), "%s", rest)
}

// mqMust is for roles: the child ends with a message.
func mqMust(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1)
	}
}

func mqOrphan() {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
}

func TestMQOpenFlagsMeanWhatTheyMeanForFiles(t *testing.T) {
	name := mqNewName(t)
	_, err := OpenQueue(name, os.O_RDWR, 0, nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
	q, err := OpenQueue(name, os.O_RDWR|os.O_CREATE, 0o640, &mqSmall)
	require.NoError(t, err)
	defer q.Close()
	require.Equal(t, name, q.Name())
	_, err = OpenQueue(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o640, &mqSmall)
	require.ErrorIs(t, err, fs.ErrExist)
	require.ErrorContains(t, err, name)
	again, err := OpenQueue(name[1:], os.O_WRONLY|os.O_CREATE, 0o600, &QueueAttr{MaxMessages: 1, MessageSize: 1})
	require.NoError(t, err, "without its slash the name is the same")
	defer again.Close()
	require.Equal(t, mqSmall.MessageSize, again.MaxMessage(), "a queue keeps what it was made with")
	require.Equal(t, mqSmall.MaxMessages, again.MaxMessages())
	require.NoError(t, again.Send(forever, []byte("x"), 0))
	_, _, err = again.Receive(forever, nil)
	require.ErrorIs(t, err, errors.ErrUnsupported)
	reader := mqOpenAgain(t, q, os.O_RDONLY)
	require.ErrorIs(t, reader.TrySend([]byte("x"), 0), errors.ErrUnsupported)

	require.NoError(t, UnlinkQueue(name))
	require.ErrorIs(t, UnlinkQueue(name), fs.ErrNotExist)
	msg, _, err := q.TryReceive(nil)
	require.NoError(t, err, "who has it open goes on")
	require.Equal(t, "x", string(msg))
}

func TestMQBadArgumentsAreErrors(t *testing.T) {
	for _, name := range []string{"", "/", ".", "/..", "//a", "/a/b", "a/", "a\x00b", strings.Repeat("n", 256)} {
		_, err := OpenQueue(name, os.O_RDWR|os.O_CREATE, 0o600, nil)
		require.ErrorIs(t, err, fs.ErrInvalid, "%q", name)
		require.ErrorIs(t, UnlinkQueue(name), fs.ErrInvalid, "%q", name)
	}
	for _, flags := range []int{3, os.O_RDWR | os.O_TRUNC, os.O_RDWR | os.O_APPEND | os.O_CREATE} {
		_, err := OpenQueue(mqNewName(t), flags, 0o600, nil)
		require.ErrorIs(t, err, fs.ErrInvalid, "%#x", flags)
	}
	_, err := OpenQueue(mqNewName(t), os.O_RDWR|os.O_CREATE, fs.ModeSetuid|0o600, nil)
	require.ErrorIs(t, err, fs.ErrInvalid)
	_, err = OpenQueue(mqNewName(t), os.O_RDWR|os.O_CREATE, 0o600, &QueueAttr{MaxMessages: -1, MessageSize: 8})
	require.ErrorIs(t, err, fs.ErrInvalid)
	q := mqMake(t, mqSmall)
	require.ErrorIs(t, q.Send(forever, nil, MaxQueuePriority+1), fs.ErrInvalid)
	require.ErrorIs(t, q.TrySend(make([]byte, 65), 0), ErrTooLarge)
	require.NoError(t, q.TrySend(make([]byte, 64), MaxQueuePriority))
}

func TestMQLongestNameServes(t *testing.T) {
	name := mqNewName(t)
	name += strings.Repeat("n", 256-len(name))
	t.Cleanup(func() { _ = UnlinkQueue(name) })
	q, err := OpenQueue(name, os.O_RDWR|os.O_CREATE, 0o600, &mqSmall)
	require.NoError(t, err)
	require.NoError(t, q.Close())
}

func init() {
	roles["mqUmask"] = func() {
		unix.Umask(0o077)
		q, err := OpenQueue(os.Args[1], os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o466, &mqSmall)
		mqMust(err)
		mqMust(q.Close())
	}
}

func TestMQModeIsExactWhateverTheUmask(t *testing.T) {
	name := mqNewName(t)
	mqStart(t, "mqUmask", nil, name).finish(t)
	q, err := OpenQueue(name, os.O_RDONLY, 0, nil)
	require.NoError(t, err)
	defer q.Close()
	raw, err := q.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) {
		var stat unix.Stat_t
		require.NoError(t, unix.Fstat(int(fd), &stat))
		require.EqualValues(t, 0o466, stat.Mode&0o7777)
	}))
}

func TestMQAttributesAreTheDefaultsWhereNotGiven(t *testing.T) {
	limits, err := ReadQueueLimits()
	require.NoError(t, err)
	for _, c := range []struct {
		ask            *QueueAttr
		messages, size int
	}{
		{nil, limits.DefaultMessages, limits.DefaultMessageSize},
		{&QueueAttr{}, limits.DefaultMessages, limits.DefaultMessageSize},
		{&QueueAttr{MaxMessages: 2}, 2, limits.DefaultMessageSize},
		{&QueueAttr{MessageSize: 7}, limits.DefaultMessages, 7},
	} {
		q, err := OpenQueue(mqNewName(t), os.O_RDWR|os.O_CREATE, 0o600, c.ask)
		require.NoError(t, err)
		a, err := q.Attr()
		require.NoError(t, err)
		require.Equal(t, QueueAttr{MaxMessages: c.messages, MessageSize: c.size}, a)
		require.NoError(t, q.Close())
		require.NoError(t, UnlinkQueue(q.Name()))
	}
}

func TestMQNonblockIsTheKernelsFlagAndShared(t *testing.T) {
	q := mqMake(t, mqSmall)
	f, err := q.File()
	require.NoError(t, err)
	defer f.Close()
	require.False(t, mqIsNonblock(t, f))
	require.NoError(t, q.SetNonblock(true))
	require.True(t, mqIsNonblock(t, f))
	a, err := q.Attr()
	require.NoError(t, err)
	require.True(t, a.Nonblock)
	_, _, err = q.Receive(forever, nil)
	require.ErrorIs(t, err, ErrWouldBlock)
	_, _, err = q.ReceiveUntil(time.Now().Add(time.Hour), nil)
	require.ErrorIs(t, err, ErrWouldBlock)
	for range mqSmall.MaxMessages {
		require.NoError(t, q.Send(forever, nil, 0))
	}
	require.ErrorIs(t, q.Send(forever, nil, 0), ErrWouldBlock)
	require.NoError(t, q.SetNonblock(false))
	require.ErrorIs(t, q.SendUntil(time.Now(), nil, 0), os.ErrDeadlineExceeded)

	opened := mqOpenAgain(t, q, os.O_RDONLY|syscall.O_NONBLOCK)
	a, err = opened.Attr()
	require.NoError(t, err)
	require.Equal(t, QueueAttr{MaxMessages: 3, MessageSize: 64, Messages: 3, Nonblock: true}, a)
}

func mqIsNonblock(t *testing.T, f *os.File) (is bool) {
	raw, err := f.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) {
		flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
		require.NoError(t, err)
		is = flags&unix.O_NONBLOCK != 0
	}))
	return is
}

func TestMQFromFile(t *testing.T) {
	q := mqMake(t, mqSmall)
	f, err := q.File()
	require.NoError(t, err)
	other, err := QueueFromFile(f)
	require.NoError(t, err)
	defer other.Close()
	require.NoError(t, f.Close())
	require.NoError(t, q.Send(forever, []byte("by the descriptor"), 5))
	msg, priority, err := other.Receive(forever, []byte("came "))
	require.NoError(t, err)
	require.Equal(t, "came by the descriptor", string(msg))
	require.EqualValues(t, 5, priority)
	require.Equal(t, q.Name(), other.Name())

	null, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer null.Close()
	_, err = QueueFromFile(null)
	require.ErrorIs(t, err, unix.EBADF)
}

func TestMQDescriptorServesWhoMayNotOpenTheName(t *testing.T) {
	mqGuard(t)
	if os.Geteuid() != 0 {
		t.Skip("not root: there is no other user to be")
	}
	q := mqMake(t, mqSmall)
	f, err := q.File()
	require.NoError(t, err)
	defer f.Close()
	cmd := exec.Command(mqExecutableForAll(t))
	cmd.Env = append(os.Environ(), "SHMCHAN_ROLE=mqInherit")
	cmd.Args = append(cmd.Args, q.Name())
	cmd.ExtraFiles = []*os.File{f}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	c := mqRun(t, cmd)
	require.NoError(t, q.Send(forever, []byte("hello"), 9))
	require.Equal(t, "9 hello", c.line())
	c.finish(t)
}

// mqExecutableForAll copies this test binary to where any user may start it.
func mqExecutableForAll(t *testing.T) string {
	dir, err := os.MkdirTemp("", "shmchan-mq")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	binary, err := os.ReadFile("/proc/self/exe")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(dir+"/test", binary, 0o755))
	return dir + "/test"
}

func init() {
	roles["mqInherit"] = func() {
		_, err := OpenQueue(os.Args[1], os.O_RDONLY, 0, nil)
		mqAssert(errors.Is(err, fs.ErrPermission), "%v", err)
		q, err := QueueFromFile(os.NewFile(3, "inherited"))
		mqMust(err)
		msg, priority, err := q.Receive(forever, nil)
		mqMust(err)
		fmt.Println(priority, string(msg))
		mqMust(q.Close())
	}
}

func TestMQAfterCloseEverythingIsErrClosed(t *testing.T) {
	q := mqMake(t, mqSmall)
	require.NoError(t, q.Close())
	_, attrErr := q.Attr()
	_, _, receiveErr := q.Receive(forever, nil)
	_, fileErr := q.File()
	_, rawErr := q.SyscallConn()
	_, notifyErr := q.Notify()
	for _, err := range []error{
		q.Close(), q.Send(forever, nil, 0), q.TrySend(nil, 0), receiveErr, attrErr, fileErr, rawErr, notifyErr,
		q.SetNonblock(true), q.WaitReadable(forever), q.WaitWritable(forever),
	} {
		require.ErrorIs(t, err, os.ErrClosed)
	}
}

func TestMQDescriptorIsPollable(t *testing.T) {
	mqGuard(t)
	q := mqMake(t, mqSmall)
	c, err := MQOver(q, q)
	require.NoError(t, err)
	raw, err := RawConn(c)
	require.NoError(t, err)
	poll := func() (events int16) {
		require.NoError(t, raw.Control(func(fd uintptr) {
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN | unix.POLLOUT}}
			_, err := unix.Poll(fds, 0)
			require.NoError(t, err)
			events = fds[0].Revents
		}))
		return events
	}
	require.EqualValues(t, unix.POLLOUT, poll())
	done := make(chan error, 1)
	go func() {
		done <- raw.Read(func(fd uintptr) bool {
			n, errno := mqTimedReceive(int(fd), make([]byte, 64), nil)
			return errno == 0 && n == 3
		})
	}()
	mqAwaitWaiter(&q.f.in)
	require.NoError(t, q.WaitWritable(forever))
	require.NoError(t, q.Send(forever, []byte("abc"), 0))
	require.NoError(t, <-done)
	for range 3 {
		require.NoError(t, q.Send(forever, nil, 0))
	}
	require.EqualValues(t, unix.POLLIN, poll())
	require.NoError(t, q.WaitReadable(forever))
}

// mqStopwatch keeps the best of several runs, in nanoseconds for one operation: what the
// machine did meanwhile for others makes runs only slower.
type mqStopwatch struct{ best float64 }

func (s *mqStopwatch) time(n int, f func()) {
	start := time.Now()
	f()
	if took := float64(time.Since(start).Nanoseconds()) / float64(n); s.best == 0 || took < s.best {
		s.best = took
	}
}

func TestMQForgottenHandleIsClosed(t *testing.T) {
	mqGuard(t)
	q := mqMake(t, mqSmall)
	name := mqNewName(t)
	func() {
		forgotten, err := OpenQueue(name, os.O_RDWR|os.O_CREATE, 0o600, &mqSmall)
		require.NoError(t, err)
		_, _, err = forgotten.ReceiveUntil(time.Now(), nil) // has an epoll now, too
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.True(t, mqHasOpen(name))
	}()
	for mqHasOpen(name) {
		runtime.GC()
	}
	require.True(t, mqHasOpen(q.Name()))
	runtime.KeepAlive(q)
}

// mqHasOpen says whether this process has a descriptor of the queue.
func mqHasOpen(name string) bool {
	fds, _ := os.ReadDir("/proc/self/fd")
	for _, fd := range fds {
		if file, _ := os.Readlink("/proc/self/fd/" + fd.Name()); strings.HasPrefix(file, name) {
			return true
		}
	}
	return false
}

func TestMQGivesAllDescriptorsBack(t *testing.T) {
	count := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		return len(fds)
	}
	use := func() {
		q, err := OpenQueue(mqNewName(t), os.O_RDWR|os.O_CREATE, 0o600, &mqSmall)
		require.NoError(t, err)
		_, _, err = q.ReceiveUntil(time.Now(), nil)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		n, err := q.Notify()
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(context.Background(), time.Microsecond)
		defer cancel()
		require.ErrorIs(t, n.Wait(ctx), context.DeadlineExceeded)
		_, err = q.Notify()
		require.ErrorIs(t, err, unix.EBUSY)
		require.NoError(t, q.Close())
	}
	use() // the runtime's poller opens descriptors of its own at first
	before := count()
	for range 10 {
		use()
	}
	require.Equal(t, before, count())
}
