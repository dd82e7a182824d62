package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/channel"
)

// The tests run the test binary itself as the tool: asTool in its environment
// makes it that.
const asTool = "SHMCHAN_TEST_AS_TOOL"

// patience is the watchdog's: no step takes so long unless it hangs.
const patience = 20 * time.Second

// home is where the tests have their names. Nothing may be left there.
var home string

func TestMain(m *testing.M) {
	if os.Getenv(asTool) != "" {
		main()
	}
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	var err error
	for _, dir := range []string{defaultDir, ""} {
		if home, err = os.MkdirTemp(dir, "shmchan-tool-test-*"); err == nil {
			break
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(home)
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGHUP} {
		if signal.Ignored(s) { // as in a script's background job; the tools are not to inherit that
			signal.Notify(make(chan os.Signal, 1), s)
		}
	}
	status := m.Run()
	if left := namesIn(home); len(left) > 0 {
		fmt.Fprintln(os.Stderr, "left behind:", left)
		return 1
	}
	return status
}

func namesIn(dir string) (names []string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return []string{err.Error()}
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// newName gives a name of the test's own, and says at the end whether it is gone.
func newName(t *testing.T) string {
	t.Helper()
	name := strings.Map(func(r rune) rune {
		if r == '/' || r == ' ' {
			return '-'
		}
		return r
	}, t.Name())
	t.Cleanup(func() {
		if channel.Unlink(name, channel.Dir(home)) == nil {
			t.Errorf("the name %q was left behind", name)
		}
	})
	return name
}

func exists(name string) bool {
	_, err := os.Lstat(filepath.Join(home, name))
	return err == nil
}

// process is a tool, or a shell with tools, that runs.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout bytes.Buffer // to be looked at after wait
	stderr bytes.Buffer
	once   sync.Once
	status int
}

// launch starts a command in a process group of its own, which does not outlive
// the test. The process's standard output goes to stdout if that is not nil.
func launch(t *testing.T, stdin io.Reader, stdout io.Writer, path string, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	p := &process{t: t, cmd: exec.CommandContext(ctx, path, args...)}
	self, err := os.Executable()
	require.NoError(t, err)
	p.cmd.Env = append(os.Environ(), asTool+"=1", "GORACE=atexit_sleep_ms=0", "SHMCHAN="+self,
		"SEND="+self+" send --dir "+home, "RECV="+self+" recv --dir "+home, "RM="+self+" rm --dir "+home)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.Cancel = func() error { return syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) }
	p.cmd.WaitDelay = time.Second
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = stdin, stdout, &p.stderr
	if stdout == nil {
		p.cmd.Stdout = &p.stdout
	}
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() {
		cancel()
		p.wait()
	})
	return p
}

// start starts the tool.
func start(t *testing.T, stdin io.Reader, args ...string) *process {
	t.Helper()
	return startTo(t, stdin, nil, args...)
}

func startTo(t *testing.T, stdin io.Reader, stdout io.Writer, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	args = append([]string{args[0], "--dir", home}, args[1:]...)
	return launch(t, stdin, stdout, self, args...)
}

// wait gives the exit status as a shell would say it.
func (p *process) wait() int {
	p.once.Do(func() {
		err := p.cmd.Wait()
		status := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
		p.status = status.ExitStatus()
		if status.Signaled() {
			p.status = 128 + int(status.Signal())
		}
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
			p.t.Errorf("%v: %v", p.cmd.Args[1:], err)
		}
	})
	return p.status
}

func (p *process) signal(s syscall.Signal) { require.NoError(p.t, p.cmd.Process.Signal(s)) }

// ends waits, and checks the exit status and what was said.
func (p *process) ends(status int, stderr ...string) {
	p.t.Helper()
	assert.Equal(p.t, status, p.wait(), "%v: %s", p.cmd.Args[1:], &p.stderr)
	if len(stderr) == 0 {
		assert.Empty(p.t, p.stderr.String(), "%v", p.cmd.Args[1:])
	}
	for _, part := range stderr {
		assert.Contains(p.t, p.stderr.String(), part)
		assert.True(p.t, strings.HasPrefix(p.stderr.String(), "shmchan: "), "%s", &p.stderr)
	}
}

// quick runs the tool to its end.
func quick(t *testing.T, stdin string, args ...string) *process {
	t.Helper()
	p := start(t, strings.NewReader(stdin), args...)
	p.wait()
	return p
}

// shell runs a script, in which $SEND, $RECV and $RM are commands, to its end.
func shell(t *testing.T, script string) *process {
	t.Helper()
	p := launch(t, nil, nil, "sh", "-c", script)
	p.wait()
	return p
}

// seen waits until the channel has the name and is as it should be. It joins for
// as long as that takes.
func seen(t *testing.T, name string, as func(channel.Stats) bool) {
	t.Helper()
	var last channel.Stats
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		ch, err := channel.Attach[[]byte](name, channel.Dir(home))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		require.NoError(t, err)
		last = ch.Stats()
		require.NoError(t, ch.Detach())
		if as(last) {
			return
		}
	}
	t.Fatalf("channel %q did not come to be as it should: %+v", name, last)
}

func receiving(s channel.Stats) bool { return s.Receivers > 0 }
func sending(s channel.Stats) bool   { return s.Senders > 0 }
