package shm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func init() {
	childParts["descriptors"] = childDescriptors
}

// Every step that opens something is refused once: nothing is left in the
// directory, and no descriptor is lost.
func TestRunningOutOfDescriptorsLeavesNothing(t *testing.T) {
	dir := memoryDir(t)
	runChild(t, child(t, "descriptors", dir))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, entries)
}

func childDescriptors(args []string) error {
	count := func() (n int) {
		for fd := range 64 {
			if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
				n++
			}
		}
		return n
	}
	makers := map[string]func() (*Object, error){
		"memfd": func() (*Object, error) { return Memfd("x", 4096, nil) },
	}
	for name, way := range ways {
		makers[name] = func() (*Object, error) { return create(args[0], "x", 4096, 0o600, nil, way) }
	}
	// What is needed once in a process is not to be first needed at the limit: the
	// probes, and the runtime's netpoller, which cannot do without.
	memfdNoexec()
	_, _ = os.ReadFile("/proc/self/statm")
	fill := func() (held []int) {
		for {
			fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return held
			}
			held = append(held, fd)
		}
	}
	limit := unix.Rlimit{Cur: 64, Max: 64}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	for name, mk := range makers {
		failed, made := 0, 0
		for spare := range 10 {
			held := fill()
			for range spare {
				closeFd(held[len(held)-1])
				held = held[:len(held)-1]
			}
			before := count()
			o, err := mk()
			switch {
			case err == nil:
				made++
				_ = o.Close()
				if name != "memfd" {
					if err := os.Remove(filepath.Join(args[0], "x")); err != nil {
						return err
					}
				}
			case errors.Is(err, unix.EMFILE):
				failed++
			default:
				return fmt.Errorf("%s with %d spare descriptors: %w", name, spare, err)
			}
			if after := count(); after != before {
				return fmt.Errorf("%s with %d spare descriptors: %d before, %d after", name, spare, before, after)
			}
			for _, fd := range held {
				closeFd(fd)
			}
			entries, err := os.ReadDir(args[0])
			if err != nil || len(entries) != 0 {
				return fmt.Errorf("%s with %d spare descriptors: left %v, %v", name, spare, entries, err)
			}
		}
		if failed == 0 || made == 0 {
			return fmt.Errorf("%s failed %d times and was made %d times", name, failed, made)
		}
	}
	return nil
}

func TestNothingIsInheritedUnasked(t *testing.T) {
	o, err := Create("", uniqueName(t), 4096, 0o600, nil)
	require.NoError(t, err)
	defer o.Close()
	m, err := Memfd("inherited", 4096, nil)
	require.NoError(t, err)
	defer m.Close()
	f, err := m.File()
	require.NoError(t, err)
	defer f.Close()
	links, err := filepath.Glob("/proc/self/fd/*")
	require.NoError(t, err)
	seen := 0
	for _, link := range links {
		to, err := os.Readlink(link)
		if err != nil || !strings.Contains(to, "inherited") && !strings.HasPrefix(to, DefaultDir) {
			continue
		}
		var fd int
		_, err = fmt.Sscan(filepath.Base(link), &fd)
		require.NoError(t, err)
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		require.NoError(t, err)
		assert.NotZero(t, flags&unix.FD_CLOEXEC, "%s", to)
		seen++
	}
	assert.Equal(t, 5, seen) // two of each object, and f
}
