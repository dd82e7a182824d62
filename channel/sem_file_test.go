//go:build linux

package channel_test

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmchan/shmchan/channel"
)

func TestSemFromFileIsTheOtherEndOfFile(t *testing.T) {
	for _, mode := range semModes {
		for _, named := range []bool{false, true} {
			t.Run(mode.name, func(t *testing.T) {
				var c *channel.Chan[uint64]
				if named {
					c = semCreate[uint64](t, uniqueName(t), 3, mode.opt)
				} else {
					c = semNew[uint64](t, 3, mode.opt)
				}
				semFill(t, c, 1)
				f, err := c.File()
				require.NoError(t, err)
				d, err := channel.FromFile[uint64](f) // capacity and mode from the object
				semOwn(t, d, err)
				require.Equal(t, 3, d.Cap())
				require.Equal(t, 1, d.Len())
				semFill(t, c, 2)
				semWant(t, d, uint64(1))

				require.NoError(t, f.Close()) // the caller's affair
				semFill(t, c, 3)
				semWant(t, d, uint64(2))
				require.NoError(t, c.Detach())
				semWant(t, d, uint64(3))
				semDrained(t, d)
			})
		}
	}
}

func TestSemAFileKeepsAnUnnamedChannelAlive(t *testing.T) {
	c := semNew[string](t, 5)
	semFill(t, c, "a", "b")
	f, err := c.File()
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, c.Detach())
	for _, want := range []string{"a", "b"} { // one handle after the other
		d, err := channel.FromFile[string](f)
		semOwn(t, d, err)
		semWant(t, d, want)
		require.NoError(t, d.Detach())
	}
}

func TestSemEachFileIsTheCallersOwn(t *testing.T) {
	c := semNew[uint64](t, 5)
	for range 20 {
		f, err := c.File()
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	semFill(t, c, 1)
	semWant(t, c, uint64(1))
}

func TestSemTheFileOfANamedChannelServesAfterUnlink(t *testing.T) {
	name := uniqueName(t)
	c := semCreate[uint64](t, name, 5)
	require.NoError(t, channel.Unlink(name))
	d := semOther(t, c)
	semFill(t, c, 1)
	semWant(t, d, uint64(1))
}

func TestSemFromFileRefusesWhatIsNoChannel(t *testing.T) {
	semWatch(t)
	dir := t.TempDir()
	refuse := func(what string, f *os.File, target error) {
		t.Helper()
		c, err := channel.FromFile[uint64](f)
		if err == nil {
			c.Detach()
			t.Fatalf("%s was taken", what)
		}
		require.Nil(t, c)
		if target != nil {
			semIs(t, err, target, "file")
		}
		semSays(t, err, "file")
	}
	open := func(path string) *os.File {
		t.Helper()
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		require.NoError(t, err)
		t.Cleanup(func() { f.Close() })
		return f
	}
	memfd := func(size int64, seals int) *os.File {
		t.Helper()
		fd, err := unix.MemfdCreate("foreign", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
		require.NoError(t, err)
		f := os.NewFile(uintptr(fd), "foreign")
		t.Cleanup(func() { f.Close() })
		require.NoError(t, f.Truncate(size))
		if seals != 0 {
			_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals)
			require.NoError(t, err)
		}
		return f
	}
	refuse("nil", nil, nil)

	empty := filepath.Join(dir, "empty")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	refuse("an empty file", open(empty), channel.ErrCorrupt)
	refuse("a closed file", func() *os.File { f := open(empty); f.Close(); return f }(), nil)

	noise := filepath.Join(dir, "noise")
	require.NoError(t, os.WriteFile(noise, semPattern[:], 0o600))
	refuse("noise", open(noise), channel.ErrCorrupt)

	d, err := os.Open(dir)
	require.NoError(t, err)
	defer d.Close()
	refuse("a directory", d, channel.ErrCorrupt)

	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	refuse("a pipe", r, channel.ErrCorrupt)
	refuse("a pipe", w, channel.ErrCorrupt)

	seals := unix.F_SEAL_GROW | unix.F_SEAL_SHRINK
	refuse("an empty memfd", memfd(0, seals), channel.ErrCorrupt)
	refuse("a memfd of zeros", memfd(1<<16, seals), channel.ErrCorrupt)
	refuse("a memfd of zeros, not sealed", memfd(1<<16, 0), nil)
}

func TestSemFromFileRefusesAMemfdThatIsNotSealed(t *testing.T) {
	// the very bytes of a sound channel, so that only the seals are wanting
	c := semNew[uint64](t, 4)
	f, err := c.File()
	require.NoError(t, err)
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	require.NoError(t, err)
	content := make([]byte, size)
	_, err = f.ReadAt(content, 0)
	require.NoError(t, err)
	for _, seals := range []int{0, unix.F_SEAL_GROW, unix.F_SEAL_SHRINK} {
		fd, err := unix.MemfdCreate("copy", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
		require.NoError(t, err)
		g := os.NewFile(uintptr(fd), "copy")
		_, err = g.WriteAt(content, 0)
		require.NoError(t, err)
		if seals != 0 {
			_, err = unix.FcntlInt(g.Fd(), unix.F_ADD_SEALS, seals)
			require.NoError(t, err)
		}
		d, err := channel.FromFile[uint64](g)
		if err == nil {
			d.Detach()
		}
		semSays(t, err, "seal")
		require.NoError(t, g.Close())
	}
}

func TestSemTheFileOfAnUnnamedChannelIsSealed(t *testing.T) {
	c := semNew[uint64](t, 4)
	f, err := c.File()
	require.NoError(t, err)
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	require.NoError(t, err)
	require.Error(t, f.Truncate(0))
	require.Error(t, f.Truncate(size-1))
	require.Error(t, f.Truncate(size+1))
	semFill(t, c, 1)
	semWant(t, c, uint64(1))
}

func TestSemAChannelInADirectoryOnDisk(t *testing.T) {
	for _, mode := range semModes {
		t.Run(mode.name, func(t *testing.T) {
			dir := channel.Dir(t.TempDir())
			c := semCreate[string](t, "queue", 5, dir, mode.opt)
			require.Equal(t, "queue", c.Name())
			semFill(t, c, "a", "b")
			require.NoError(t, c.Detach())

			_, err := channel.Attach[string]("queue")
			require.ErrorIs(t, err, os.ErrNotExist, "it is in another directory")
			_, err = channel.Create[string]("queue", 5, dir)
			require.ErrorIs(t, err, os.ErrExist)

			d := semAttach[string](t, "queue", dir)
			semWant(t, d, "a")
			semWant(t, d, "b")
			require.ErrorIs(t, channel.Unlink("queue"), os.ErrNotExist)
			require.NoError(t, channel.Unlink("queue", dir))
			require.ErrorIs(t, channel.Unlink("queue", dir), os.ErrNotExist)
			semFill(t, d, "still here")
			semWant(t, d, "still here")
		})
	}
}

func TestSemADirectoryThatIsNotThereIsAnError(t *testing.T) {
	dir := channel.Dir(filepath.Join(t.TempDir(), "no", "such"))
	c, err := channel.Open[uint64]("x", 1, dir)
	if err == nil {
		c.Detach()
	}
	semIs(t, err, os.ErrNotExist, "open", "x")
	semIs(t, channel.Unlink("x", dir), os.ErrNotExist, "unlink", "x")
}
