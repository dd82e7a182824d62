package fallback

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// mqPeer compiles the C program, for this test.
func mqPeer(t testing.TB) string {
	t.Helper()
	cc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("no C compiler (gcc): nothing to meet at the other end")
	}
	program := filepath.Join(t.TempDir(), "mqpeer")
	out, err := exec.Command(cc, "-O2", "-Wall", "-Werror", "-o", program, "testdata/mqpeer.c", "-lrt").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return program
}

func TestMQMeetsAQueueThatAProgramInCHasMade(t *testing.T) {
	mqGuard(t)
	peer, name := mqPeer(t), mqNewName(t)
	mqRun(t, exec.Command(peer, "make", name, "5", "100")).finish(t)
	q, err := OpenQueue(name, os.O_RDWR, 0, nil)
	require.NoError(t, err)
	defer q.Close()
	a, err := q.Attr()
	require.NoError(t, err)
	require.Equal(t, QueueAttr{MaxMessages: 5, MessageSize: 100}, a)

	mqRun(t, exec.Command(peer, "send", name, "30000", "low", "", "high")).finish(t)
	for _, want := range []struct {
		text     string
		priority uint
	}{{"high", 30002}, {"", 30001}, {"low", 30000}} {
		msg, priority, err := q.Receive(forever, nil)
		require.NoError(t, err)
		require.Equal(t, want.text, string(msg))
		require.Equal(t, want.priority, priority)
	}
}

func TestMQAProgramInCReceivesWithPriorities(t *testing.T) {
	mqGuard(t)
	peer := mqPeer(t)
	q := mqMake(t, mqSmall)
	for i, text := range []string{"low", "high", "middle"} {
		require.NoError(t, q.Send(forever, []byte(text), []uint{0, MaxQueuePriority, 9}[i]))
	}
	f, err := q.File()
	require.NoError(t, err)
	defer f.Close()
	inheriting := exec.Command(peer, "inherit", "3", "1")
	inheriting.ExtraFiles = []*os.File{f}
	c := mqRun(t, inheriting)
	require.Equal(t, "32767 high", c.line())
	c.finish(t)
	c = mqRun(t, exec.Command(peer, "receive", q.Name(), "3"))
	require.Equal(t, "9 middle", c.line())
	require.Equal(t, "0 low", c.line())
	require.NoError(t, q.Send(forever, []byte("woken"), 1), "it is blocked in mq_receive by now, or will be")
	require.Equal(t, "1 woken", c.line())
	c.finish(t)
}

func TestMQEchoedByAProgramInC(t *testing.T) {
	mqGuard(t)
	peer := mqPeer(t)
	there, back := mqMake(t, mqSmall), mqMake(t, QueueAttr{MaxMessages: 1, MessageSize: 64})
	c := mqRun(t, exec.Command(peer, "echo", there.Name(), back.Name(), "500"))
	for i := range 500 {
		require.NoError(t, there.Send(forever, []byte{byte(i), byte(i >> 8)}, uint(i)))
		msg, priority, err := back.Receive(forever, nil)
		require.NoError(t, err)
		require.Equal(t, []byte{byte(i), byte(i >> 8)}, msg)
		require.EqualValues(t, i, priority)
	}
	c.finish(t)
}
