package main

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/fallback"
	"github.com/shmchan/shmchan/internal/program"
)

func TestMain(m *testing.M) { os.Exit(program.Main(m)) }

// mq runs the program to its end, which must be a good one, and returns what it printed.
func mq(t *testing.T, args ...string) string {
	t.Helper()
	return program.Run(t, program.Build(t), args...)
}

// mqFails runs the program, which must fail, and returns what it printed as the reason.
func mqFails(t *testing.T, args ...string) string {
	t.Helper()
	p := start(t, args...)
	p.Ends(1, "mq: ")
	require.Empty(t, p.Out.String())
	return p.Err.String()
}

func newName(t *testing.T) string {
	name := program.Name("mq")
	t.Cleanup(func() { _ = fallback.UnlinkQueue(name) })
	return name
}

// start runs the program in the background until the test ends.
func start(t *testing.T, args ...string) *program.Process {
	t.Helper()
	return program.Start(t, program.Build(t), args...)
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
	p := start(t, "receive", name)
	mq(t, "send", "-p", "3", name, "waited for")
	require.Equal(t, "3 waited for", p.Line())
	p.Ends(0)
}

func TestNotifyPrintsWhatComes(t *testing.T) {
	name := newName(t)
	mq(t, "send", "-p", "1", name, "before")
	p := start(t, "notify", name)
	require.Equal(t, "1 before", p.Line(), "it is registered, and the queue was emptied")
	require.Contains(t, mqFails(t, "notify", name), "busy")
	for range 5 {
		mq(t, "send", "-p", "2", name, "after")
		require.Equal(t, "2 after", p.Line())
	}
	p.Signal(syscall.SIGTERM)
	p.Ends(0)
}

func TestWrongUseIsRefused(t *testing.T) {
	name := newName(t)
	for _, args := range [][]string{
		{},
		{"explode", name},
		{"send", name},
		{"send", name, "a", "b"},
		{"send", "-p", "-1", name, "x"},
		{"send", "-p"},
		{"receive"},
		{"receive", "-x", name},
		{"notify"},
		{"notify", name, name},
		{"info", "-n", name},
		{"unlink"},
	} {
		start(t, args...).Ends(2, "usage: mq ")
	}
	mqFails(t, "send", "-p", "32768", name, "x")
	mqFails(t, "send", "/two/slashes", "x")
	mqFails(t, "send", "/", "x")
	mqFails(t, "send", "", "x")
}

func TestWithAProgramInC(t *testing.T) {
	peer := program.BuildC(t, "../../fallback/testdata/mqpeer.c")
	c := func(args ...string) string { return program.Run(t, peer, args...) }
	name := newName(t)
	c("make", name, "4", "32")
	c("send", name, "5", "from C", "and more")
	require.Equal(t, "6 and more\n", mq(t, "receive", name))
	require.Equal(t, "5 from C\n", mq(t, "receive", name))
	mq(t, "send", "-p", "9", name, "from Go")
	require.Equal(t, "9 from Go\n", c("receive", name, "1"))
	require.Equal(t, "messages 0\nmaximum messages 4\nmessage size 32\n", mq(t, "info", name))
	require.Contains(t, mqFails(t, "send", name, strings.Repeat("x", 33)), "too large")

	p := start(t, "notify", name)
	c("send", name, "1", "told")
	require.Equal(t, "1 told", p.Line())
	p.Signal(os.Interrupt)
	p.Ends(0)
}
