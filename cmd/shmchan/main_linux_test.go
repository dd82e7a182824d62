package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/channel"
	"github.com/shmchan/shmchan/internal/program"
)

// The tests run the test binary itself as the tool: asTool in its environment
// makes it that.
const asTool = "SHMCHAN_TEST_AS_TOOL"

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
	*program.Process
	t *testing.T
}

// launch starts a command. The process's standard output goes to stdout if that is not nil.
func launch(t *testing.T, stdin io.Reader, stdout io.Writer, path string, args ...string) *process {
	t.Helper()
	p := &process{program.New(t, path, args...), t}
	self, err := os.Executable()
	require.NoError(t, err)
	p.Env = append(os.Environ(), asTool+"=1", "GORACE=atexit_sleep_ms=0", "SHMCHAN="+self,
		"SEND="+self+" send --dir "+home, "RECV="+self+" recv --dir "+home, "RM="+self+" rm --dir "+home)
	p.Stdin = stdin
	if stdout != nil {
		p.Stdout = stdout
	}
	p.Start()
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

// ends waits, and checks the exit status and what was said.
func (p *process) ends(status int, stderr ...string) {
	p.t.Helper()
	assert.Equal(p.t, status, p.Status(), "%v: %s", p.Args[1:], p.Err)
	if len(stderr) == 0 {
		assert.Empty(p.t, p.Err.String(), "%v", p.Args[1:])
	}
	for _, part := range stderr {
		assert.Contains(p.t, p.Err.String(), part)
		assert.True(p.t, strings.HasPrefix(p.Err.String(), "shmchan: "), "%s", p.Err)
	}
}

// quick runs the tool to its end.
func quick(t *testing.T, stdin string, args ...string) *process {
	t.Helper()
	p := start(t, strings.NewReader(stdin), args...)
	p.Status()
	return p
}

// shell runs a script, in which $SEND, $RECV and $RM are commands, to its end.
func shell(t *testing.T, script string) *process {
	t.Helper()
	p := launch(t, nil, nil, "sh", "-c", script)
	p.Status()
	return p
}

// seen waits until the channel has the name and is as it should be. It joins for
// as long as that takes.
func seen(t *testing.T, name string, as func(channel.Stats) bool) {
	t.Helper()
	program.Until(t, fmt.Sprintf("channel %q is as it should be", name), func() bool {
		ch, err := channel.Attach[[]byte](name, channel.Dir(home))
		if errors.Is(err, os.ErrNotExist) {
			return false
		}
		require.NoError(t, err)
		last := ch.Stats()
		require.NoError(t, ch.Detach())
		return as(last)
	})
}

func receiving(s channel.Stats) bool { return s.Receivers > 0 }
func sending(s channel.Stats) bool   { return s.Senders > 0 }
