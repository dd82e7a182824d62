package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/internal/program"
)

func TestMain(m *testing.M) { os.Exit(program.Main(m)) }

// newName is a semaphore's name that nobody else uses, removed when the test ends.
func newName(t *testing.T) string {
	name := program.Name("namedsem")
	t.Cleanup(func() { os.Remove(file(name)) })
	return name
}

// file is where the C library keeps the semaphore.
func file(name string) string { return "/dev/shm/sem." + name[1:] }

// holding starts a command under the semaphore, which says "held" when it has it.
// It goes on until release is called.
func holding(t *testing.T, path string, args ...string) (p *program.Process, release func()) {
	t.Helper()
	p = program.New(t, path, args...)
	in, err := p.StdinPipe()
	require.NoError(t, err)
	p.Start()
	t.Cleanup(func() { in.Close() })
	require.Equal(t, "held", p.Line())
	return p, func() { in.Close() }
}

func TestTheExitStatusIsTheCommands(t *testing.T) {
	namedsem, name := program.Build(t), newName(t)
	notExecutable := filepath.Join(t.TempDir(), "x")
	require.NoError(t, os.WriteFile(notExecutable, nil, 0o600))
	for _, c := range []struct {
		status int
		args   []string
	}{
		{0, []string{name, "sh", "-c", "exit 0"}},
		{1, []string{name, "sh", "-c", "exit 1"}},
		{42, []string{name, "sh", "-c", "exit 42"}},
		{128 + 9, []string{name, "sh", "-c", "kill -9 $$"}},
		{127, []string{name, "no-such-command-anywhere"}},
		{126, []string{name, notExecutable}},
		{125, []string{"/a/b", "sh", "-c", "exit 0"}},
		{125, []string{"", "sh", "-c", "exit 0"}},
		{125, []string{"/", "sh", "-c", "exit 0"}},
		{2, nil},
		{2, []string{name}},
		{2, []string{"-u"}},
		{2, []string{"-z", name, "sh"}},
		{2, []string{"-n", "-1", name, "sh"}},
		{2, []string{"-n", "2147483648", name, "sh"}},
		{125, []string{"-u", newName(t)}},
		{0, []string{name, "sh", "-c", "exit 0"}}, // it was given back each time
		{0, []string{"-u", name}},
	} {
		program.Start(t, namedsem, c.args...).Ends(c.status)
	}
	require.NoFileExists(t, file(name))
}

func TestStandardStreamsAreTheCommands(t *testing.T) {
	p := program.New(t, program.Build(t), newName(t), "sh", "-c", "cat; echo err >&2")
	p.Stdin = strings.NewReader("in")
	p.Start().Ends(0)
	require.Equal(t, "in", p.Out.String())
	require.Equal(t, "err\n", p.Err.String())
}

// A counter in a file that each command reads, and writes one higher, is right only if
// none ran beside another.
func TestOneCommandRunsAtATime(t *testing.T) {
	namedsem, name := program.Build(t), newName(t)
	counter := filepath.Join(t.TempDir(), "counter")
	require.NoError(t, os.WriteFile(counter, []byte("0\n"), 0o600))
	const commands = 30
	var all []*program.Process
	for range commands {
		all = append(all, program.Start(t, namedsem, name, "sh", "-c", `n=$(cat "$1"); echo $((n+1)) >"$1"`, "sh", counter))
	}
	for _, p := range all {
		p.Ends(0)
	}
	text, err := os.ReadFile(counter)
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintln(commands), string(text))
}

const hold = "echo held; cat >/dev/null"

func TestSeveralAtATimeIfAskedFor(t *testing.T) {
	namedsem, name := program.Build(t), newName(t)
	a, releaseA := holding(t, namedsem, "-n", "2", name, "sh", "-c", hold)
	b, releaseB := holding(t, namedsem, "-n", "2", name, "sh", "-c", hold)
	releaseA()
	releaseB()
	a.Ends(0)
	b.Ends(0)
}

func TestASignalWhileWaitingEndsTheWait(t *testing.T) {
	namedsem, name := program.Build(t), newName(t)
	held, release := holding(t, namedsem, name, "sh", "-c", hold)
	ran := filepath.Join(t.TempDir(), "ran")
	waiting := program.Start(t, namedsem, name, "sh", "-c", `: >"$0"`, ran)
	waits(t, waiting.Process.Pid)
	waiting.Signal(syscall.SIGTERM)
	waiting.Ends(128 + int(syscall.SIGTERM))
	require.NoFileExists(t, ran)
	release()
	held.Ends(0)
	program.Start(t, namedsem, name, "sh", "-c", "exit 0").Ends(0) // the token is there
}

// waits returns when the process has opened a semaphore: then it catches signals, and waits
// or is about to.
func waits(t *testing.T, pid int) {
	t.Helper()
	program.Until(t, "it waits", func() bool {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
		require.NoError(t, err)
		return strings.Contains(string(text), "/dev/shm/sem.")
	})
}

func TestASignalIsPassedOnToTheCommand(t *testing.T) {
	namedsem, name := program.Build(t), newName(t)
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		cmd, _ := holding(t, namedsem, name, "sh", "-c", fmt.Sprintf(`trap 'exit 9' %d; echo held; while :; do read x; done`, int(s)))
		cmd.Signal(s)
		cmd.Ends(9) // the shell ends its read for the trap
	}
	program.Start(t, namedsem, name, "sh", "-c", "exit 0").Ends(0) // the token was given back
}

func TestACProgramMeetsIt(t *testing.T) {
	peer, namedsem, name := program.BuildC(t, "testdata/peer.c"), program.Build(t), newName(t)
	value := func() string { return strings.TrimSpace(program.Run(t, peer, "value", name)) }
	// C holds it: ours waits, and runs when C gives it back.
	c, release := holding(t, peer, "hold", name)
	require.Equal(t, "0", value())
	ours := program.Start(t, namedsem, name, "sh", "-c", "exit 0")
	waits(t, ours.Process.Pid)
	release()
	c.Ends(0)
	ours.Ends(0)
	require.Equal(t, "1", value())

	// Ours holds it: C waits.
	held, release := holding(t, namedsem, name, "sh", "-c", hold)
	require.Equal(t, "0", value())
	release()
	held.Ends(0)
	c, release = holding(t, peer, "hold", name)
	release()
	c.Ends(0)
}
