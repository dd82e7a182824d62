// Shmchan carries a stream from one process to another at the shell, over a
// channel in shared memory:
//
//	tar c . | shmchan send x &
//	shmchan recv x | tar t
//
// The two ends may start in either order. recv waits for a sender to come; a
// sender that ends first leaves its messages for a receiver that comes later,
// as far as they find room in the channel: otherwise it blocks, as on a pipe.
//
//	shmchan send NAME     messages from standard input
//	shmchan recv NAME     messages to standard output
//	shmchan rm NAME ...   forget names
//	shmchan version
//
// # Messages
//
// The channel is a chan []byte: any Go program that opens a Chan[[]byte] under
// that name is as good a peer as this tool is. How bytes become messages is each
// side's own affair, nothing of it stands in the channel.
//
//   - Raw, the default: send makes a message of what one read of standard input
//     brought, at most 64 KiB of it, and recv writes the messages one after the
//     other. What comes out is what went in.
//   - --lines: send makes a message of each line, without its newline (a carriage
//     return before it stays, a last line without a newline is a line); recv
//     --lines writes each message and a newline.
//   - --json: send makes a message of each line, which must be one JSON document,
//     without the white space around it; lines of white space are left out.
//     recv --json writes each document on a line of its own, whatever newlines
//     were between its tokens.
//
// So a raw recv of lines writes them without anything between, and recv --lines
// of a raw stream adds newlines wherever a read of the sender happened to end.
//
// A message over --max-message ends send with an error that names the line; the
// lines before it were sent. A line that is not JSON does the same, and so does
// a message that is not JSON at recv --json, which stays in the channel.
//
// # Who may take part
//
// By default one sender and one receiver: the fastest kind, and the one that
// cannot mix two streams into one. A second sender or receiver is told that the
// channel is busy. With --mpmc any number of either may take part, and each
// message goes to one receiver; the last sender to finish ends the stream.
//
// Whichever side comes first creates the channel, by its flags --capacity,
// --max-message, --space, --mpmc and --perm. Who comes later takes the channel
// as it is; a flag given there that says otherwise is an error.
//
// # The end
//
// When the sender has had the end of its input it closes the channel. When the
// receiver has written everything it removes the name and ends. The next
// transfer under that name is a new channel. --keep leaves the name in place:
// another recv then sees the end at once, and the next send replaces it.
//
// A stream that breaks off is told from one that ended:
//
//   - The sender died, was interrupted or failed: recv writes what was sent,
//     removes the name, says so, and ends with status 3. To its own reader this
//     is an end of file like any other.
//   - The receiver ended (as in recv x | head -1), or died: the sender ends without
//     a word, with the status 141 that the shell shows for a writer to a broken
//     pipe. It notices when it next sends, as with a pipe.
//   - The last to leave a broken stream removes the name, --keep aside. So does
//     an interrupted recv that no sender has joined. Messages of a sender that
//     finished stay under an interrupted recv; the next one goes on with them.
//
// Only kill -9 (and a crash of the machine) can leave a name behind; and of what a
// killed recv had taken, the last bytes may not have been written. A new send
// does not mix its messages with those that wait under a name: it fails and
// says what to do, or with --wait it waits until they are gone. They can be
// received with recv, or dropped with rm.
//
// # Progress
//
// --progress shows on standard error how many bytes have gone through and how
// fast, and with a known size (standard input is a file, or --size says it) how
// long it will take. Without that flag it shows only after a second, when
// standard error is a terminal and the data goes from or to a file.
//
// # Exit status
//
//	0    success; for recv: the sender closed the channel
//	1    an error, told on standard error
//	2    wrong usage
//	3    recv: the sender ended without closing the channel
//	129  hung up (SIGHUP)
//	130  interrupted (SIGINT, Ctrl-C)
//	141  the reader is gone: recv's standard output, or send's receiver
//	143  terminated (SIGTERM)
package main

import "os"

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
