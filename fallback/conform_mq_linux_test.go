package fallback

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// mqSizeEnv tells a child how long its queues' messages may be.
const mqSizeEnv = "SHMCHAN_TEST_MQ_MESSAGE"

// mqPair makes two queues that two Conns see crosswise.
func mqPair(t testing.TB) (there, back string) {
	attr := &QueueAttr{MaxMessages: 4, MessageSize: 1024}
	if n, err := strconv.Atoi(os.Getenv(mqSizeEnv)); err == nil {
		attr.MessageSize = n
	}
	there, back = mqNewName(t), mqNewName(t)
	for _, name := range []string{there, back} {
		q, err := OpenQueue(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600, attr)
		require.NoError(t, err)
		require.NoError(t, q.Close())
	}
	return there, back
}

// mqForget unlinks queues that everybody has open: a test that is killed leaves nothing then.
func mqForget(t testing.TB, names ...string) {
	for _, name := range names {
		require.NoError(t, UnlinkQueue(name))
	}
}

func mqFile(t testing.TB, name string, flags int) *os.File {
	q, err := OpenQueue(name, flags, 0, nil)
	require.NoError(t, err)
	f, err := q.File()
	require.NoError(t, err)
	require.NoError(t, q.Close())
	return f
}

func mqJoin(out, in string) (Conn, error) {
	o, err := OpenQueue(out, os.O_WRONLY, 0, nil)
	if err != nil {
		return nil, err
	}
	i, err := OpenQueue(in, os.O_RDONLY, 0, nil)
	if err != nil {
		return nil, err
	}
	return MQOver(o, i)
}

func mqJoined(t testing.TB, out, in string) Conn {
	c, err := mqJoin(out, in)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// mqForeign is a way into a queue that asks nothing of what is sent, not even its priority.
func mqForeign(t testing.TB, name string) func([]byte) error {
	fd, err := mqOpen(newMQPath(name[1:]), os.O_WRONLY, 0, nil)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	return func(p []byte) error {
		if errno := mqTimedSend(fd, p, uint32(len(p)%(MaxQueuePriority+1))); errno != 0 {
			return errno
		}
		return nil
	}
}

// The whole suite once more, with a queue whose messages are as long as those that streams are
// measured with: in an IPC namespace, where msgsize_max may be set, and by a user of its own,
// with whom no other's queues count.
func TestMQConformsWithMessagesOf64KiB(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the suite once more")
	}
	if os.Geteuid() != 0 {
		t.Skip("not root: msgsize_max cannot be set")
	}
	cmd := exec.Command(mqExecutableForAll(t), "-test.v", "-test.timeout=5m",
		"-test.run=^TestMQConformsOneByOne$")
	cmd.Env = append(os.Environ(), mqSizeEnv+"=65536")
	cmd.Dir = os.TempDir()
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWIPC}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EINVAL):
		t.Skip("namespaces cannot be made here (no privilege, or emulated):", err)
	case errors.As(err, &exit) && exit.ExitCode() == mqNotPermitted:
		t.Skipf("msgsize_max cannot be set here: %s", out)
	}
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: TestMQConformsOneByOne/messages_of_every_size")
}

// TestMQConformsOneByOne is for the child: RLIMIT_MSGQUEUE has room for one pair of queues.
func TestMQConformsOneByOne(t *testing.T) {
	size, err := strconv.Atoi(os.Getenv(mqSizeEnv))
	if err != nil {
		t.Skip("TestMQConformsWithMessagesOf64KiB starts it")
	}
	for _, c := range carriers {
		if c.name == "MQ" {
			a, b := c.open(t)
			require.Equal(t, size, a.MaxMessage())
			require.NoError(t, a.Close())
			require.NoError(t, b.Close())
			c.raw = nil // needs two pairs
			runChecks(t, c, false, 1)
		}
	}
}

const mqNotPermitted = 77

func init() {
	if size := os.Getenv(mqSizeEnv); size != "" && os.Geteuid() == 0 {
		if err := os.WriteFile(mqProc+"msgsize_max", []byte(size), 0); err != nil {
			fmt.Println(err)
			os.Exit(mqNotPermitted)
		}
		mqBecomeNobody()
	}
	carriers = append(carriers, carrier{
		name: "MQ", // a queue for each direction
		open: func(t testing.TB) (Conn, Conn) {
			there, back := mqPair(t)
			a, b := mqJoined(t, there, back), mqJoined(t, back, there)
			mqForget(t, there, back)
			return a, b
		},
		give: func(t testing.TB) (Conn, []*os.File, string) {
			there, back := mqPair(t)
			a := mqJoined(t, there, back)
			files := []*os.File{mqFile(t, back, os.O_WRONLY), mqFile(t, there, os.O_RDONLY)}
			mqForget(t, there, back)
			return a, files, ""
		},
		remake: func(string) (Conn, error) {
			out, err := QueueFromFile(os.NewFile(3, "queue"))
			if err != nil {
				return nil, err
			}
			in, err := QueueFromFile(os.NewFile(4, "queue"))
			if err != nil {
				return nil, err
			}
			return MQOver(out, in)
		},
		raw: func(t testing.TB) (Conn, func([]byte) error) {
			there, back := mqPair(t)
			a, write := mqJoined(t, there, back), mqForeign(t, back)
			mqForget(t, there, back)
			return a, write
		},
	}, carrier{
		name: "MQOneWay", // one queue, inherited as a descriptor
		open: func(t testing.TB) (Conn, Conn) {
			there, back := mqPair(t)
			mqForget(t, back)
			a, err := MQ(there, os.O_WRONLY, 0, nil)
			require.NoError(t, err)
			t.Cleanup(func() { a.Close() })
			b, err := MQ(there, os.O_RDONLY, 0, nil)
			require.NoError(t, err)
			t.Cleanup(func() { b.Close() })
			mqForget(t, there)
			return a, b
		},
		give: func(t testing.TB) (Conn, []*os.File, string) {
			there, back := mqPair(t)
			mqForget(t, back)
			a, err := MQ(there, os.O_WRONLY, 0, nil)
			require.NoError(t, err)
			t.Cleanup(func() { a.Close() })
			f := mqFile(t, there, os.O_RDONLY)
			mqForget(t, there)
			return a, []*os.File{f}, ""
		},
		remake: func(string) (Conn, error) {
			q, err := QueueFromFile(os.NewFile(3, "queue"))
			if err != nil {
				return nil, err
			}
			return MQOver(nil, q)
		},
		raw: func(t testing.TB) (Conn, func([]byte) error) {
			there, back := mqPair(t)
			mqForget(t, back)
			a, err := MQ(there, os.O_RDONLY, 0, nil)
			require.NoError(t, err)
			t.Cleanup(func() { a.Close() })
			write := mqForeign(t, there)
			mqForget(t, there)
			return a, write
		},
	}, carrier{
		name: "MQByName", // one queue, which processes find by its name, and which outlives them
		give: func(t testing.TB) (Conn, []*os.File, string) {
			there, back := mqPair(t)
			mqForget(t, back)
			a, err := MQ(there, os.O_WRONLY, 0, nil)
			require.NoError(t, err)
			t.Cleanup(func() { a.Close() })
			return a, nil, there
		},
		remake: func(name string) (Conn, error) { return MQ(name, os.O_RDWR, 0, nil) },
	})
}
