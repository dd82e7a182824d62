package fallback

// A Fact is what a user chooses a mechanism by, as found on this system.
type Fact struct {
	Name       string // of the mechanism, in the field's words
	Kind       Kind   // the Conn that carries messages over it; KindNone: it carries none
	Package    string // where this module has it; "" if it is deliberately left out
	Manual     string // the page to read
	Identity   string // by what two processes find the same object
	Handle     string // what a process holds
	Access     string // who may open it
	Lifetime   string // until when it is there, and what is in it
	Unit       string // messages or bytes
	Direction  string
	Capacity   string // with this system's limits
	Priorities bool
	Pollable   string // how one waits for many
	Network    bool   // crosses machines

	Available bool    // works here and now, in this process
	Why       string  // why not, or why it is left out
	Limits    []Limit // of this system and process
}

// A Limit is one of the system's numbers.
type Limit struct {
	Name  string // where it stands: a file under /proc/sys, an RLIMIT
	Value string
}

// Facts is the table of all mechanisms with which processes on Linux can talk, true as
// found: what the kernel and the limits of this process allow at this moment is
// asked, without leaving anything behind. System V's and signals are named, and
// not available: they are left out on purpose. It does not block; anyone may
// call it at any time. On other systems than Linux nothing is available.
func Facts() []Fact {
	facts := staticFacts()
	for i := range facts {
		f := &facts[i]
		if f.Package == "" {
			continue // Why says so
		}
		find(f)
	}
	return facts
}

// staticFacts is what is true of Linux in general.
func staticFacts() []Fact {
	return []Fact{
		{
			Name: "POSIX shared memory", Kind: KindShared, Package: "channel, shm", Manual: "shm_overview(7)",
			Identity: "name in /dev/shm", Handle: "descriptor, mapping", Access: "mode bits of the name",
			Lifetime: "until unlinked, or the machine's end", Unit: "messages (channel), bytes (shm)",
			Direction: "any to any", Pollable: "futex; WaitFD",
		},
		{
			Name: "anonymous shared memory", Kind: KindShm, Package: "channel.New, shm.Memfd", Manual: "memfd_create(2)",
			Identity: "none: the descriptor is handed on", Handle: "sealed descriptor, mapping", Access: "whoever is given it",
			Lifetime: "until the last process lets go", Unit: "messages (channel), bytes (shm)",
			Direction: "any to any", Pollable: "futex; WaitFD",
		},
		{
			Name: "shared file mapping", Kind: KindShared, Package: "channel.Dir, shm", Manual: "mmap(2), msync(2)",
			Identity: "pathname", Handle: "descriptor, mapping", Access: "mode bits of the file",
			Lifetime: "the file's: it outlives a reboot, what was synced does", Unit: "messages (channel), bytes (shm)",
			Direction: "any to any", Pollable: "futex; WaitFD",
		},
		{
			Name: "futex", Package: "futexsem", Manual: "futex(2)",
			Identity: "a word in shared memory", Handle: "address", Access: "whoever maps the word",
			Lifetime: "the memory's", Unit: "wake-ups", Direction: "any to any", Capacity: "none", Pollable: "futex_waitv: 128 words",
		},
		{
			Name: "POSIX semaphore, unnamed", Package: "futexsem", Manual: "sem_overview(7)",
			Identity: "its place in shared memory", Handle: "address", Access: "whoever maps the memory",
			Lifetime: "the memory's", Unit: "counts", Direction: "any to any", Capacity: "2147483647", Pollable: "no",
		},
		{
			Name: "POSIX semaphore, named", Package: "futexsem", Manual: "sem_overview(7)",
			Identity: "name, /dev/shm/sem.NAME", Handle: "mapping", Access: "mode bits of the name",
			Lifetime: "until unlinked, or the machine's end", Unit: "counts", Direction: "any to any", Capacity: "2147483647", Pollable: "no",
		},
		{
			Name: "pipe", Kind: KindPipe, Package: "fallback", Manual: "pipe(7)",
			Identity: "none: inherited or handed on", Handle: "two descriptors", Access: "whoever is given them",
			Lifetime: "until the last descriptor is closed, bytes too", Unit: "bytes; messages with O_DIRECT",
			Direction: "one way", Capacity: "65536 bytes at first", Pollable: "poll, epoll",
		},
		{
			Name: "FIFO", Kind: KindFIFO, Package: "fallback", Manual: "fifo(7)",
			Identity: "pathname", Handle: "descriptor", Access: "mode bits of the file",
			Lifetime: "the name until unlinked; bytes until the last descriptor is closed", Unit: "bytes",
			Direction: "one way", Capacity: "65536 bytes at first", Pollable: "poll, epoll",
		},
		{
			Name: "POSIX message queue", Kind: KindMQ, Package: "fallback", Manual: "mq_overview(7)",
			Identity: "name", Handle: "descriptor", Access: "mode bits of the name",
			Lifetime: "until unlinked, or the machine's end, messages too", Unit: "messages",
			Direction: "any to any", Priorities: true, Pollable: "poll, epoll, mq_notify",
		},
		{
			Name: "UNIX stream socket", Kind: KindUnixStream, Package: "fallback", Manual: "unix(7)",
			Identity: "pathname, abstract name, or a pair", Handle: "descriptor", Access: "mode bits of the path; anyone for abstract names",
			Lifetime: "the connection's; a pathname until unlinked", Unit: "bytes, descriptors",
			Direction: "both ways, one to one", Pollable: "poll, epoll",
		},
		{
			Name: "UNIX datagram socket", Kind: KindUnixDatagram, Package: "fallback", Manual: "unix(7)",
			Identity: "pathname, abstract name, or a pair", Handle: "descriptor", Access: "mode bits of the path; anyone for abstract names",
			Lifetime: "the socket's; a pathname until unlinked", Unit: "messages, descriptors",
			Direction: "many to one", Pollable: "poll, epoll",
		},
		{
			Name: "UNIX seqpacket socket", Kind: KindUnixSeqpacket, Package: "fallback", Manual: "unix(7)",
			Identity: "pathname, abstract name, or a pair", Handle: "descriptor", Access: "mode bits of the path; anyone for abstract names",
			Lifetime: "the connection's; a pathname until unlinked", Unit: "messages, descriptors",
			Direction: "both ways, one to one", Pollable: "poll, epoll",
		},
		{
			Name: "TCP", Kind: KindTCP, Package: "fallback", Manual: "tcp(7)",
			Identity: "address and port", Handle: "descriptor", Access: "whoever reaches the address",
			Lifetime: "the connection's", Unit: "bytes", Direction: "both ways, one to one", Pollable: "poll, epoll", Network: true,
		},
		{
			Name: "UDP", Kind: KindUDP, Package: "fallback", Manual: "udp(7)",
			Identity: "address and port, multicast group", Handle: "descriptor", Access: "whoever reaches the address",
			Lifetime: "the socket's", Unit: "messages, some of them lost", Direction: "any to any", Pollable: "poll, epoll", Network: true,
		},
		{
			Name: "eventfd", Package: "fallback", Manual: "eventfd(2)",
			Identity: "none: inherited or handed on", Handle: "descriptor", Access: "whoever is given it",
			Lifetime: "until the last descriptor is closed", Unit: "a 64-bit count", Direction: "any to any",
			Capacity: "18446744073709551614", Pollable: "poll, epoll",
		},
		{
			Name: "cross-memory attach", Kind: KindCrossMemory, Package: "fallback", Manual: "process_vm_readv(2)",
			Identity: "process and address", Handle: "PID", Access: "as ptrace: same user, and what Yama allows",
			Lifetime: "the process's", Unit: "bytes, copied once", Direction: "reads and writes", Capacity: "1024 pieces a call", Pollable: "no",
		},
		{
			Name: "flock", Package: "fallback", Manual: "flock(2)",
			Identity: "a file", Handle: "open file description", Access: "whoever may open the file",
			Lifetime: "until the last descriptor of the description is closed", Unit: "a lock on the whole file", Direction: "shared or exclusive", Pollable: "no",
		},
		{
			Name: "POSIX record lock", Package: "fallback", Manual: "fcntl_locking(2)",
			Identity: "a byte range of a file", Handle: "process and file", Access: "whoever may open the file",
			Lifetime: "until the process closes any descriptor of the file", Unit: "a lock on a range", Direction: "shared or exclusive", Pollable: "no",
		},
		{
			Name: "open file description lock", Package: "fallback, shm", Manual: "fcntl_locking(2)",
			Identity: "a byte range of a file", Handle: "open file description", Access: "whoever may open the file",
			Lifetime: "until the last descriptor of the description is closed", Unit: "a lock on a range", Direction: "shared or exclusive", Pollable: "no",
		},
		{
			Name: "System V shared memory, semaphores, queues", Manual: "sysvipc(7)",
			Identity: "number from a file (ftok)", Handle: "number", Access: "mode bits",
			Lifetime: "until removed, or the machine's end", Unit: "messages, counts, bytes", Direction: "any to any", Pollable: "no",
			Why: "left out: keys collide, nothing is a descriptor, so nothing can be polled or handed on, and the POSIX ones do the same",
		},
		{
			Name: "signals", Manual: "signal(7), sigqueue(3)",
			Identity: "PID", Handle: "PID or pidfd", Access: "same user", Lifetime: "the process's",
			Unit: "a number, with sigqueue a word", Direction: "one way", Pollable: "signalfd",
			Why: "left out: standard ones merge when they are pending, a library cannot take one from its program, and the Go runtime uses some itself",
		},
	}
}
