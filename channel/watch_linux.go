package channel

import (
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmchan/shmchan/ring"
)

// Watching. Whoever sleeps must learn when another member dies: it may have died
// between publishing and waking, or while it held something. The kernel tells it
// through a pidfd (pidfd_open(2), Linux 5.3) in the runtime's netpoller, one for
// each process, whatever the number of channels. That is only a hint to look: the
// proof of death is the seat's lock, which the kernel has released
// (ring.Env.Alive). A member whose process cannot be watched (another PID
// namespace, no pidfd) is asked for every askEvery while somebody sleeps.

// watcher is a handle's part of it.
type watcher struct {
	mu      sync.Mutex
	seen    uint32 // Membership when we last looked
	looked  bool
	peers   map[peerKey]*peer
	asking  atomic.Bool
	stopped bool
}

type peerKey struct {
	pid   int
	start uint64
}

// peer is another process that channels of this one watch.
type peer struct {
	key   peerKey
	file  *os.File
	cores map[*core]struct{} // under registry.mu
	dead  bool
}

var registry = struct {
	mu    sync.Mutex
	peers map[peerKey]*peer
}{peers: make(map[peerKey]*peer)}

func (w *watcher) mustAsk() bool { return w.asking.Load() }

// ensure watches every member there is now. It is cheap when none has come or gone.
func (w *watcher) ensure(k *core) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := k.q.Membership()
	if w.stopped || w.looked && w.seen == now {
		return
	}
	w.seen, w.looked = now, true
	ask := false
	want := make(map[peerKey]bool)
	for _, m := range k.q.Members() {
		if m.Seat == k.q.Seat() {
			continue
		}
		key := peerKey{int(int32(m.PID)), m.Start}
		if m.NS != identity().ns || m.NS == 0 || key.pid <= 0 {
			ask = true
			continue
		}
		if key.pid == os.Getpid() {
			continue // it dies with us
		}
		want[key] = true
		if w.peers[key] != nil {
			continue
		}
		p := subscribe(key, k)
		if p == nil {
			ask = true // cannot be watched, or is dead already: the lock knows
			continue
		}
		if w.peers == nil {
			w.peers = make(map[peerKey]*peer)
		}
		w.peers[key] = p
	}
	for key, p := range w.peers {
		if !want[key] {
			p.unsubscribe(k)
			delete(w.peers, key)
		}
	}
	w.asking.Store(ask)
}

func (w *watcher) stop(k *core) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	for key, p := range w.peers {
		p.unsubscribe(k)
		delete(w.peers, key)
	}
}

// subscribe watches a process for k. nil: it cannot be watched.
func subscribe(key peerKey, k *core) *peer {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	p := registry.peers[key]
	if p == nil {
		fd, err := unix.PidfdOpen(key.pid, unix.PIDFD_NONBLOCK)
		if err != nil {
			return nil
		}
		// The number may have been given to another process since.
		if start, ok := startTime(key.pid); !ok || start != key.start {
			_ = unix.Close(fd)
			return nil
		}
		p = &peer{key: key, file: os.NewFile(uintptr(fd), "pidfd"), cores: make(map[*core]struct{})}
		registry.peers[key] = p
		go p.wait()
	}
	p.cores[k] = struct{}{}
	return p
}

func (p *peer) unsubscribe(k *core) {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	delete(p.cores, k)
	if len(p.cores) == 0 && !p.dead {
		p.dead = true
		delete(registry.peers, p.key)
		_ = p.file.Close() // ends wait
	}
}

// wait parks in the netpoller until the process ends or nobody wants to know.
func (p *peer) wait() {
	defer p.file.Close()
	raw, err := p.file.SyscallConn()
	if err != nil {
		return
	}
	// Read calls it at once, and again whenever the pidfd may be readable, which
	// it is when the process has ended.
	if raw.Read(readable) != nil {
		return // closed: nobody wants to know
	}
	registry.mu.Lock()
	p.dead = true
	if registry.peers[p.key] == p {
		delete(registry.peers, p.key)
	}
	var cores []*core
	for k := range p.cores {
		if k.enterAny() {
			cores = append(cores, k)
		}
	}
	registry.mu.Unlock()
	for _, k := range cores {
		k.bury()
		k.leave()
	}
}

func readable(fd uintptr) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}

// bury sweeps after a process that has ended. Its locks go with its descriptors,
// before the pidfd tells; should something still hold one of them back for a
// moment (a fork on its way to exec), it asks a few times more.
func (k *core) bury() {
	for i := range 5 {
		if k.sweep() {
			return
		}
		select {
		case <-k.gone:
			return
		case <-time.After(time.Millisecond << i):
		}
	}
}

var _ ring.Env = (*core)(nil)
