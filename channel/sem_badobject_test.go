//go:build linux

package channel_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/channel"
)

// semBadObjects are what may stand under a name and is no channel.
var semBadObjects = []struct {
	what string
	make func(t *testing.T, path string, sound []byte)
}{
	{"a directory", func(t *testing.T, path string, _ []byte) {
		require.NoError(t, os.Mkdir(path, 0o700))
	}},
	{"a directory with a file in it", func(t *testing.T, path string, _ []byte) {
		require.NoError(t, os.Mkdir(path, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(path, "x"), []byte("x"), 0o600))
	}},
	{"a symbolic link to nothing", func(t *testing.T, path string, _ []byte) {
		require.NoError(t, os.Symlink("no-such-target", path))
	}},
	{"a symbolic link to itself", func(t *testing.T, path string, _ []byte) {
		require.NoError(t, os.Symlink(filepath.Base(path), path))
	}},
	{"a FIFO", func(t *testing.T, path string, _ []byte) {
		require.NoError(t, syscall.Mkfifo(path, 0o600))
	}},
	{"a socket", func(t *testing.T, path string, _ []byte) {
		fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		defer syscall.Close(fd)
		require.NoError(t, syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}))
	}},
	{"an empty file", func(t *testing.T, path string, _ []byte) { semWrite(t, path, nil) }},
	{"one byte", func(t *testing.T, path string, _ []byte) { semWrite(t, path, []byte{'x'}) }},
	{"a line of text", func(t *testing.T, path string, _ []byte) { semWrite(t, path, []byte("hello\n")) }},
	{"a page of zeros", func(t *testing.T, path string, _ []byte) { semWrite(t, path, make([]byte, 4096)) }},
	{"many zeros", func(t *testing.T, path string, _ []byte) { semWrite(t, path, make([]byte, 1<<17)) }},
	{"noise", func(t *testing.T, path string, _ []byte) {
		b := make([]byte, 1<<16)
		r := semRand(9)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		semWrite(t, path, b)
	}},
	{"all ones", func(t *testing.T, path string, _ []byte) {
		b := make([]byte, 1<<16)
		for i := range b {
			b[i] = 0xff
		}
		semWrite(t, path, b)
	}},
	{"a channel's magic alone", func(t *testing.T, path string, sound []byte) { semWrite(t, path, sound[:8]) }},
	{"a channel cut after 12 bytes", func(t *testing.T, path string, sound []byte) { semWrite(t, path, sound[:12]) }},
	{"a channel cut after 64 bytes", func(t *testing.T, path string, sound []byte) { semWrite(t, path, sound[:64]) }},
	{"a channel cut after 1000 bytes", func(t *testing.T, path string, sound []byte) { semWrite(t, path, sound[:1000]) }},
	{"a channel cut after a page", func(t *testing.T, path string, sound []byte) { semWrite(t, path, sound[:4096]) }},
	{"a channel cut in its middle", func(t *testing.T, path string, sound []byte) { semWrite(t, path, sound[:len(sound)/2]) }},
	{"a channel without its last byte", func(t *testing.T, path string, sound []byte) { semWrite(t, path, sound[:len(sound)-1]) }},
	{"a channel behind a page of zeros", func(t *testing.T, path string, sound []byte) {
		semWrite(t, path, append(make([]byte, 4096), sound...))
	}},
}

func semWrite(t *testing.T, path string, b []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, b, 0o600))
}

// semSound is the content of a channel's object.
func semSound(t *testing.T) []byte {
	t.Helper()
	name := uniqueName(t)
	c := semCreate[uint64](t, name, 1000)
	semFill(t, c, 1, 2, 3)
	b, err := os.ReadFile(semPath(name))
	require.NoError(t, err)
	require.NoError(t, c.Detach())
	require.Greater(t, len(b), 4096)
	return b
}

// semLook is all that one can see of what stands at path.
func semLook(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Lstat(path)
	require.NoError(t, err)
	stat := info.Sys().(*syscall.Stat_t)
	look := fmt.Sprintln(info.Mode(), info.Size(), info.ModTime(), stat.Ino, stat.Nlink, stat.Uid)
	switch {
	case info.Mode().IsRegular():
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		look += string(b)
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(path)
		require.NoError(t, err)
		look += target
	case info.IsDir():
		entries, err := os.ReadDir(path)
		require.NoError(t, err)
		look += fmt.Sprintln(entries)
	}
	return look
}

func TestSemWhatIsNoChannelIsRefusedAndLeftAsItIs(t *testing.T) {
	sound := semSound(t)
	disk := t.TempDir()
	for _, object := range semBadObjects {
		for _, dir := range []string{shmDir, disk} {
			t.Run(object.what+"/"+filepath.Base(filepath.Dir(dir+"/x")), func(t *testing.T) {
				name := newName("bad") // short: a socket's path has little room
				path := filepath.Join(dir, name)
				t.Cleanup(func() { os.RemoveAll(path) })
				object.make(t, path, sound)
				semIsRefused(t, dir, name)
			})
		}
	}
}

func semIsRefused(t *testing.T, dir, name string) {
	t.Helper()
	semWatch(t)
	path := filepath.Join(dir, name)
	before := semLook(t, path)
	for _, o := range semOpeners[uint64]() {
		if o.op == "new" {
			continue
		}
		for _, mode := range semModes {
			for _, capacity := range []int{0, 1000} {
				c, err := o.open(name, capacity, mode.opt, channel.Dir(dir))
				semFails(t, c, err, o.op, name)
				if o.op == "create" {
					// something is there, whatever it is
					require.ErrorIs(t, err, fs.ErrExist)
				} else {
					require.ErrorIs(t, err, channel.ErrCorrupt)
					require.NotErrorIs(t, err, fs.ErrNotExist)
				}
				require.Equal(t, before, semLook(t, path), "%s changed it", o.op)
			}
		}
	}
	d, err := channel.Open[[]byte](name, 4, channel.Dir(dir))
	semFails(t, d, err, "open", name)
	require.ErrorIs(t, err, channel.ErrCorrupt)
	require.Equal(t, before, semLook(t, path))
}

func TestSemAChannelsMagicBeforeZerosIsRefused(t *testing.T) {
	// With zeros for its ABI number it may also pass for a channel of another ABI.
	sound := semSound(t)
	name := uniqueName(t)
	b := make([]byte, len(sound))
	copy(b, sound[:8])
	semWrite(t, semPath(name), b)
	before := semLook(t, semPath(name))
	for _, o := range semOpeners[uint64]() {
		if o.op == "open" || o.op == "attach" {
			c, err := o.open(name, 1000)
			semFails(t, c, err, o.op, name)
			var m *channel.MismatchError
			require.True(t, errors.Is(err, channel.ErrCorrupt) || errors.As(err, &m) && m.What == "ABI", "%v", err)
		}
	}
	require.Equal(t, before, semLook(t, semPath(name)))
}

func TestSemALinkToASoundChannelIsRefused(t *testing.T) {
	name := uniqueName(t)
	c := semCreate[uint64](t, name, 1000)
	semFill(t, c, 1)
	link := newName("link")
	t.Cleanup(func() { os.Remove(semPath(link)) })
	require.NoError(t, os.Symlink(name, semPath(link)))
	semIsRefused(t, shmDir, link)
	require.Equal(t, 1, c.Stats().Members)
	semWant(t, c, uint64(1))
}

func TestSemANameThatWasBadServesAfterwards(t *testing.T) {
	name := uniqueName(t)
	semWrite(t, semPath(name), []byte("not a channel"))
	c, err := channel.Open[uint64](name, 2)
	semFails(t, c, err, "open", name)
	require.NoError(t, os.Remove(semPath(name)))
	d := semOpen[uint64](t, name, 2)
	semFill(t, d, 1)
	semWant(t, d, uint64(1))
}

func TestSemFailuresLeaveNothingBehind(t *testing.T) {
	// neither names nor descriptors
	semWatch(t)
	name := newName("bad")
	path := semPath(name)
	t.Cleanup(func() { os.Remove(path) })
	semWrite(t, path, []byte("not a channel"))
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		return len(entries)
	}
	before := count()
	for range 50 {
		channel.Open[uint64](name, 2)
		channel.Attach[uint64](name)
		channel.Create[uint64](name, 2)
		channel.Attach[uint64](name + "-absent")
		channel.Open[func()](name, 2)
		channel.New[uint64](-1)
	}
	require.LessOrEqual(t, count(), before)
	require.NoFileExists(t, path+"-absent")
}
