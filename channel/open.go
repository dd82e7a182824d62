package channel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"sync"

	"github.com/shmchan/shmchan/ring"
	"github.com/shmchan/shmchan/shm"
)

// Open joins the channel of that name, or creates it if there is none. capacity is
// in messages, 0 for a rendezvous; it and T must be those of the channel that is
// there, else the error is a *MismatchError (errors.As). Without a mode option the
// mode is MPMC. Any number of processes may open the same name at once; one of them
// creates it.
//
// Errors: fs.ErrInvalid for a bad name, capacity or option, errors.ErrUnsupported
// for a T that can never cross (*TypeError) and on systems other than Linux,
// ErrCorrupt for something under the name that is not a channel (it is left
// alone), fs.ErrPermission, ENOSPC or ENOMEM when the memory is not there, ErrBusy
// when all seats are taken.
//
// Where the system refuses shared memory (no /dev/shm, or a read-only one; a sandbox that
// forbids a system call: EPERM, ENOSYS), the channel runs over a POSIX message queue of that
// name, or else over a FIFO, unless NoFallback is given or Dir: Carrier and Stats say so. It is then
// the channel that Over describes, with at most as many places as the system's queues
// have; a capacity of 0 stays an error. All who are refused shared memory
// arrive at the same object, and so does who is not, if it comes later and there is
// no shared memory of that name.
func Open[T any](name string, capacity int, opts ...Option) (*Chan[T], error) {
	const op = "open"
	p, err := prepare[T](op, name, capacity, opts, true)
	if err != nil {
		return nil, err
	}
	for range 100 {
		c, err := p.attach(op)
		switch {
		case p.refused(err):
			return p.elsewhere(op, openExisting|openNew, err)
		case !errors.Is(err, fs.ErrNotExist):
			return c, err
		}
		if c, err = p.moved(op); c != nil || err != nil {
			return c, err
		}
		c, err = p.create(op)
		switch {
		case p.refused(err):
			return p.elsewhere(op, openExisting|openNew, err)
		case !errors.Is(err, fs.ErrExist):
			return c, err
		}
	}
	return nil, opError(op, p.name, fmt.Errorf("the name comes and goes: %w", ErrBusy))
}

// Create makes a new channel. errors.Is(err, fs.ErrExist) when the name is taken.
// Otherwise as Open.
func Create[T any](name string, capacity int, opts ...Option) (*Chan[T], error) {
	const op = "create"
	p, err := prepare[T](op, name, capacity, opts, true)
	if err != nil {
		return nil, err
	}
	if c, err := p.moved(op); c != nil {
		return nil, p.taken(op, c)
	} else if err != nil {
		return nil, err
	}
	c, err := p.create(op)
	if p.refused(err) {
		return p.elsewhere(op, openNew, err)
	}
	return c, err
}

// Attach joins a channel that is there, with the capacity and mode that it has.
// errors.Is(err, fs.ErrNotExist) when there is none. Otherwise as Open.
func Attach[T any](name string, opts ...Option) (*Chan[T], error) {
	const op = "attach"
	p, err := prepare[T](op, name, -1, opts, true)
	if err != nil {
		return nil, err
	}
	c, err := p.attach(op)
	switch {
	case p.refused(err):
		return p.elsewhere(op, openExisting, err)
	case errors.Is(err, fs.ErrNotExist):
		if other, otherErr := p.moved(op); other != nil || otherErr != nil {
			return other, otherErr
		}
	}
	return c, err
}

// New makes a channel without a name, in memory that is sealed against shrinking
// and growing. Pass File to another process, which calls FromFile.
func New[T any](capacity int, opts ...Option) (*Chan[T], error) {
	const op = "new"
	p, err := prepare[T](op, "", capacity, opts, false)
	if err != nil {
		return nil, err
	}
	g, err := p.geometry()
	if err != nil {
		return nil, opError(op, "", err)
	}
	obj, err := shm.Memfd("shmchan", g.Size(), func(mem []byte) error { return ring.Format(mem, g) })
	if err != nil {
		return nil, opError(op, "", err)
	}
	return p.handle(op, obj)
}

// FromFile joins the channel that f is the File of: a memfd sealed against
// shrinking and growing (one that is not is refused), or the file of a named
// channel. Capacity and mode are those of the channel. f stays the caller's,
// who may close it at once.
func FromFile[T any](f *os.File, opts ...Option) (*Chan[T], error) {
	const op = "from file"
	p, err := prepare[T](op, "", -1, opts, false)
	if err != nil {
		return nil, err
	}
	if f == nil {
		return nil, opError(op, "", fmt.Errorf("no file: %w", fs.ErrInvalid))
	}
	obj, err := shm.FromFile(f, 1)
	if err != nil {
		return nil, opError(op, "", notAnObject(err))
	}
	return p.handle(op, obj)
}

// Unlink removes the name, as shm_unlink(3): who has the channel open goes on with
// it; the next Open of the name makes another one. A channel that runs over a queue or FIFO
// for want of shared memory is forgotten too. Of the options Dir and NoFallback count.
// errors.Is(err, fs.ErrNotExist) when there is none.
func Unlink(name string, opts ...Option) error {
	cfg, err := configure(opts)
	if err != nil {
		return opError("unlink", name, err)
	}
	err = notAnObject(shm.Unlink(cfg.dir, name))
	if clean, bad := shm.CleanName(name); bad == nil && cfg.dir == "" && !cfg.noFallback {
		found, otherErr := unlinkElsewhere(clean)
		switch {
		case err == nil, found && (errors.Is(err, fs.ErrNotExist) || refusesShared(err)):
			err = otherErr
		case refusesShared(err) && !sharedExists(clean):
			err = fmt.Errorf("%w: %w", fs.ErrNotExist, err)
		}
	}
	return opError("unlink", name, err)
}

// plan is what a constructor has worked out before it touches anything.
type plan[T any] struct {
	cfg      *config
	name     string
	capacity int // -1: whatever is there
	ti       typeInfo
	codec    Codec[T]
}

func prepare[T any](op, name string, capacity int, opts []Option, named bool) (*plan[T], error) {
	p := &plan[T]{capacity: capacity, name: name}
	fail := func(err error) (*plan[T], error) { return nil, opError(op, name, err) }
	var err error
	if p.cfg, err = configure(opts); err != nil {
		return fail(err)
	}
	if named {
		if p.name, err = shm.CleanName(name); err != nil {
			return fail(err)
		}
	}
	if capacity < -1 || capacity == -1 && op != "attach" && op != "from file" && op != "dial" {
		return fail(fmt.Errorf("capacity %d: %w", capacity, fs.ErrInvalid))
	}
	if p.ti, err = describe[T](p.cfg.codec != nil); err != nil {
		return fail(err)
	}
	if p.codec, err = codecFor[T](p.ti, p.cfg.codec); err != nil {
		return fail(err)
	}
	if p.cfg.codec != nil {
		p.ti = p.ti.with(p.cfg.codec)
	}
	return p, nil
}

func (p *plan[T]) packed() bool { return p.ti.transfer != transferPlain }

// params are those of a channel to be created, or, with the capacity of one that
// is there, those it must have.
func (p *plan[T]) params() ring.Params {
	r := ring.Params{Capacity: uint64(p.capacity), Fingerprint: p.ti.fingerprint, Description: p.ti.description}
	if p.cfg.mode == modeSPSC {
		r.Flags |= ring.FlagSPSC
	}
	if !p.packed() {
		r.Elem = uint64(p.ti.size)
		return r
	}
	r.Flags |= ring.FlagPacked
	r.MaxMessage, r.Space = p.maxMessage(), uint64(p.cfg.space)
	if r.Space == 0 {
		r.Space = defaultSpace(r.Capacity, r.MaxMessage)
	}
	return r
}

func (p *plan[T]) maxMessage() uint64 {
	if p.cfg.maxMessage == 0 {
		return DefaultMaxMessage
	}
	return uint64(p.cfg.maxMessage)
}

// defaultSpace is capacity × most, held to 16 MiB or 4 × most, whichever is more,
// with what each message takes beside its bytes.
func defaultSpace(capacity, most uint64) uint64 {
	each := most + 128
	limit := max(16<<20, 4*each)
	if capacity == 0 {
		capacity = 4
	}
	if capacity > limit/each {
		return limit
	}
	return min((capacity+1)*each, limit)
}

func (p *plan[T]) geometry() (*ring.Geometry, error) {
	g, err := ring.Layout(p.params())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, fs.ErrInvalid)
	}
	return g, nil
}

func (p *plan[T]) create(op string) (*Chan[T], error) {
	g, err := p.geometry()
	if err != nil {
		return nil, opError(op, p.name, err)
	}
	obj, err := shm.Create(p.cfg.dir, p.name, g.Size(), p.cfg.perm, func(mem []byte) error { return ring.Format(mem, g) })
	if err != nil {
		return nil, opError(op, p.name, err)
	}
	return p.handle(op, obj)
}

func (p *plan[T]) attach(op string) (*Chan[T], error) {
	obj, err := shm.Open(p.cfg.dir, p.name, 1)
	if err != nil {
		return nil, opError(op, p.name, notAnObject(err))
	}
	return p.handle(op, obj)
}

// notAnObject makes what shm refuses to take for an object an ErrCorrupt as well.
func notAnObject(err error) error {
	if errors.Is(err, shm.ErrNotObject) || errors.Is(err, shm.ErrNotSealed) {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}

// handle makes a handle on an object that is open, or closes it.
func (p *plan[T]) handle(op string, obj *shm.Object) (*Chan[T], error) {
	c, err := p.join(obj)
	if err != nil {
		_ = obj.Close()
		var differs *MismatchError
		if errors.As(err, &differs) {
			return nil, fmt.Errorf("channel: %s: %w", op, err)
		}
		return nil, opError(op, p.name, err)
	}
	return c, nil
}

func (p *plan[T]) join(obj *shm.Object) (*Chan[T], error) {
	g, err := ring.Inspect(obj.Bytes())
	switch {
	case errors.Is(err, ring.ErrABI):
		return nil, &MismatchError{Name: p.name, What: "ABI", Want: strconv.Itoa(int(ring.ABI)), Have: strconv.Itoa(int(ring.ABIOf(obj.Bytes())))}
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if err := p.compare(g); err != nil {
		return nil, err
	}
	k := &core{cfg: p.cfg, name: p.name, kind: kindOf(g), obj: obj, hangUp: p.cfg.hangUp, gone: make(chan struct{}), capacity: g.Capacity}
	k.fenced = k.kind.spsc() && !hasMembarrier()
	k.users.Store(1)
	k.pins.Store(1)
	k.id[0], k.id[1] = obj.ID()
	sync, done := raceSyncFor(obj, g)
	if k.q, err = ring.Attach(obj.Bytes(), g, k, sync); err != nil {
		done()
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	k.raceDone = done
	k.eyes = k.q.NewDesk()
	k.meetDesks = make(chan struct{}, k.q.MeetingDesks())
	k.meetWants = make(chan struct{}, meetWants)
	if err := k.join(); err != nil {
		done()
		return nil, err
	}
	c := &Chan[T]{core: k, codec: p.codec, transfer: p.ti.transfer}
	c.elems = k.kind == kindElems && !k.hangUp
	c.fast = c.codec == nil && k.kind == kindSPSC && !k.hangUp && !k.fenced
	c.raw = c.transfer == transferBytes || c.transfer == transferString
	c.headers = newPool[T]()
	return c, nil
}

func newPool[T any]() *sync.Pool { return &sync.Pool{New: func() any { return new(T) }} }

// compare says what of the channel differs from what was asked for.
func (p *plan[T]) compare(g *ring.Geometry) error {
	have := g.Params
	differs := func(what, want, there string) error {
		return &MismatchError{Name: p.name, What: what, Want: want, Have: there}
	}
	modeOf := modeMPMC
	if have.SPSC() {
		modeOf = modeSPSC
	}
	wantMode := p.cfg.mode
	if wantMode == modeUnset && p.capacity >= 0 {
		wantMode = modeMPMC
	}
	number := func(what string, want, there uint64) error {
		return differs(what, strconv.FormatUint(want, 10), strconv.FormatUint(there, 10))
	}
	switch {
	case have.Fingerprint != p.ti.fingerprint || have.Packed() != p.packed() || !p.packed() && have.Elem != uint64(p.ti.size):
		return differs("type", p.ti.description, have.Description)
	case p.capacity >= 0 && uint64(p.capacity) != have.Capacity:
		return number("capacity", uint64(p.capacity), have.Capacity)
	case wantMode != modeUnset && wantMode != modeOf:
		return differs("mode", wantMode.String(), modeOf.String())
	case p.packed() && p.cfg.maxMessage != 0 && have.MaxMessage != p.maxMessage():
		return number("max message", p.maxMessage(), have.MaxMessage)
	case p.packed() && p.cfg.space != 0 && have.Space != uint64(p.cfg.space):
		return number("space", uint64(p.cfg.space), have.Space)
	}
	return nil
}
