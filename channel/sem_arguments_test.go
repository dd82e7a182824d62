//go:build linux

package channel_test

import (
	"fmt"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmchan/shmchan/channel"
)

// semOpeners are all constructors that take a name or a capacity. Those that
// cannot use one of them ignore it.
type semOpener[T any] struct {
	op   string
	open func(name string, capacity int, opts ...channel.Option) (*channel.Chan[T], error)
}

func semOpeners[T any]() []semOpener[T] {
	return []semOpener[T]{
		{"open", channel.Open[T]},
		{"create", channel.Create[T]},
		{"new", func(_ string, capacity int, opts ...channel.Option) (*channel.Chan[T], error) {
			return channel.New[T](capacity, opts...)
		}},
		{"attach", func(name string, _ int, opts ...channel.Option) (*channel.Chan[T], error) {
			return channel.Attach[T](name, opts...)
		}},
	}
}

// semFails fails unless err says what was done, and nothing was made.
func semFails[T any](t *testing.T, c *channel.Chan[T], err error, words ...string) {
	t.Helper()
	if err == nil {
		c.Detach()
		t.Fatalf("no error, and it had to say %q", words)
	}
	require.Nil(t, c)
	semSays(t, err, words...)
}

func TestSemABadCapacityIsAnError(t *testing.T) {
	capacities := []int{-1, -2, math.MinInt, math.MaxInt, math.MaxInt - 1, math.MaxInt/8 + 1}
	if strconv.IntSize == 64 {
		far := int64(1) << 40
		capacities = append(capacities, math.MaxInt/8, math.MaxInt/64, int(far))
	}
	for _, capacity := range capacities {
		t.Run(fmt.Sprint(capacity), func(t *testing.T) {
			semBadCapacity[struct{}](t, capacity, capacity > 0)
			semBadCapacity[uint64](t, capacity, false)
			semBadCapacity[semHuge](t, capacity, false)
			semBadCapacity[[]byte](t, capacity, false)
		})
	}
}

func semBadCapacity[T any](t *testing.T, capacity int, mayServe bool) {
	t.Helper()
	for _, o := range semOpeners[T]()[:3] {
		for _, mode := range semModes {
			name := uniqueName(t)
			c, err := o.open(name, capacity, mode.opt)
			if err == nil && mayServe {
				c.Detach() // nothing times anything is still nothing
				continue
			}
			semFails(t, c, err, o.op)
			if o.op != "new" {
				semSays(t, err, name)
			}
			require.NoFileExists(t, semPath(name))
		}
	}
}

func TestSemASizeThatOverflowsIsAnError(t *testing.T) {
	type large = [1 << 15]byte
	for _, capacity := range []int{math.MaxInt, math.MaxInt >> 14, math.MaxInt>>15 + 1} {
		semBadCapacity[large](t, capacity, false)
		c, err := channel.New[[]byte](capacity, channel.MaxMessage(1<<20), channel.Space(math.MaxInt))
		semFails(t, c, err, "new")
	}
	c, err := channel.New[[]byte](1, channel.Space(math.MaxInt))
	semFails(t, c, err, "new")
	c, err = channel.Open[[]byte](uniqueName(t), 1, channel.Space(math.MaxInt-4096))
	semFails(t, c, err, "open")
}

func TestSemWhatMemoryCannotGiveIsRefusedBeforeItIsReserved(t *testing.T) {
	if strconv.IntSize < 64 {
		t.Skip("an int cannot ask for more than there is")
	}
	var s syscall.Statfs_t
	require.NoError(t, syscall.Statfs(shmDir, &s))
	free := func() int64 {
		require.NoError(t, syscall.Statfs(shmDir, &s))
		return int64(s.Bavail) * int64(s.Bsize)
	}
	total := int64(s.Blocks) * int64(s.Bsize)
	before := free()
	space := int(min(total+1<<30, 1<<50))
	name := uniqueName(t)
	c, err := channel.Create[[]byte](name, 4, channel.Space(space))
	semFails(t, c, err, "create", name)
	require.NoFileExists(t, semPath(name))
	require.Less(t, before-free(), total/2, "the file system has its room back")
}

func TestSemABadNameIsAnError(t *testing.T) {
	semWatch(t)
	names := []struct{ what, name string }{
		{"empty", ""},
		{"only a slash", "/"},
		{"two slashes", "//"},
		{"two leading slashes", "//x"},
		{"a slash inside", "a/b"},
		{"a slash at the end", "a/"},
		{"a slash inside after a leading one", "/a/b"},
		{"up", "../x"},
		{"dot", "."},
		{"dot dot", ".."},
		{"slash and dot", "/."},
		{"slash and dot dot", "/.."},
		{"NUL inside", "a\x00b"},
		{"NUL at the end", "a\x00"},
		{"256 bytes", strings.Repeat("x", 256)},
		{"a slash and 256 bytes", "/" + strings.Repeat("x", 256)},
		{"128 two-byte letters", strings.Repeat("é", 128)},
		{"5000 bytes", strings.Repeat("x", 5000)},
	}
	for _, n := range names {
		t.Run(n.what, func(t *testing.T) {
			part := strings.ToLower(strings.Trim(strconv.Quote(n.name), `"`))
			part = part[:min(len(part), 100)]
			for _, o := range semOpeners[uint64]() {
				if o.op == "new" {
					continue
				}
				c, err := o.open(n.name, 1)
				semFails(t, c, err, o.op, part)
				require.NotErrorIs(t, err, fs.ErrNotExist)
			}
			err := channel.Unlink(n.name)
			semSays(t, err, "unlink", part)
			require.NotErrorIs(t, err, fs.ErrNotExist)
		})
	}
}

func TestSemAGoodNameIsTaken(t *testing.T) {
	base := newName("n")
	names := []string{
		base + strings.Repeat("x", 255-len(base)),
		base + " with spaces\tand\nlines",
		base + "-é-日本",
		base + "\xff\xfe",
		"." + base,
		".." + base,
		base + ".",
		base + "\\",
		"-" + base,
		base + "%s%d",
		base + "*?[",
	}
	for i, name := range names {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Cleanup(func() { forget(name) })
			c := semCreate[uint64](t, name, 2)
			require.Equal(t, name, c.Name())
			require.FileExists(t, semPath(name))
			semFill(t, c, 1)
			semWant(t, semAttach[uint64](t, name), uint64(1))
			require.NoError(t, channel.Unlink(name))
			require.NoFileExists(t, semPath(name))
		})
	}
}

func TestSemOneLeadingSlashIsDropped(t *testing.T) {
	long := newName("slash")
	long += strings.Repeat("y", 255-len(long))
	for _, name := range []string{uniqueName(t), long} {
		t.Cleanup(func() { forget(name) })
		a := semCreate[uint64](t, "/"+name, 2)
		b := semAttach[uint64](t, name)
		c := semOpen[uint64](t, "/"+name, 2)
		require.Equal(t, name, a.Name())
		require.Equal(t, name, b.Name())
		semFill(t, a, 1, 2)
		semWant(t, b, uint64(1))
		semWant(t, c, uint64(2))
		_, err := channel.Create[uint64](name, 2)
		semIs(t, err, fs.ErrExist, "create", name)
		require.NoError(t, channel.Unlink("/"+name))
		semIs(t, channel.Unlink(name), fs.ErrNotExist, "unlink", name)
	}
}

func TestSemBadOptionsAreErrors(t *testing.T) {
	tests := []struct {
		what string
		opt  channel.Option
		word string
	}{
		{"MaxMessage(0)", channel.MaxMessage(0), "MaxMessage"},
		{"MaxMessage(-1)", channel.MaxMessage(-1), "MaxMessage"},
		{"MaxMessage(MinInt)", channel.MaxMessage(math.MinInt), "MaxMessage"},
		{"MaxMessage(MaxInt)", channel.MaxMessage(math.MaxInt), "MaxMessage"},
		{"MaxMessage(1<<30+1)", channel.MaxMessage(1<<30 + 1), "MaxMessage"},
		{"Space(0)", channel.Space(0), "Space"},
		{"Space(-1)", channel.Space(-1), "Space"},
		{"Space(MinInt)", channel.Space(math.MinInt), "Space"},
		{"Perm setuid", channel.Perm(fs.ModeSetuid | 0o600), "Perm"},
		{"Perm of a directory", channel.Perm(fs.ModeDir | 0o700), "Perm"},
		{"Perm 01000", channel.Perm(0o1000), "Perm"},
		{"Perm sticky", channel.Perm(fs.ModeSticky | 0o600), "Perm"},
	}
	for _, test := range tests {
		t.Run(test.what, func(t *testing.T) {
			for _, o := range semOpeners[[]byte]() {
				name := uniqueName(t)
				if o.op == "attach" {
					semCreate[[]byte](t, name, 1)
				}
				c, err := o.open(name, 1, test.opt)
				semFails(t, c, err, o.op, test.word)
				require.ErrorIs(t, err, fs.ErrInvalid)
				if o.op != "new" {
					semSays(t, err, name)
				}
				if o.op != "attach" {
					require.NoFileExists(t, semPath(name))
				}
			}
		})
	}
}

func TestSemANilOptionIsNone(t *testing.T) {
	c := semNew[uint64](t, 1, nil, channel.SPSC(), nil)
	semFill(t, c, 1)
}

func TestSemOpenJoinsOrCreates(t *testing.T) {
	for _, mode := range semModes {
		name := uniqueName(t)
		require.NoFileExists(t, semPath(name))
		a := semOpen[uint64](t, name, 2, mode.opt)
		require.FileExists(t, semPath(name))
		b := semOpen[uint64](t, name, 2, mode.opt)
		semFill(t, a, 1)
		semWant(t, b, uint64(1))
	}
}

func TestSemCreateRefusesWhatIsThereAndAttachWhatIsNot(t *testing.T) {
	name := uniqueName(t)
	c, err := channel.Attach[uint64](name)
	semFails(t, c, err, "attach", name)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoFileExists(t, semPath(name))

	first := semCreate[uint64](t, name, 2)
	semFill(t, first, 1)
	for _, capacity := range []int{2, 3} {
		c, err = channel.Create[uint64](name, capacity)
		semFails(t, c, err, "create", name)
		require.ErrorIs(t, err, fs.ErrExist)
	}
	d, err := channel.Create[string](name, 2)
	semFails(t, d, err, "create", name)
	require.ErrorIs(t, err, fs.ErrExist)
	semWant(t, first, uint64(1))
}

func TestSemManyWhoOpenOneNewNameAtOnceMeet(t *testing.T) {
	for range semFewer(20) {
		name := uniqueName(t)
		var handles [20]*channel.Chan[uint64]
		var errs [20]error
		var group sync.WaitGroup
		for i := range handles {
			group.Go(func() { handles[i], errs[i] = channel.Open[uint64](name, len(handles)) })
		}
		group.Wait()
		for i, c := range handles {
			semOwn(t, c, errs[i])
			require.NoError(t, c.TrySend(uint64(i)))
		}
		for i, c := range handles {
			semWant(t, c, uint64(i))
			require.NoError(t, c.Detach())
		}
		require.NoError(t, channel.Unlink(name))
	}
}

func TestSemOfManyWhoCreateOneNameAtOnceOneSucceeds(t *testing.T) {
	for range semFewer(20) {
		name := uniqueName(t)
		var tasks []*semTask[semGot[*channel.Chan[uint64]]]
		for range 8 {
			tasks = append(tasks, semStart(func() (g semGot[*channel.Chan[uint64]]) {
				g.v, g.err = channel.Create[uint64](name, 4)
				return g
			}))
		}
		created := 0
		for _, k := range tasks {
			if g := k.wait(); g.err == nil {
				created++
				semOwn(t, g.v, nil)
			} else {
				require.ErrorIs(t, g.err, fs.ErrExist)
			}
		}
		require.Equal(t, 1, created)
	}
}

func TestSemUnlinkForgetsTheNameOnly(t *testing.T) {
	for _, mode := range semModes {
		t.Run(mode.name, func(t *testing.T) {
			name := uniqueName(t)
			semIs(t, channel.Unlink(name), fs.ErrNotExist, "unlink", name)
			tx := semCreate[uint64](t, name, 2, mode.opt)
			rx := semAttach[uint64](t, name)
			semFill(t, tx, 1)
			require.NoError(t, channel.Unlink(name))
			require.NoFileExists(t, semPath(name))
			semIs(t, channel.Unlink(name), fs.ErrNotExist, "unlink", name)
			_, err := channel.Attach[uint64](name)
			require.ErrorIs(t, err, fs.ErrNotExist)

			semFill(t, tx, 2) // its users go on
			semWant(t, rx, uint64(1))
			semWant(t, rx, uint64(2))
			receiver := semRecv(rx)
			receiver.blocks(t, "Recv")
			require.NoError(t, tx.Send(3))
			require.Equal(t, semGot[uint64]{3, nil}, receiver.wait())

			fresh := semOpen[string](t, name, 7) // and the name is free for another
			semFill(t, tx, 4)
			require.Zero(t, fresh.Len())
			semFill(t, fresh, "new")
			semWant(t, rx, uint64(4))
			semDrained(t, rx)
			semWant(t, fresh, "new")
		})
	}
}

func TestSemPermIsTheModeExactly(t *testing.T) {
	mode := func(path string) fs.FileMode {
		t.Helper()
		info, err := os.Stat(path)
		require.NoError(t, err)
		return info.Mode()
	}
	disk := t.TempDir()
	for _, umask := range []int{0, 0o022, 0o077, 0o777} {
		old := syscall.Umask(umask)
		t.Cleanup(func() { syscall.Umask(old) })
		for _, dir := range []string{shmDir, disk} {
			for _, perm := range []fs.FileMode{0o600, 0o640, 0o644, 0o660, 0o666, 0o620, 0o777, 0o400} {
				name := uniqueName(t)
				semCreate[uint64](t, name, 1, channel.Perm(perm), channel.Dir(dir))
				require.Equal(t, perm, mode(dir+"/"+name), "Create with umask %#o", umask)
				if dir != shmDir {
					continue
				}
				name = uniqueName(t)
				semOpen[uint64](t, name, 1, channel.Perm(perm))
				require.Equal(t, perm, mode(semPath(name)), "Open with umask %#o", umask)
				if perm&0o600 != 0o600 {
					continue // only root could join it
				}
				semOpen[uint64](t, name, 1, channel.Perm(0o666))
				require.Equal(t, perm, mode(semPath(name)), "who joins changes nothing")
			}
			name := uniqueName(t)
			semCreate[uint64](t, name, 1, channel.Dir(dir))
			require.Equal(t, fs.FileMode(0o600), mode(dir+"/"+name), "the default")
		}
		syscall.Umask(old)
	}
}
