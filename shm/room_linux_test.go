package shm

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func init() {
	childParts["limits"] = childLimits
}

func TestResourceLimitsAreErrorsAndNotSignals(t *testing.T) {
	dir := memoryDir(t)
	runChild(t, child(t, "limits", dir))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, entries)
}

func childLimits(args []string) error {
	check := func(resource int, limit uint64, want error, text string) error {
		var before unix.Rlimit
		if err := unix.Getrlimit(resource, &before); err != nil {
			return err
		}
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: limit, Max: before.Max}); err != nil {
			return err
		}
		_, err1 := Create(args[0], "x", 64<<20, 0o600, nil)
		_, err2 := Memfd("x", 64<<20, nil)
		if err := unix.Setrlimit(resource, &before); err != nil {
			return err
		}
		for _, err := range []error{err1, err2} {
			if !errors.Is(err, want) || !strings.Contains(err.Error(), text) {
				return fmt.Errorf("%s: %w", text, err)
			}
		}
		return nil
	}
	return errors.Join(
		check(unix.RLIMIT_FSIZE, 1<<20, syscall.EFBIG, "RLIMIT_FSIZE"),
		check(unix.RLIMIT_AS, addressSpaceUsed()+32<<20, syscall.ENOMEM, "RLIMIT_AS"),
	)
}

func TestMoreThanTheMachineHasIsRefusedBeforehand(t *testing.T) {
	if runtime.GOARCH == "386" || runtime.GOARCH == "arm" {
		t.Skip("the machine has more than the address space has")
	}
	free, swap, ok := memoryFree(os.DirFS("/"))
	require.True(t, ok)
	require.Positive(t, free)
	_, err := Memfd("x", int64(free+swap)*2, nil)
	require.ErrorIs(t, err, syscall.ENOMEM)
	require.ErrorContains(t, err, "memory available on this machine")
	_, err = Create("", uniqueName(t), math.MaxInt64&^0xffff, 0o600, nil)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.ErrorContains(t, err, "free space of the file system")
}

func TestControlGroupsLimitsAreRead(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s + "\n")} }
	const v2 = "sys/fs/cgroup/"
	const v1 = "sys/fs/cgroup/memory/"
	for what, c := range map[string]struct {
		files fstest.MapFS
		want  []uint64
	}{
		"nothing there": {fstest.MapFS{}, nil},
		"no limit": {fstest.MapFS{
			"proc/self/cgroup":      file("0::/a"),
			v2 + "a/memory.max":     file("max"),
			v2 + "a/memory.current": file("5"),
		}, nil},
		"version 2, group and parent": {fstest.MapFS{
			"proc/self/cgroup":        file("0::/a/b"),
			v2 + "a/b/memory.max":     file("1000"),
			v2 + "a/b/memory.current": file("700"),
			v2 + "a/memory.max":       file("5000"),
			v2 + "a/memory.current":   file("4900"),
		}, []uint64{300, 100}},
		"page cache gives way": {fstest.MapFS{
			"proc/self/cgroup":      file("0::/a"),
			v2 + "a/memory.max":     file("1000"),
			v2 + "a/memory.current": file("990"),
			v2 + "a/memory.stat":    file("anon 1\ninactive_file 300\nactive_file 200\nslab_reclaimable 10"),
		}, []uint64{520}},
		"over the limit": {fstest.MapFS{
			"proc/self/cgroup":      file("0::/a"),
			v2 + "a/memory.max":     file("1000"),
			v2 + "a/memory.current": file("1200"),
		}, []uint64{0}},
		"version 1 in a container without a namespace": {fstest.MapFS{
			"proc/self/cgroup":           file("3:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n0::/"),
			v1 + "memory.limit_in_bytes": file("4096"),
			v1 + "memory.usage_in_bytes": file("1024"),
			v1 + "memory.stat":           file("total_inactive_file 24"),
		}, []uint64{3096}},
		"version 1, no limit": {fstest.MapFS{
			"proc/self/cgroup":           file("4:memory:/"),
			v1 + "memory.limit_in_bytes": file("9223372036854771712"),
			v1 + "memory.usage_in_bytes": file("1024"),
		}, nil},
		"outside of the namespace's root": {fstest.MapFS{
			"proc/self/cgroup":    file("0::/../../other"),
			v2 + "memory.max":     file("10"),
			v2 + "memory.current": file("1"),
		}, []uint64{9}},
		"noise": {fstest.MapFS{
			"proc/self/cgroup":    file("\n:\n0:\nx::\n0::/"),
			v2 + "memory.max":     file("-1"),
			v2 + "memory.current": file("x"),
		}, nil},
	} {
		t.Run(what, func(t *testing.T) {
			var got []uint64
			for _, l := range cgroupRoom(fs.FS(c.files)) {
				got = append(got, l.room)
				assert.Contains(t, l.limit, "control group /")
			}
			assert.Equal(t, c.want, got)
		})
	}
}

// Where fallocate is not supported, zeros are written: every block is there.
func TestZerosAreWrittenWhereFallocateIsNotSupported(t *testing.T) {
	const size = 3<<20 + 5
	f, err := os.CreateTemp(memoryDir(t), "")
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, writeZeros(int(f.Fd()), 0, size))
	st, err := fstat(int(f.Fd()))
	require.NoError(t, err)
	assert.EqualValues(t, size, st.Size)
	assert.GreaterOrEqual(t, st.Blocks*512, int64(size))
}

func TestReservationOfSeveralStepsIsWhole(t *testing.T) {
	const size = step*2 + 4097
	o, err := Memfd("steps", size, nil)
	require.NoError(t, err)
	defer o.Close()
	st, err := fstat(int(o.file.Fd()))
	require.NoError(t, err)
	assert.EqualValues(t, size, st.Size)
	assert.GreaterOrEqual(t, st.Blocks*512, int64(size))
}
