package channel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmchan/shmchan/fallback"
	"github.com/shmchan/shmchan/ring"
)

const (
	maxHandshakes = 256 // under way at once; who comes then waits in the kernel's queue
	maxUnaccepted = 64  // set up, and not taken by Accept yet
)

// Listener gives channels of T to those who Dial. Make one with Listen or ListenShared,
// end it with Close. All methods may be called by any number of goroutines at once.
type Listener[T any] struct {
	path     string
	cfg      *config
	sock     *fallback.SeqpacketListener
	geometry *ring.Geometry                 // of what is given
	next     func() (*Chan[T], bool, error) // what is given; true: it is this peer's alone
	shared   bool

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	slots  chan struct{} // a token for each handshake under way
	ready  chan accepted[T]
	hands  sync.WaitGroup

	ended chan struct{} // closed when nobody is served any more
	why   error         // the reason; read after ended
}

type accepted[T any] struct {
	c    *Chan[T]
	peer fallback.Credentials
	own  bool
}

// Listen waits at a UNIX socket for processes that Dial, and gives each a new channel of
// its own, which has no name: its memory, sealed, goes through the socket (SCM_RIGHTS,
// unix(7)). The two sides need no common directory but the socket's, and no common
// user: whoever may connect gets the channel, if CheckPeer lets it.
//
// path is a pathname, whose mode is that of Perm (0600 if not given: this user alone), or
// begins with @ and is abstract: it has no mode, and every process in the network
// namespace may connect, so give CheckPeer. A socket at path that no process has any
// more is replaced.
//
// capacity and options are New's; beside them CheckPeer, OnRefused, HandshakeTimeout.
// Who dials with another T, another mode, or insists on another capacity or size
// is told so, and so is OnRefused: a *MismatchError.
//
// Handshakes run in the background, many at once. Who sends junk or descriptors, or
// does not go on, is dropped, at the latest after the time limit, and holds up nobody
// while fewer than 256 do so at once.
//
// Errors: those of New; syscall.EADDRINUSE when somebody listens there or what is there
// is no socket, fs.ErrInvalid or syscall.EINVAL for a bad path, fs.ErrPermission.
func Listen[T any](path string, capacity int, opts ...Option) (*Listener[T], error) {
	const op = "listen"
	p, err := prepare[T](op, path, capacity, opts, false)
	if err != nil {
		return nil, err
	}
	p.name = "" // what comes of it has none
	g, err := p.geometry()
	if err != nil {
		return nil, opError(op, path, err)
	}
	// Once, so that what cannot be had is known now.
	c, err := New[T](capacity, opts...)
	if err != nil {
		return nil, opError(op, path, err)
	}
	_ = c.Detach()
	next := func() (*Chan[T], bool, error) {
		c, err := New[T](capacity, opts...)
		return c, true, err
	}
	return listen(op, path, p.cfg, g, next, false)
}

// ListenShared is Listen that gives the same channel, ch, to all who dial. ch must have
// been made by New, or come from one that was by FromFile or Dial: memory that has a name
// could be cut short under those who got it (fs.ErrInvalid). It stays the caller's:
// Close does not touch it. Options are those of the socket and the handshake.
//
// Accept returns ch itself and tells who joined; it need not be called. When 64 have not
// been asked for, further ones are not told of.
func ListenShared[T any](path string, ch *Chan[T], opts ...Option) (*Listener[T], error) {
	const op = "listen"
	cfg, err := configure(opts)
	if err != nil {
		return nil, opError(op, path, err)
	}
	mem, lock, err := ch.core.pair()
	if err != nil {
		if !errors.Is(err, ErrDetached) {
			err = fmt.Errorf("the channel cannot be handed on: %w: %w", os.ErrInvalid, err)
		}
		return nil, opError(op, path, err)
	}
	mem.Close()
	lock.Close()
	next := func() (*Chan[T], bool, error) { return ch, false, nil }
	return listen(op, path, cfg, ch.core.q.Static(), next, true)
}

func listen[T any](op, path string, cfg *config, g *ring.Geometry, next func() (*Chan[T], bool, error), shared bool) (*Listener[T], error) {
	sock, err := fallback.ListenUnixSeqpacket(path, fallback.PacketPerm(cfg.perm), fallback.PacketMaxMessage(maxSetup))
	if err != nil {
		return nil, opError(op, path, err)
	}
	l := &Listener[T]{
		path: path, cfg: cfg, sock: sock, geometry: g, next: next, shared: shared,
		slots: make(chan struct{}, maxHandshakes), ready: make(chan accepted[T], maxUnaccepted), ended: make(chan struct{}),
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	go l.serve()
	return l, nil
}

// Path is where it listens.
func (l *Listener[T]) Path() string { return l.path }

// Accept waits until a process has dialled and joined, and returns the channel and who
// it was. It returns when ctx (which may be nil) ends, with its error; nobody is lost
// then. The channel may have had messages already, and its peer may be gone again: see
// HangUp. The caller detaches the channel (not ListenShared's). At most 64 wait
// for Accept; further ones wait in their Dial.
//
// os.ErrClosed (errors.Is) after Close; another error when the socket has failed, for good.
func (l *Listener[T]) Accept(ctx context.Context) (*Chan[T], fallback.Credentials, error) {
	const op = "accept"
	var done <-chan struct{}
	if ctx != nil {
		done = ctx.Done()
		if err := ctx.Err(); err != nil {
			return nil, fallback.Credentials{}, opError(op, l.path, err)
		}
	}
	select {
	case <-l.ended: // Close has drained ready
		return nil, fallback.Credentials{}, opError(op, l.path, l.why)
	default:
	}
	select {
	case a := <-l.ready:
		return a.c, a.peer, nil
	case <-l.ended:
		return nil, fallback.Credentials{}, opError(op, l.path, l.why)
	case <-done:
		return nil, fallback.Credentials{}, opError(op, l.path, ctx.Err())
	}
}

// Close ends listening and removes the path. Channels that Accept has returned stay; those
// that nobody has accepted are closed, which their peers notice. Blocked Accepts
// return with os.ErrClosed. Close returns when nothing goes on in the background any
// more, so it waits for a CheckPeer or OnRefused that is running. A second Close is
// os.ErrClosed.
func (l *Listener[T]) Close() error {
	err := l.sock.Close() // refuses the second
	if errors.Is(err, os.ErrClosed) {
		return opError("close", l.path, err)
	}
	l.cancel()
	<-l.ended
	return opError("close", l.path, err)
}

// serve takes connections until Close.
func (l *Listener[T]) serve() {
	l.why = l.takeAll()
	l.cancel()
	l.hands.Wait()
	for {
		select {
		case a := <-l.ready:
			a.drop()
			continue
		default:
		}
		break
	}
	close(l.ended)
}

func (l *Listener[T]) takeAll() error {
	for {
		select {
		case l.slots <- struct{}{}:
		case <-l.ctx.Done():
			return os.ErrClosed
		}
		conn, err := l.sock.Accept(l.ctx)
		switch {
		case err == nil:
			l.hands.Go(func() {
				defer func() { <-l.slots }()
				l.serveOne(conn)
			})
			continue
		case l.ctx.Err() != nil || errors.Is(err, os.ErrClosed):
			return os.ErrClosed
		case !passing(err):
			return err
		}
		<-l.slots
		select { // until some descriptor or memory is free again
		case <-time.After(10 * time.Millisecond):
		case <-l.ctx.Done():
		}
	}
}

// passing says that accept4(2) may succeed later.
func passing(err error) bool {
	for _, e := range [...]error{unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.EPROTO, unix.EPERM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// serveOne sees one peer through the handshake, and to Accept.
func (l *Listener[T]) serveOne(conn *fallback.SeqpacketConn) {
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(l.ctx, l.cfg.setup.limit())
	defer cancel()
	peer, err := conn.Peer()
	var a accepted[T]
	if err == nil {
		a, err = l.handshake(ctx, conn, peer)
	}
	if err != nil {
		a.drop()
		if tell := l.cfg.setup.refused; tell != nil && l.ctx.Err() == nil {
			tell(peer, opError("listen", l.path, late(ctx, err)))
		}
		return
	}
	_ = conn.Close() // all is said
	if l.shared {
		select {
		case l.ready <- a:
		default:
		}
		return
	}
	select {
	case l.ready <- a:
	case <-l.ctx.Done():
		a.drop()
	}
}

// late says so where a time limit of ours was the reason.
func late(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no handshake in time: %w", os.ErrDeadlineExceeded)
	}
	return err
}

// drop ends a channel that nobody will have.
func (a *accepted[T]) drop() {
	if a.c != nil && a.own {
		_ = a.c.Close()
		_ = a.c.Detach()
	}
}

// handshake is the listening side's part. With an error the channel is to be dropped.
func (l *Listener[T]) handshake(ctx context.Context, conn *fallback.SeqpacketConn, peer fallback.Credentials) (a accepted[T], err error) {
	a.peer = peer
	answer := func(v verdict, files ...*os.File) error {
		return conn.SendFiles(ctx, v.encode(kindAnswer), files...)
	}
	if check := l.cfg.setup.checkPeer; check != nil {
		if err := check(peer); err != nil {
			_ = answer(verdict{outcome: outcomeRefused})
			return a, err
		}
	}
	msg, err := receiveSetup(ctx, conn, nil)
	if err != nil {
		return a, err
	}
	h, err := decodeHello(msg)
	if err != nil {
		return a, err
	}
	if differs := h.disagrees(l.geometry); differs != nil {
		_ = answer(verdict{outcome: outcomeDiffers, what: differs.What, want: differs.Have, have: differs.Want})
		return a, differs
	}
	a.c, a.own, err = l.next()
	if err != nil {
		_ = answer(verdict{outcome: outcomeFailed, text: "the listener could not make a channel"})
		return a, err
	}
	mem, lock, err := a.c.core.pair()
	if err != nil {
		_ = answer(verdict{outcome: outcomeFailed, text: "the listener could not hand its channel on"})
		return a, err
	}
	err = answer(verdict{}, mem, lock)
	mem.Close()
	lock.Close()
	if err != nil {
		return a, err
	}
	if msg, err = receiveSetup(ctx, conn, nil); err != nil {
		return a, err
	}
	v, err := decodeVerdict(msg, kindDone)
	if err == nil {
		err = v.err()
	}
	return a, err
}

// receiveSetup receives a message of the handshake, and into files what comes with it:
// nothing may, if that is nil.
func receiveSetup(ctx context.Context, conn *fallback.SeqpacketConn, files *[]*os.File) ([]byte, error) {
	msg, got, err := conn.ReceiveFiles(ctx, make([]byte, 0, maxSetup))
	if err != nil {
		return nil, err
	}
	if files == nil && len(got) > 0 {
		closeFiles(got)
		return nil, fmt.Errorf("%w: %d descriptors came where none may", fallback.ErrFrame, len(got))
	}
	if files != nil {
		*files = got
	}
	return msg, nil
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
