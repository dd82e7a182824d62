package fallback

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// QueueMount finds where the mqueue file system is mounted, by custom in /dev/mqueue; the
// last one of several. It is often mounted nowhere, in containers above all: then
// fs.ErrNotExist, and queues can be used all the same but not listed. What is mounted
// shows the queues of the IPC namespace that mounted it.
func QueueMount() (dir string, err error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", opError(KindMQ, "find the file system", "", err)
	}
	defer f.Close()
	if dir, err = mqMount(f); err == nil && dir == "" {
		err = fmt.Errorf("mqueue is not mounted: %w", fs.ErrNotExist)
	}
	return dir, opError(KindMQ, "find the file system", "", err)
}

// mqMount finds the mount in a mountinfo (proc_pid_mountinfo(5)). A mount that is
// hidden by a later one at or above its place still counts; it will not be a directory
// of queues.
func mqMount(mountinfo io.Reader) (dir string, err error) {
	lines := bufio.NewScanner(mountinfo)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		mount, kind, ok := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(mount)
		// root / of the file system: not one queue that is mounted on a file
		if ok && strings.HasPrefix(kind, "mqueue ") && len(fields) > 4 && fields[3] == "/" {
			dir = mqUnescape(fields[4])
		}
	}
	return dir, lines.Err()
}

// mqUnescape undoes the octal escapes of mountinfo: space, tab, line feed, backslash.
func mqUnescape(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		out.WriteByte(s[i])
	}
	return out.String()
}

// ListQueues lists the queues of the mqueue file system in dir, "" standing for where
// QueueMount finds it, by name. It looks into each queue that the caller may read, which
// has a side effect, as any closing of a queue's descriptor: this process's
// mq_notify registration there is lost, unless it is a QueueNotification's.
func ListQueues(dir string) ([]QueueInfo, error) {
	if dir == "" {
		var err error
		if dir, err = QueueMount(); err != nil {
			return nil, err
		}
	}
	queues, err := mqList(dir)
	return queues, opError(KindMQ, "list queues in", dir, err)
}

// mqMagic is MQUEUE_MAGIC of the kernel's ipc/mqueue.c.
const mqMagic = 0x19800202

func mqList(dir string) ([]QueueInfo, error) {
	var stat unix.Statfs_t
	if err := mqIgnoringEINTR("statfs", func() error { return unix.Statfs(dir, &stat) }); err != nil {
		return nil, err
	}
	if uint32(stat.Type) != mqMagic {
		return nil, fmt.Errorf("not an mqueue file system: %w", fs.ErrInvalid)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	queues := make([]QueueInfo, 0, len(entries))
	for _, entry := range entries {
		q, err := mqLook(filepath.Join(dir, entry.Name()))
		switch {
		case errors.Is(err, fs.ErrNotExist): // unlinked meanwhile
		case err != nil:
			return nil, err
		default:
			queues = append(queues, q)
		}
	}
	return queues, nil
}

func mqLook(path string) (QueueInfo, error) {
	stat, err := os.Lstat(path)
	if err != nil {
		return QueueInfo{}, err
	}
	info := QueueInfo{Name: "/" + stat.Name(), Mode: stat.Mode(), Modified: stat.ModTime()}
	if s, ok := stat.Sys().(*syscall.Stat_t); ok {
		info.UID, info.GID = int(s.Uid), int(s.Gid)
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	switch {
	case err == unix.EACCES:
		return info, nil
	case err != nil:
		return info, os.NewSyscallError("open", err)
	}
	defer unix.Close(fd)
	var text [256]byte
	size, err := unix.Read(fd, text[:])
	if err != nil {
		return info, os.NewSyscallError("read", err)
	}
	if err := info.parse(string(text[:size])); err != nil {
		return info, err
	}
	var a mqAttr
	if errno := mqGetSetAttr(fd, nil, &a); errno != 0 {
		return info, os.NewSyscallError("mq_getsetattr", errno)
	}
	info.Attr = QueueAttr{MaxMessages: a.maxMessages, MessageSize: a.messageSize, Messages: a.messages}
	info.Readable = true
	return info, nil
}

// parse reads a queue's text: "QSIZE:129 NOTIFY:2 SIGNO:0 NOTIFY_PID:8260", with
// blanks after the numbers (mq_overview(7)).
func (i *QueueInfo) parse(text string) error {
	found := 0
	for _, field := range strings.Fields(text) {
		key, value, _ := strings.Cut(field, ":")
		to := map[string]*int{"QSIZE": &i.Bytes, "NOTIFY": &i.Notify, "SIGNO": &i.Signal, "NOTIFY_PID": &i.NotifyPID}[key]
		if to == nil {
			continue // a later kernel's
		}
		n, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("%s: %w", i.Name, err)
		}
		*to = n
		found++
	}
	if found == 0 {
		return fmt.Errorf("%s: %q is no queue's text: %w", i.Name, text, ErrFrame)
	}
	return nil
}
