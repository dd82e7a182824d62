package fallback

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A task is what a child process of the suite does with its end.
type task struct {
	Carrier string
	Arg     string // what give returned
	Do      string // echo, send, receive, idle
	Sender  uint32
	Count   int  // messages to send, 0: until it is killed
	Large   int  // bytes in each third message; all others are mixed
	Full    bool // say "full" when Send waits for room
}

const taskEnv = "SHMCHAN_CONFORMANCE_TASK"

func init() { roles["conformance"] = doTask }

// doTask is a child's main function. It ends at the latest when its standard input does.
func doTask() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGUSR1) // interrupts, and does no more
	var k task
	err := json.Unmarshal([]byte(os.Getenv(taskEnv)), &k)
	if err == nil {
		err = k.do()
	}
	if err != nil {
		fmt.Printf("failed: %v\n", err)
		os.Exit(1)
	}
}

func (k task) do() error {
	c, err := findCarrier(k.Carrier).remake(k.Arg)
	if err != nil {
		return fmt.Errorf("remake: %w", err)
	}
	orphan := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		if k.Do != "idle" {
			os.Exit(0)
		}
		close(orphan)
	}()
	fmt.Println("ready")
	switch k.Do {
	case "echo":
		err = echo(c)
	case "send":
		s := begin(func() ([]byte, error) { return nil, k.send(c) })
		for full := k.Full; full && s.settle(time.Now().Add(time.Hour)); full = false {
			fmt.Println("full")
		}
		<-s.done
		err = s.err
	case "receive":
		l := newLedger()
		gather(l, c)
		for e := range l.got {
			fmt.Println(e.sender, e.seq)
		}
		for _, w := range l.wrongs {
			fmt.Println("failed:", w)
		}
		fmt.Println("all")
	case "idle":
		<-orphan
	default:
		return fmt.Errorf("no such task: %q", k.Do)
	}
	if err != nil {
		return err
	}
	return c.Close()
}

func echo(c Conn) error {
	var buf []byte
	for {
		var err error
		if buf, err = c.Receive(forever, buf[:0]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("echo: %w", err)
		}
		if sender, _, err := readMessage(buf); err == nil && sender == endSender {
			return nil
		}
		if err := c.Send(forever, buf); err != nil {
			return fmt.Errorf("echo: %w", err)
		}
	}
}

func (k task) send(c Conn) error {
	for seq := uint32(0); k.Count == 0 || seq < uint32(k.Count); seq++ {
		size := sizeOf(c, int(seq))
		if k.Large > 0 && seq%3 == 2 {
			size = min(k.Large, c.MaxMessage())
		}
		if err := c.Send(forever, message(k.Sender, seq, size)); err != nil {
			return fmt.Errorf("Send %d: %w", seq, err)
		}
	}
	return nil
}

func findCarrier(name string) carrier {
	for _, list := range [][]carrier{carriers, brokenProcesses} {
		for _, c := range list {
			if c.name == name {
				return c
			}
		}
	}
	panic("no such carrier: " + name)
}

// A process is a child of the suite.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	out   *bufio.Reader
}

// start runs this test binary with a task, and returns when it has its end of the carrier.
func start(t testing.TB, c carrier, files []*os.File, arg string, k task) *process {
	t.Helper()
	k.Carrier, k.Arg = c.name, arg
	text, err := json.Marshal(k)
	if err != nil {
		t.Fatalf("%v", err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatalf("%v", err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "SHMCHAN_ROLE=conformance", taskEnv+"="+string(text))
	cmd.ExtraFiles = files
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatalf("%v", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatalf("%v", err)
	}
	if err := cmd.Start(); errors.Is(err, syscall.ENOEXEC) {
		t.Skip("this system cannot start the test binary a second time (emulated without binfmt_misc?)")
	} else if err != nil {
		t.Fatalf("starting a child: %v", err)
	}
	p := &process{cmd: cmd, stdin: stdin, out: bufio.NewReader(stdout)}
	t.Cleanup(p.kill)
	if line := p.line(t); line != "ready" {
		t.Fatalf("child %+v: %s", k, line)
	}
	return p
}

// line is the next of the child's output, "" at its end.
func (p *process) line(t testing.TB) (s string) {
	t.Helper()
	within(t, "a line from a child", func() { s, _ = p.out.ReadString('\n') })
	return strings.TrimSuffix(s, "\n")
}

// kill ends the child with SIGKILL, and returns when it is gone.
func (p *process) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

// succeed waits for the child to end by itself, well; lines are what it still has said.
func (p *process) succeed(t testing.TB) (lines []string) {
	t.Helper()
	var err error
	within(t, "a child's end", func() {
		var text []byte
		text, _ = io.ReadAll(p.out) // first: Wait closes the pipe
		err = p.cmd.Wait()
		lines = strings.Split(strings.TrimSpace(string(text)), "\n")
	})
	for _, line := range lines {
		if strings.HasPrefix(line, "failed") {
			t.Errorf("child: %s", line)
		}
	}
	if err != nil {
		t.Fatalf("child: %v", err)
	}
	return lines
}

// received enters what children with the task receive have said.
func (l *ledger) received(t testing.TB, lines []string) {
	t.Helper()
	if len(lines) == 0 || lines[len(lines)-1] != "all" {
		t.Fatalf("a receiving child ended early: %q", lines)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range lines[:len(lines)-1] {
		var e entry
		if _, err := fmt.Sscan(line, &e.sender, &e.seq); err == nil {
			l.got[e]++
		}
	}
}
