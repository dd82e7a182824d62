package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// patience is how long an answer may take before the pair is given up.
const patience = 30 * time.Second

// A proc is one of the two processes.
type proc struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   io.ReadCloser
	lines *bufio.Reader
}

// A pair is both.
type pair struct {
	procs    [2]*proc
	watchdog *time.Timer
}

// open starts both processes of a subject; they have joined when it returns.
func (s *Scene) open(sub Subject) (*pair, error) {
	sides, err := sub.Prepare(s)
	defer func() {
		for _, side := range sides {
			for _, f := range side.Files {
				f.Close()
			}
		}
	}()
	if err != nil {
		return nil, err
	}
	p := &pair{}
	for i, side := range sides {
		if p.procs[i], err = start(i, nameOf(sub.Info()), side); err != nil {
			return nil, errors.Join(err, p.close())
		}
	}
	p.watch()
	for _, child := range p.procs {
		if _, err := child.expect("open"); err != nil {
			return nil, errors.Join(err, p.close())
		}
	}
	return p, nil
}

func start(side int, name string, s Side) (*proc, error) {
	var err error
	if s.Program == "" {
		if s.Program, err = os.Executable(); err != nil {
			return nil, err
		}
		s.Args = append([]string{strconv.Itoa(len(s.Files))}, s.Args...)
	} else {
		s.Args = append([]string{strconv.Itoa(side)}, s.Args...)
	}
	c := &proc{cmd: exec.Command(s.Program, s.Args...)}
	c.cmd.Env = append(os.Environ(), childEnv+"="+strconv.Itoa(side)+" "+name)
	c.cmd.ExtraFiles = s.Files
	c.cmd.Stderr = os.Stderr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if c.out, err = c.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	c.lines = bufio.NewReader(c.out)
	return c, c.cmd.Start()
}

func (c *proc) tell(line string) error {
	_, err := io.WriteString(c.in, line+"\n")
	return err
}

// expect reads one line that begins with the word, and returns the rest.
func (c *proc) expect(word string) (string, error) {
	line, err := c.lines.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("the process has ended, or taken over %v, instead of saying %q: %w", patience, word, err)
	}
	got, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	switch got {
	case word:
		return rest, nil
	case "error":
		return "", errors.New(rest)
	}
	return "", fmt.Errorf("%q instead of %q", got, word)
}

// watch kills both if the next answers take too long; it is called anew before each.
func (p *pair) watch() {
	if p.watchdog == nil {
		p.watchdog = time.AfterFunc(patience, p.kill)
		return
	}
	p.watchdog.Reset(patience)
}

func (p *pair) kill() {
	for _, c := range p.procs {
		if c != nil && c.cmd.Process != nil {
			_ = c.cmd.Process.Kill()
		}
	}
}

// measured is what one task gave.
type measured struct {
	took    time.Duration // of side 0, for all messages (trips)
	mallocs uint64        // of both processes together
}

// do runs one task: both get ready, then both are told to go.
func (p *pair) do(t task) (m measured, err error) {
	p.watch()
	for _, c := range p.procs {
		if err := c.tell(t.String()); err != nil {
			return m, err
		}
	}
	for _, c := range p.procs {
		if _, err := c.expect("ready"); err != nil {
			return m, err
		}
	}
	for _, i := range []int{1, 0} {
		if err := p.procs[i].tell("go"); err != nil {
			return m, err
		}
	}
	for i, c := range p.procs {
		rest, err := c.expect("done")
		if err != nil {
			return m, err
		}
		var ns int64
		var mallocs uint64
		if _, err := fmt.Sscan(rest, &ns, &mallocs); err != nil {
			return m, fmt.Errorf("done %s: %w", rest, err)
		}
		if i == 0 {
			m.took = time.Duration(ns)
		}
		m.mallocs += mallocs
	}
	return m, nil
}

// close ends both processes: their input ends.
func (p *pair) close() error {
	if p.watchdog != nil {
		p.watchdog.Stop()
	}
	var errs []error
	for _, c := range p.procs {
		if c != nil && c.cmd.Process != nil {
			c.in.Close()
		}
	}
	grace := time.AfterFunc(patience, p.kill)
	defer grace.Stop()
	for _, c := range p.procs {
		if c != nil && c.cmd.Process != nil {
			_, _ = io.Copy(io.Discard, c.lines) // Wait closes the pipe
			errs = append(errs, c.cmd.Wait())
		}
	}
	return errors.Join(errs...)
}

// nameOf is how a Subject is called on the command line of a child.
func nameOf(i Info) string { return i.Carrier + "|" + i.Form }

func findSubject(name string) (Subject, bool) {
	for _, s := range subjects() {
		if nameOf(s.Info()) == name {
			return s, true
		}
	}
	return nil, false
}
