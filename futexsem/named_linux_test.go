package futexsem

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func openNew(t *testing.T, value uint32) (string, *Named) {
	t.Helper()
	name := newSemName(t)
	n, err := OpenNamed(name, os.O_CREATE|os.O_EXCL, 0o600, value)
	require.NoError(t, err)
	return name, n
}

func TestNamedLivesFromCreateToUnlink(t *testing.T) {
	name := newSemName(t)
	_, err := OpenNamed(name, 0, 0, 0)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, name)
	require.ErrorIs(t, UnlinkNamed(name), fs.ErrNotExist)

	first, err := OpenNamed(name, os.O_CREATE, 0o600, 3)
	require.NoError(t, err)
	require.Equal(t, 3, first.Value())
	_, err = OpenNamed(name, os.O_CREATE|os.O_EXCL, 0o600, 1)
	require.ErrorIs(t, err, fs.ErrExist)

	second, err := OpenNamed("/"+name, os.O_CREATE|os.O_RDWR, 0o666, 1) // mode and value are ignored
	require.NoError(t, err)
	require.NoError(t, second.TryWait())
	require.Equal(t, 2, first.Value())
	require.NoError(t, first.Close())

	third, err := OpenNamed(name, 0, 0, 0)
	require.NoError(t, err)
	require.Equal(t, 2, third.Value(), "the value outlives its handles")
	require.NoError(t, UnlinkNamed(name))
	_, err = OpenNamed(name, 0, 0, 0)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, third.Post())
	require.Equal(t, 3, second.Value(), "who has it open goes on")

	fresh, err := OpenNamed(name, os.O_CREATE, 0o600, 9)
	require.NoError(t, err)
	require.Equal(t, 9, fresh.Value())
	require.Equal(t, 3, second.Value())
	for _, n := range []*Named{second, third, fresh} {
		require.NoError(t, n.Close())
	}
}

func TestNamedFileIsAsTheCLibraryMakesIt(t *testing.T) {
	for _, perm := range []fs.FileMode{0, 0o400, 0o600, 0o644, 0o666, 0o777} {
		func() {
			name := newSemName(t)
			defer unix.Umask(unix.Umask(0o777)) // which must not matter
			n, err := OpenNamed("/"+name, os.O_CREATE|os.O_EXCL, perm, 5)
			require.NoError(t, err)
			info, err := os.Lstat("/dev/shm/sem." + name)
			require.NoError(t, err)
			require.Equal(t, perm, info.Mode())
			require.EqualValues(t, SizeofSem, info.Size())
			require.NoError(t, n.Close())
		}()
	}
}

func TestNamedArguments(t *testing.T) {
	long := strings.Repeat("n", nameMax-len(semPrefix)-len(namePrefix)) + namePrefix
	for _, name := range []string{long, "/" + long, newName() + ".with spaces, ünïcode\n", "..." + newName()} {
		t.Cleanup(func() { _ = UnlinkNamed(name) })
		n, err := OpenNamed(name, os.O_CREATE|os.O_EXCL, 0o600, 0)
		require.NoError(t, err, "%q", name)
		require.NoError(t, n.Close())
		require.NoError(t, UnlinkNamed(name))
	}
	for _, name := range []string{
		"", "/", ".", "..", "/.", "/..", "//x", "a/b", "/a/b", "a/", "a\x00b", "\x00", "../x",
		"n" + long, "/n" + long, strings.Repeat("n", 5000),
	} {
		_, err := OpenNamed(name, os.O_CREATE, 0o600, 0)
		require.ErrorIs(t, err, fs.ErrInvalid, "%.20q", name)
		require.ErrorIs(t, UnlinkNamed(name), fs.ErrInvalid, "%.20q", name)
	}
	_, err := OpenNamed("n"+long, 0, 0, 0)
	require.ErrorIs(t, err, unix.ENAMETOOLONG)

	name := newSemName(t)
	for _, c := range []struct {
		flag  int
		perm  fs.FileMode
		value uint32
	}{
		{os.O_CREATE | os.O_TRUNC, 0o600, 0},
		{os.O_WRONLY, 0, 0},
		{-1, 0, 0},
		{os.O_CREATE, 0o600, SemValueMax + 1},
		{os.O_CREATE, 0o600, math.MaxUint32},
		{os.O_CREATE, fs.ModeDir | 0o600, 0},
		{os.O_CREATE, fs.ModeSetuid | 0o600, 0},
	} {
		_, err := OpenNamed(name, c.flag, c.perm, c.value)
		require.ErrorIs(t, err, fs.ErrInvalid, "%+v", c)
	}
	require.NoFileExists(t, semDir+"/"+semPrefix+name)
	n, err := OpenNamed(name, os.O_CREATE, 0o600, SemValueMax)
	require.NoError(t, err)
	require.ErrorIs(t, n.Post(), ErrOverflow)
	require.NoError(t, n.Close())
}

func TestNamedRefusesWhatIsNoSemaphore(t *testing.T) {
	guard(t)
	file := func(content string) func(string) error {
		return func(path string) error { return os.WriteFile(path, []byte(content), 0o600) }
	}
	whole := newMem(SizeofSem)
	_, err := Init(whole, 1)
	require.NoError(t, err)
	for what, c := range map[string]struct {
		make func(path string) error
		want error
	}{
		"empty":        {file(""), fs.ErrInvalid},
		"cut short":    {file(string(whole[:SizeofSem-1])), fs.ErrInvalid},
		"too long":     {file(string(whole) + "\x00"), fs.ErrInvalid},
		"zeros":        {file(string(make([]byte, SizeofSem))), fs.ErrInvalid},
		"noise":        {file(strings.Repeat("noise---", SizeofSem/8)), fs.ErrInvalid},
		"directory":    {func(path string) error { return os.Mkdir(path, 0o700) }, unix.EISDIR},
		"symlink":      {func(path string) error { return os.Symlink("/dev/zero", path) }, unix.ELOOP},
		"dangling":     {func(path string) error { return os.Symlink("nothing", path) }, unix.ELOOP},
		"FIFO":         {func(path string) error { return unix.Mkfifo(path, 0o600) }, fs.ErrInvalid},
		"unix socket":  {func(path string) error { return unix.Mknod(path, unix.S_IFSOCK|0o600, 0) }, unix.ENXIO},
		"forbidden us": {func(path string) error { return os.WriteFile(path, whole, 0) }, fs.ErrPermission},
	} {
		t.Run(what, func(t *testing.T) {
			name := newSemName(t)
			path := semDir + "/" + semPrefix + name
			require.NoError(t, c.make(path))
			t.Cleanup(func() { _ = os.Remove(path) })
			before, err := os.Lstat(path)
			require.NoError(t, err)
			asNobody(func() {
				for _, flag := range []int{0, os.O_CREATE} {
					_, err := OpenNamed(name, flag, 0o600, 1)
					require.ErrorIs(t, err, c.want)
					require.ErrorContains(t, err, name)
				}
			}, what == "forbidden us")
			_, err = OpenNamed(name, os.O_CREATE|os.O_EXCL, 0o600, 1)
			require.ErrorIs(t, err, fs.ErrExist)
			after, err := os.Lstat(path)
			require.NoError(t, err)
			require.True(t, os.SameFile(before, after), "replaced")
			require.Equal(t, before.ModTime(), after.ModTime(), "written to")
		})
	}
}

// asNobody runs f without root's right to open everything.
func asNobody(f func(), really bool) {
	if really && os.Geteuid() == 0 {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		check(unix.Setfsuid(65534)) // of this thread only
		defer unix.Setfsuid(0)
	}
	f()
}

func openAndPost(args []string) { // NAME
	n := must(OpenNamed(args[0], os.O_CREATE, 0o600, 100))
	check(n.Post())
	check(n.Close())
}

func TestManyProcessesCreateOneSemaphore(t *testing.T) {
	guard(t)
	name := newSemName(t)
	var children []*child
	for range 20 {
		children = append(children, startChild(t, "open", name))
	}
	for _, c := range children {
		c.succeed(t)
	}
	n, err := OpenNamed(name, 0, 0, 0)
	require.NoError(t, err)
	requireIdle(t, n.Sem, 120)
	require.NoError(t, n.Close())
}

func createForEver(args []string) { // NAME VALUE
	fmt.Println("ready")
	for {
		n := must(OpenNamed(args[0], os.O_CREATE, 0o600, uint32(number(args[1]))))
		check(n.Close())
		if err := UnlinkNamed(args[0]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			panic(err)
		}
	}
}

func TestNamedIsNeverHalfThereAndAKilledCreatorLeavesNothing(t *testing.T) {
	guard(t)
	name := newSemName(t)
	value := 1 + rand.IntN(SemValueMax) // by which this run knows its own files
	whole := func() bool {              // or absent; nothing else
		n, err := OpenNamed(name, 0, 0, 0)
		if err != nil {
			require.ErrorIs(t, err, fs.ErrNotExist)
			return false
		}
		require.Equal(t, value, n.Value())
		require.NoError(t, n.Close())
		return true
	}
	seen := 0
	for range 10 {
		a := startChild(t, "create", name, strconv.Itoa(value))
		b := startChild(t, "create", name, strconv.Itoa(value))
		require.Equal(t, "ready", a.line())
		require.Equal(t, "ready", b.line())
		for range 200 + rand.IntN(200) {
			if whole() {
				seen++
			}
		}
		a.kill()
		whole()
		b.kill()
		if whole() {
			require.NoError(t, UnlinkNamed(name))
		}
	}
	t.Logf("seen whole %d times", seen)
	// A temporary name need not contain ours, but the content would be the same.
	image := newMem(SizeofSem)
	_, err := Init(image, uint32(value))
	require.NoError(t, err)
	files, err := filepath.Glob(semDir + "/*")
	require.NoError(t, err)
	for _, path := range files {
		if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && info.Size() == SizeofSem {
			content, _ := os.ReadFile(path)
			require.NotEqual(t, image, content, "%s was left behind", path)
		}
	}
}
