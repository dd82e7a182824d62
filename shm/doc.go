// Package shm answers where shared memory comes from on Linux. An [Object] is a
// mapping that several processes share, in one of three kinds:
//
//	           made by   reached by                  size       lives until
//	named      Create    Open, by name               see below  Unlink, or the machine's end
//	on a disk  Create    Open, by name in that dir   see below  Unlink
//	anonymous  Memfd     FromFile, by descriptor     sealed     the last process lets go
//
// Named objects are those of POSIX: files of a tmpfs in [DefaultDir], which a C
// program finds with shm_open(3) under the same name, and the reverse. In a
// directory on a disk file system the same calls give a mapped file, whose contents
// outlive the processes, and after [Object.Sync] the power. Anonymous ones are
// memfd_create(2)'s.
//
// # What can be relied on
//
// An object is found under its name only when it is whole: it is made aside, given
// to the caller's init function, and linked under the name last. A maker that dies
// leaves no name. Nothing that stands under a name is ever replaced, and nothing
// is written to by opening it.
//
// The memory is reserved at creation: that there is not enough is an error then,
// and not a SIGBUS at some later access. It stays so for an anonymous object, which
// is sealed against shrinking and growing. A named one can be truncated by anybody
// who may write to it; and one that another program made with ftruncate(2) alone
// has nothing reserved. An access to what is not there is SIGBUS. Give names modes
// that let in only whom you trust.
//
// Each Object has a lock description: bytes from [LockBase] on that it can hold
// ([Object.TryLock]) and ask for ([Object.Held]). The kernel frees them when the
// process is gone, so that a held byte proves its holder alive, across PID
// namespaces, however long the holder is stopped.
//
// No descriptor is inherited by a child unless it is handed on by [Object.File].
//
// # Who should not use this package
//
// Whoever wants a channel: package channel has one, and calls this one. Here are
// bytes without any order between their readers and writers.
//
// On other systems than Linux every call fails with an error that errors.Is
// errors.ErrUnsupported.
package shm
