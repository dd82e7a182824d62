//go:build linux

package channel_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// The race detector must neither complain about users that a channel orders nor
// stay silent about those that it does not. So a small program is built with
// -race, whatever this test itself was built with.

func buildRacecheck(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds a program with -race")
	}
	switch runtime.GOARCH {
	case "amd64", "arm64", "ppc64le", "s390x":
	default:
		t.Skipf("no race detector on %s", runtime.GOARCH)
	}
	tool, err := exec.LookPath("go")
	if err != nil {
		t.Skipf("no go tool: %v", err)
	}
	out, err := exec.Command(tool, "env", "CC").Output()
	if err != nil {
		t.Skipf("go env: %v", err)
	}
	cc, _, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	if _, err := exec.LookPath(cc); err != nil {
		t.Skipf("-race needs a C compiler: %v", err)
	}
	bin := filepath.Join(t.TempDir(), "racecheck")
	cmd := exec.Command(tool, "build", "-race", "-o", bin, "./testdata/racecheck")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build -race: %v\n%s", err, out)
	}
	return bin
}

type raceCase struct {
	name     string
	calls    string
	spsc     bool
	capacity int
	handles  int
	buffers  int
	racy     bool
}

func (c raceCase) args() []string {
	return []string{
		"-case=" + c.name, "-calls=" + c.calls, fmt.Sprintf("-spsc=%v", c.spsc), fmt.Sprintf("-cap=%d", c.capacity),
		fmt.Sprintf("-handles=%d", c.handles), fmt.Sprintf("-buffers=%d", c.buffers),
	}
}

func raceCases() (cases []raceCase) {
	add := func(c raceCase) {
		for c.handles = 1; c.handles <= 2; c.handles++ {
			cases = append(cases, c)
		}
	}
	for _, spsc := range []bool{false, true} {
		for _, calls := range []string{"plain", "context", "try", "batch", "inplace"} {
			for _, capacity := range []int{0, 1, 4} {
				if calls != "plain" && capacity == 4 {
					continue
				}
				c := raceCase{calls: calls, spsc: spsc, capacity: capacity, buffers: capacity + 2}
				for _, c.name = range []string{"ordered", "buffers"} {
					add(c)
				}
				if calls == "plain" || capacity == 1 {
					c.name, c.racy = "after-send", true
					add(c)
					c.name, c.buffers = "buffers", capacity+1
					add(c)
				}
			}
		}
		for _, capacity := range []int{0, 1, 4} {
			add(raceCase{name: "close", calls: "plain", spsc: spsc, capacity: capacity, buffers: 2})
		}
	}
	add(raceCase{name: "semaphore", calls: "plain", capacity: 1, buffers: 2})
	add(raceCase{name: "semaphore", calls: "plain", capacity: 2, buffers: 2, racy: true})
	add(raceCase{name: "two-senders", calls: "plain", spsc: true, capacity: 4, buffers: 2, racy: true})
	add(raceCase{name: "two-receivers", calls: "plain", spsc: true, capacity: 4, buffers: 2, racy: true})
	return cases
}

func TestRaceDetectorIsQuietAndTrue(t *testing.T) {
	bin := buildRacecheck(t)
	for _, c := range raceCases() {
		t.Run(strings.Join(c.args(), " "), func(t *testing.T) {
			reported, output := c.run(t, bin)
			switch {
			case c.racy && !reported:
				t.Errorf("a race was not reported\n%s", output)
			case !c.racy && reported:
				t.Errorf("reported, though the channel orders it\n%s", output)
			}
		})
	}
}

// run says whether the detector reported something.
func (c raceCase) run(t *testing.T, bin string) (reported bool, output string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(bg, watchdog)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, c.args()...)
	cmd.Env = append(os.Environ(), "GORACE=exitcode=66 atexit_sleep_ms=0")
	var all bytes.Buffer
	cmd.Stdout, cmd.Stderr = &all, &all
	err := cmd.Run()
	warned := strings.Contains(all.String(), "DATA RACE")
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		t.Fatalf("no end in %v\n%s", watchdog, all.String())
	case err == nil && !warned:
		return false, all.String()
	case errors.As(err, &exit) && exit.ExitCode() == 66 && warned:
		return true, all.String()
	}
	t.Fatalf("%v, warned: %v\n%s", err, warned, all.String())
	return false, ""
}
