package channel

import (
	"encoding/binary"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// modeWatches tell of changes to the modes of queues and FIFOs: inotify(7), IN_ATTRIB, which
// the kernel reports on the queues' file system as on any other, whichever process calls
// fchmod. There is one instance for the process, since a user has no more than 128, made
// with the first watch and closed with the last. Whoever reads an instance (listen) ends
// when it is closed.
//
// The object is named by /proc/self/fd, so it needs no path that this process sees; but it
// takes a /proc, and permission to read the object.
type modeWatches struct {
	mu   sync.Mutex
	file *os.File // the instance; nil: nobody watches
	in   map[int32]map[*modeWatch]bool
}

// modeWatch is one who wants to know; the kernel has one number for each object.
type modeWatch struct {
	wd      int32
	changed func()
}

var modes modeWatches

// watch calls changed after each change to what fd is open on, from another goroutine and
// perhaps once more after stop; also when there was none.
func (m *modeWatches) watch(fd uintptr, changed func()) (stop func(), err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.file == nil {
		n, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
		if err != nil {
			return nil, os.NewSyscallError("inotify_init1", err)
		}
		m.file, m.in = os.NewFile(uintptr(n), "inotify"), make(map[int32]map[*modeWatch]bool)
		go m.listen(m.file)
	}
	w := &modeWatch{changed: changed}
	err = m.control(func(in int) error {
		n, err := unix.InotifyAddWatch(in, "/proc/self/fd/"+strconv.Itoa(int(fd)), unix.IN_ATTRIB)
		w.wd = int32(n)
		return os.NewSyscallError("inotify_add_watch", err)
	})
	if err != nil {
		m.endUnused()
		return nil, err
	}
	if m.in[w.wd] == nil {
		m.in[w.wd] = make(map[*modeWatch]bool)
	}
	m.in[w.wd][w] = true
	return func() { m.remove(w) }, nil
}

// control runs f with the instance's descriptor. mu is held.
func (m *modeWatches) control(f func(in int) error) (err error) {
	raw, err := m.file.SyscallConn()
	if err != nil {
		return err
	}
	if ctl := raw.Control(func(in uintptr) { err = f(int(in)) }); ctl != nil {
		return ctl
	}
	return err
}

func (m *modeWatches) remove(w *modeWatch) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.in[w.wd], w)
	if len(m.in[w.wd]) > 0 {
		return
	}
	delete(m.in, w.wd)
	_ = m.control(func(in int) error {
		_, err := unix.InotifyRmWatch(in, uint32(w.wd)) // EINVAL: the kernel has dropped it
		return err
	})
	m.endUnused()
}

// endUnused closes an instance that nobody needs. mu is held.
func (m *modeWatches) endUnused() {
	if len(m.in) == 0 {
		_ = m.file.Close()
		m.file = nil
	}
}

// listen passes on what the instance says.
func (m *modeWatches) listen(file *os.File) {
	buf := make([]byte, 4096)
	for {
		n, err := file.Read(buf)
		if err != nil {
			return
		}
		for _, changed := range m.meant(file, buf[:n]) {
			changed()
		}
	}
}

// meant is who is to be told of events: several may have come for one object.
func (m *modeWatches) meant(file *os.File, events []byte) (told []func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.file != file { // another instance has other numbers
		return nil
	}
	for len(events) >= unix.SizeofInotifyEvent {
		wd := int32(binary.NativeEndian.Uint32(events))
		mask := binary.NativeEndian.Uint32(events[4:])
		name := int(binary.NativeEndian.Uint32(events[12:]))
		events = events[min(unix.SizeofInotifyEvent+name, len(events)):]
		for n, watches := range m.in {
			if n != wd && mask&unix.IN_Q_OVERFLOW == 0 {
				continue
			}
			for w := range watches {
				told = append(told, w.changed)
			}
		}
	}
	return told
}

// Watch is as watchedFlag says.
func (b *stickyBit) Watch(changed func()) (stop func(), err error) {
	if ctl := b.raw.Control(func(fd uintptr) { stop, err = modes.watch(fd, changed) }); ctl != nil {
		return nil, ctl
	}
	return stop, err
}
