package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/fallback"
)

// The test binary is the program itself when this is set.
const asProgram = "SHMCHAN_EXAMPLE_MQ"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func program(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return cmd
}

// mq runs the program to its end, which must be a good one, and returns what it printed.
func mq(t *testing.T, args ...string) string {
	t.Helper()
	cmd := program(args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%s", stderr.String())
	return string(out)
}

// mqFails runs the program, which must fail, and returns what it printed as the reason.
func mqFails(t *testing.T, args ...string) string {
	t.Helper()
	cmd := program(args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.NotZero(t, exit.ExitCode())
	require.Empty(t, out)
	require.NotEmpty(t, stderr.String())
	return stderr.String()
}

func newName(t *testing.T) string {
	name := "/shmchan-example-mq-" + rand.Text()
	t.Cleanup(func() { _ = fallback.UnlinkQueue(name) })
	return name
}

// start runs the program in the background until the test ends.
func start(t *testing.T, cmd *exec.Cmd) *bufio.Reader {
	t.Helper()
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return bufio.NewReader(out)
}

func line(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	s, err := r.ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSuffix(s, "\n")
}

func TestSendAndReceiveByPriority(t *testing.T) {
	name := newName(t)
	mq(t, "send", name, "low")
	mq(t, "send", "-p", "7", name, "seven")
	mq(t, "send", "-p", "32767", name, "with  blanks")
	require.Equal(t, "messages 3\n", mq(t, "info", name)[:len("messages 3\n")])
	require.Equal(t, "32767 with  blanks\n", mq(t, "receive", name))
	require.Equal(t, "7 seven\n", mq(t, "receive", "-n", name))
	require.Equal(t, "0 low\n", mq(t, "receive", name))
	require.Contains(t, mqFails(t, "receive", "-n", name), "empty")
	mq(t, "unlink", name)
	for _, args := range [][]string{{"unlink", name}, {"info", name}, {"receive", name}, {"notify", name}} {
		require.Contains(t, mqFails(t, args...), name)
	}
}

func TestReceiveWaits(t *testing.T) {
	name := newName(t)
	mq(t, "send", name, "first")
	require.Equal(t, "0 first\n", mq(t, "receive", name))
	cmd := program("receive", name)
	out := start(t, cmd)
	mq(t, "send", "-p", "3", name, "waited for")
	require.Equal(t, "3 waited for", line(t, out))
	require.NoError(t, cmd.Wait())
}

func TestNotifyPrintsWhatComes(t *testing.T) {
	name := newName(t)
	mq(t, "send", "-p", "1", name, "before")
	cmd := program("notify", name)
	out := start(t, cmd)
	require.Equal(t, "1 before", line(t, out), "it is registered, and the queue was emptied")
	require.Contains(t, mqFails(t, "notify", name), "busy")
	for range 5 {
		mq(t, "send", "-p", "2", name, "after")
		require.Equal(t, "2 after", line(t, out))
	}
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait())
}

func TestWrongUseIsRefused(t *testing.T) {
	name := newName(t)
	for _, args := range [][]string{
		{},
		{"explode", name},
		{"send", name},
		{"send", name, "a", "b"},
		{"send", "-p", "32768", name, "x"},
		{"send", "-p", "-1", name, "x"},
		{"send", "/two/slashes", "x"},
		{"receive"},
		{"receive", "-x", name},
	} {
		mqFails(t, args...)
	}
}

func TestWithAProgramInC(t *testing.T) {
	cc, err := exec.LookPath("gcc")
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("no C compiler (gcc)")
	}
	require.NoError(t, err)
	peer := filepath.Join(t.TempDir(), "mqpeer")
	built, err := exec.Command(cc, "-O2", "-Wall", "-o", peer, "../../fallback/testdata/mqpeer.c", "-lrt").CombinedOutput()
	require.NoError(t, err, "%s", built)
	c := func(args ...string) string {
		cmd := exec.Command(peer, args...)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		require.NoError(t, err)
		return string(out)
	}
	name := newName(t)
	c("make", name, "4", "32")
	c("send", name, "5", "from C", "and more")
	require.Equal(t, "6 and more\n", mq(t, "receive", name))
	require.Equal(t, "5 from C\n", mq(t, "receive", name))
	mq(t, "send", "-p", "9", name, "from Go")
	require.Equal(t, "9 from Go\n", c("receive", name, "1"))
	require.Equal(t, "messages 0\nmaximum messages 4\nmessage size 32\n", mq(t, "info", name))
	require.Contains(t, mqFails(t, "send", name, strings.Repeat("x", 33)), "too large")

	cmd := program("notify", name)
	out := start(t, cmd)
	c("send", name, "1", "told")
	require.Equal(t, "1 told", line(t, out))
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.NoError(t, cmd.Wait())
}
