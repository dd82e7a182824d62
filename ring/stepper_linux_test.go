//go:build linux && (amd64 || 386) && !race

package ring

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A stepper is a child process that shares the channel's memory and does what an
// actor does, one machine instruction at a time (ptrace(2), PTRACE_SINGLESTEP).
// Between any two of them it can be copied, as a kill would have left it there,
// or stand still while others go on.
//
// The shared file is a page of controls, and the channel behind it.
type stepper struct {
	t    *testing.T
	cmd  *exec.Cmd
	pid  int
	file []byte
	ctl  *controls

	instructions int
}

type controls struct {
	world, act, arg      uint64 // what to do, in which of stepWorlds
	actor                uint64 // by whom
	status, value, done  uint64 // what came of it
	stops                uint64 // how often the child has stopped to wait
	holds, offers, wants uint64 // what the actor has now
	dead                 [64]uint32
}

// Which actor takes the step.
const (
	actorSame  = iota // the one that is there
	actorNew          // a new one, who has not joined
	actorSave         // the one that is there, who is remembered as he is now
	actorAgain        // the one who was remembered
)

const (
	ctlSize     = 4096
	stepperEnv  = "SHMCHAN_RING_STEPPER"
	stepperSize = 1 << 20
)

// stepWorlds are the channels that steppers know: all small, so that steps are few.
var stepWorlds = []Params{
	elems(1),
	elems(2),
	elems(3),
	packed(1, 120, 128),
	packed(2, 120, 500),
	packed(3, 120, 1000),
	elems(0), // from meetingWorlds on
	packed(0, 120, 700),
}

const meetingWorlds = 6

func init() {
	if os.Getenv(stepperEnv) != "" {
		runtime.LockOSThread() // the main goroutine stays on the traced thread
	}
}

func TestMain(m *testing.M) {
	if os.Getenv(stepperEnv) != "" {
		stepperChild()
	}
	os.Exit(m.Run())
}

func mapStepper(fd int) []byte {
	b, err := unix.Mmap(fd, 0, stepperSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		panic(err)
	}
	return b
}

// stop tells the tracer that the child has come to a point where it waits. There
// is nothing of Go's runtime in it, whose instructions nobody wants to step through.
func (c *controls) stop(pid, tid int) {
	c.stops++
	_, _, _ = unix.RawSyscall(unix.SYS_TGKILL, uintptr(pid), uintptr(tid), uintptr(unix.SIGSTOP))
}

func stepperChild() {
	debug.SetGCPercent(-1)
	file := mapStepper(3)
	ctl := (*controls)(unsafe.Pointer(&file[0]))
	var a, saved *actor
	pid, tid := os.Getpid(), unix.Gettid()
	for {
		ctl.stop(pid, tid) // until it is told something
		switch ctl.actor {
		case actorNew:
			w := stepWorld(bareTB{}, int(ctl.world), file, ctl)
			w.pause = func() {}
			a = &actor{w: w, q: w.attach()}
		case actorSave:
			saved = a.clone()
		case actorAgain:
			a = saved.clone()
		}
		todo := step{act(ctl.act), ctl.arg}
		ctl.stop(pid, tid) // until it is to do it
		st, v := a.do(todo)
		ctl.status, ctl.value = uint64(st), v
		ctl.holds, ctl.offers, ctl.wants = uint64(len(a.holds)), uint64(len(a.offers)), uint64(len(a.wants))
		atomic.StoreUint64(&ctl.done, 1)
	}
}

// bareTB is for the child, which has no test.
type bareTB struct{}

func (bareTB) Helper()                      {}
func (bareTB) Name() string                 { return "child" }
func (bareTB) Errorf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }
func (bareTB) Fatalf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }
func (bareTB) Fatal(args ...any)            { panic(fmt.Sprint(args...)) }
func (bareTB) Logf(string, ...any)          {}

// stepWorld is the world in a stepper's file, as it is.
func stepWorld(t tb, n int, file []byte, ctl *controls) *world {
	g := smallGeometry(stepWorlds[n])
	return &world{
		t: t, g: g, mem: file[ctlSize : ctlSize+g.Size()], race: NewRaceSync(g),
		dead: ctl.dead[:], pause: runtime.Gosched,
	}
}

// newStepper starts the child. It must be used by this goroutine alone.
func newStepper(t *testing.T) *stepper {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.MemfdCreate("stepper", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "stepper")
	defer f.Close()
	if err := f.Truncate(stepperSize); err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	s := &stepper{t: t, file: mapStepper(fd)}
	s.ctl = (*controls)(unsafe.Pointer(&s.file[0]))
	s.cmd = exec.Command(exe)
	s.cmd.Env = append(os.Environ(), stepperEnv+"=1", "GODEBUG=asyncpreemptoff=1", "GOCOVERDIR="+t.TempDir())
	s.cmd.ExtraFiles = []*os.File{f}
	s.cmd.Stderr = os.Stderr
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		runtime.UnlockOSThread()
		t.Skipf("no ptrace here: %v", err)
	}
	s.pid = s.cmd.Process.Pid
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		_, _ = s.cmd.Process.Wait()
		_ = unix.Munmap(s.file)
		runtime.UnlockOSThread()
	})
	if sig := s.wait(); sig != unix.SIGTRAP {
		t.Fatalf("the child began with %v", sig)
	}
	_ = unix.PtraceSetOptions(s.pid, unix.PTRACE_O_EXITKILL)
	s.shareCPU()
	s.run()
	return s
}

// shareCPU keeps tracer and child on one CPU: handing over there is ten times
// faster than waking another.
func (s *stepper) shareCPU() {
	var all, one unix.CPUSet
	if unix.SchedGetaffinity(0, &all) != nil {
		return
	}
	for cpu := range len(all) * 64 {
		if all.IsSet(cpu) {
			one.Set(cpu) // the last one
		}
		if one.Count() > 1 {
			one.Zero()
			one.Set(cpu)
		}
	}
	_ = unix.SchedSetaffinity(0, &one)
	_ = unix.SchedSetaffinity(s.pid, &one)
	s.t.Cleanup(func() { _ = unix.SchedSetaffinity(0, &all) })
}

// wait waits for the child to stop, and says for which signal.
func (s *stepper) wait() unix.Signal {
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(s.pid, &ws, unix.WALL, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || !ws.Stopped() {
			s.t.Fatalf("the child is gone: %v, status %#x", err, ws)
		}
		return ws.StopSignal()
	}
}

// run lets the child run until it waits.
func (s *stepper) run() {
	for before := s.ctl.stops; s.ctl.stops == before; {
		if err := unix.PtraceCont(s.pid, 0); err != nil {
			s.t.Fatal(err)
		}
		switch sig := s.wait(); sig {
		case unix.SIGSTOP, unix.SIGURG, unix.SIGTRAP:
		default:
			s.t.Fatalf("the child got %v", sig)
		}
	}
}

// tell prepares the next step of the child's actor, which stands before it then.
func (s *stepper) tell(world int, actor uint64, st step) {
	s.ctl.world, s.ctl.act, s.ctl.arg, s.ctl.actor, s.ctl.done = uint64(world), uint64(st.act), st.arg, actor, 0
	s.run()
}

// result is what came of it.
func (s *stepper) result() (Status, uint64) { return Status(s.ctl.status), s.ctl.value }

// do takes a step at full speed.
func (s *stepper) do(world int, actor uint64, st step) (Status, uint64) {
	s.tell(world, actor, st)
	s.run()
	return s.result()
}

// ahead runs one instruction of what the child was told to do. False: it is done.
func (s *stepper) ahead() bool {
	for atomic.LoadUint64(&s.ctl.done) == 0 {
		if err := unix.PtraceSingleStep(s.pid); err != nil {
			s.t.Fatal(err)
		}
		switch sig := s.wait(); sig {
		case unix.SIGTRAP:
			s.instructions++
			return true
		case unix.SIGURG, unix.SIGSTOP: // from elsewhere
		default:
			s.t.Fatalf("the child got %v", sig)
		}
	}
	return false
}

// A state is the memory after so many instructions of a step.
type state struct {
	mem []byte
	at  int
}

// states takes a step of the child's actor and returns all states of the memory
// on the way: the one before, and one after each store.
func (s *stepper) states(mem []byte) (states []state) {
	states = append(states, state{bytes.Clone(mem), 0})
	for at := 1; s.ahead(); at++ {
		if last := states[len(states)-1]; !bytes.Equal(last.mem, mem) {
			states = append(states, state{bytes.Clone(mem), at})
		}
	}
	s.run()
	return states
}
