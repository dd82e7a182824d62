package futexsem

import (
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// builtDir holds the compiled C programs until TestMain removes it.
var builtDir string

type built struct {
	peer, layout string // the programs' files
	skip         string // why there are none
	err          error
}

// build compiles testdata/*.c once, with $CC if it is set.
var build = sync.OnceValue(func() (b built) {
	cc := strings.Fields(os.Getenv("CC"))
	switch {
	case len(cc) > 0:
	case hasCommand("cc"):
		cc = []string{"cc"}
	case hasCommand("gcc"):
		cc = []string{"gcc"}
	default:
		b.skip = "no C compiler (cc, gcc or $CC): the C library's semaphores were not tried"
		return b
	}
	if runtime.GOARCH == "386" && os.Getenv("CC") == "" {
		cc = append(cc, "-m32")
	}
	builtDir, b.err = os.MkdirTemp("", "futexsem-test")
	for _, program := range []*string{&b.layout, &b.peer} {
		source := map[*string]string{&b.layout: "layout.c", &b.peer: "peer.c"}[program]
		*program = filepath.Join(builtDir, strings.TrimSuffix(source, ".c"))
		args := append(cc[1:len(cc):len(cc)], "-O1", "-Wall", "-o", *program,
			filepath.Join("testdata", source), "-pthread", "-lrt")
		out, err := exec.Command(cc[0], args...).CombinedOutput()
		if err == nil {
			continue
		}
		if runtime.GOARCH == "386" {
			b.skip = "the C compiler makes no 32-bit programs here: the C library's 32-bit semaphores were not tried"
			return b
		}
		b.err = fmt.Errorf("%q: %w\n%s", cc, err, out)
		return b
	}
	return b
})

func hasCommand(name string) bool {
	_, err := exec.LookPath(name)
	return err == nil
}

// cPrograms returns the compiled programs, or skips the test.
func cPrograms(t *testing.T) built {
	t.Helper()
	guard(t)
	b := build()
	if b.skip != "" {
		t.Skip(b.skip)
	}
	require.NoError(t, b.err)
	out, err := exec.Command(b.layout).Output()
	require.NoError(t, err)
	if !strings.HasPrefix(string(out), strconv.Itoa(SizeofSem)+" ") {
		t.Skipf("the C compiler is for another kind of machine than this test (sizeof(sem_t) %.2s, want %d)",
			out, SizeofSem)
	}
	return b
}

func TestLayoutIsTheCLibrarys(t *testing.T) {
	b := cPrograms(t)
	out, err := exec.Command(b.layout).Output()
	require.NoError(t, err)
	lines := strings.Fields(string(out))
	require.Equal(t, []string{strconv.Itoa(SizeofSem), strconv.Itoa(alignofSem), strconv.Itoa(SemValueMax)}, lines[:3])
	for i, value := range []uint32{0, 5} {
		mem := newMem(SizeofSem)
		_, err := Init(mem, value)
		require.NoError(t, err)
		require.Equal(t, lines[3+i], hex.EncodeToString(mem))
	}
}

// A pair of semaphores and how a C program gets at them.
type pair struct {
	a, b      *Sem
	how, name string // peer's arguments
	first     *child // the C program that made them, if it did; not yet waited for
}

// inEveryKindOfPair runs f on pairs made by either side, unnamed and named. The
// C program that makes them, where one does, is told to do action n times.
func inEveryKindOfPair(t *testing.T, action string, n int, f func(t *testing.T, p pair)) {
	programs := cPrograms(t)
	peer := func(t *testing.T, how, name string) *child {
		c := start(t, exec.Command(programs.peer, how, name, action, strconv.Itoa(n)))
		require.Equal(t, "ready", c.line())
		return c
	}
	openBoth := func(t *testing.T, name string, flag int) (*Sem, *Sem) {
		var sems [2]*Sem
		for i, suffix := range []string{".a", ".b"} {
			s, err := OpenNamed(name+suffix, flag, 0o600, 0)
			require.NoError(t, err)
			t.Cleanup(func() {
				require.NoError(t, s.Close())
				require.NoError(t, UnlinkNamed(name+suffix))
			})
			sems[i] = s.Sem
		}
		return sems[0], sems[1]
	}
	t.Run("unnamed made by Go", func(t *testing.T) {
		name, mem := newObject(t)
		a, err := Init(mem, 0)
		require.NoError(t, err)
		b, err := Init(mem[64:], 0)
		require.NoError(t, err)
		f(t, pair{a, b, "join", name, peer(t, "join", name)})
	})
	t.Run("unnamed made by C", func(t *testing.T) {
		name := newName()
		t.Cleanup(func() { os.Remove(semDir + "/" + name) })
		c := peer(t, "make", name)
		mem, err := mapObject(name)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, unix.Munmap(mem)) })
		a, err := At(mem)
		require.NoError(t, err)
		b, err := At(mem[64:])
		require.NoError(t, err)
		f(t, pair{a, b, "join", name, c})
	})
	t.Run("named made by Go", func(t *testing.T) {
		name := newName()
		a, b := openBoth(t, name, os.O_CREATE|os.O_EXCL)
		f(t, pair{a, b, "named", name, peer(t, "named", name)})
	})
	t.Run("named made by C", func(t *testing.T) {
		name := newName()
		c := peer(t, "named", name)
		a, b := openBoth(t, name, 0)
		f(t, pair{a, b, "named", name, c})
	})
}

const turns = 1000

func TestCWaitsAndGoPosts(t *testing.T) {
	inEveryKindOfPair(t, "pong", turns, func(t *testing.T, p pair) {
		for range turns {
			require.NoError(t, p.a.Post())
			require.NoError(t, p.b.Wait())
		}
		p.first.succeed(t)
		requireIdle(t, p.a, 0)
		requireIdle(t, p.b, 0)
	})
}

func TestGoWaitsAndCPosts(t *testing.T) {
	inEveryKindOfPair(t, "ping", turns, func(t *testing.T, p pair) {
		for range turns {
			require.NoError(t, p.a.WaitContext(t.Context()))
			require.NoError(t, p.b.Post())
		}
		p.first.succeed(t)
		requireIdle(t, p.a, 0)
		requireIdle(t, p.b, 0)
	})
}

// Posters and waiters of both kinds, all at once: as many tokens as are wanted.
func TestCAndGoCrowdLosesNoWakeUp(t *testing.T) {
	const each = 4000
	inEveryKindOfPair(t, "wait", each, func(t *testing.T, p pair) {
		children := []*child{p.first}
		for _, action := range []string{"post", "post", "wait"} {
			children = append(children, start(t, exec.Command(build().peer, p.how, p.name, action, strconv.Itoa(each))))
		}
		var wg sync.WaitGroup
		for _, f := range []func() error{p.a.Post, p.a.Post, p.a.Wait, p.a.Wait} {
			wg.Go(func() {
				for range each {
					check(f())
				}
			})
		}
		wg.Wait()
		for _, c := range children {
			c.succeed(t)
		}
		requireIdle(t, p.a, 0)
	})
}

// C's timed waits and Go's cancelled ones beside a steady waiter of each kind.
// One token at a time, so that a wake-up lost stops everything.
func TestCAndGoStormLosesNothing(t *testing.T) {
	const each = 400
	inEveryKindOfPair(t, "fickle", each, func(t *testing.T, p pair) {
		steady := start(t, exec.Command(build().peer, p.how, p.name, "pong", strconv.Itoa(each)))
		var wg sync.WaitGroup
		wg.Go(func() {
			for range each {
				check(p.a.Wait())
				check(p.b.Post())
			}
		})
		wg.Go(func() {
			for range each {
				for !fickleWait(p.a) {
				}
				check(p.b.Post())
			}
		})
		for range 4 * each {
			require.NoError(t, p.a.Post())
			require.NoError(t, p.b.Wait())
		}
		wg.Wait()
		p.first.succeed(t)
		steady.succeed(t)
		requireIdle(t, p.a, 0)
		requireIdle(t, p.b, 0)
	})
}
