// Package fallback answers: what carries messages, wake-ups or the setup handshake
// between processes when shared memory is not it?
//
// Each mechanism of the kernel has a file of its own with a calm wrapper, and most
// have a constructor of a Conn, which carries framed messages and over which package
// channel can run (channel.Over).
//
// Who should not use it: whoever just wants a channel. Package channel chooses by itself.
package fallback
