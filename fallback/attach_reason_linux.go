package fallback

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// attachReason looks at what decides whether this process may reach into the other one,
// and says it. It is asked after the kernel has refused, so it need not be exact: all
// that it finds may have changed since.
func attachReason(pid int, errno unix.Errno) string {
	switch errno {
	case unix.EPERM:
		return attachRefusal("self", strconv.Itoa(pid))
	case unix.EFAULT:
		return "no such memory there, or not with that protection"
	case unix.ESRCH:
		return "no such process in this PID namespace, or it is ending"
	case unix.ENOSYS:
		return "this kernel is built without CONFIG_CROSS_MEMORY_ATTACH, or a seccomp filter hides it"
	}
	return ""
}

// attachRefusal is why the one process may not trace the other; each is a name in /proc.
func attachRefusal(reader, target string) string {
	var why []string
	by, haveBy := attachStatus(reader)
	it, haveIt := attachStatus(target)
	if haveBy && by.caps&(1<<unix.CAP_SYS_PTRACE) == 0 {
		why = append(why, "the reader has no CAP_SYS_PTRACE")
	}
	if haveBy && haveIt && (by.uids != it.uids || by.gids != it.gids) {
		why = append(why, fmt.Sprintf("it runs as uid %s gid %s, the other one as uid %s gid %s",
			by.uids, by.gids, it.uids, it.gids))
	}
	if haveBy && haveIt && it.permitted&^by.permitted != 0 {
		why = append(why, "the other one has capabilities that it lacks")
	}
	var st unix.Stat_t
	if unix.Stat("/proc/"+target+"/environ", &st) == nil && haveIt && st.Uid == 0 && !strings.HasPrefix(it.uids, "0/") {
		why = append(why, "the other one is not dumpable, prctl(PR_SET_DUMPABLE)")
	}
	switch scope := attachScope(); scope {
	case "":
	case "0":
		why = append(why, "/proc/sys/kernel/yama/ptrace_scope is 0, so not the reason")
	case "1":
		why = append(why, "/proc/sys/kernel/yama/ptrace_scope is 1: only ancestors may, whom the other one names by prctl(PR_SET_PTRACER), and CAP_SYS_PTRACE")
	case "2":
		why = append(why, "/proc/sys/kernel/yama/ptrace_scope is 2: only CAP_SYS_PTRACE may")
	default:
		why = append(why, "/proc/sys/kernel/yama/ptrace_scope is "+scope+": nobody may")
	}
	if haveBy && by.seccomp {
		why = append(why, "a seccomp filter is on the reader, and may forbid the call")
	}
	if len(why) == 0 {
		return "tracing it is not permitted, ptrace(2)"
	}
	return strings.Join(why, "; ")
}

// attachScope is Yama's setting, "" where there is no Yama.
func attachScope() string {
	b, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope")
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(b))
}

// attachWho is what /proc/PID/status tells of a process, proc_pid_status(5).
type attachWho struct {
	uids, gids string // real/effective/saved
	caps       uint64
	permitted  uint64
	seccomp    bool
}

func attachStatus(pid string) (w attachWho, ok bool) {
	b, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return w, false
	}
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(line, ":")
		f := strings.Fields(value)
		switch {
		case len(f) == 0:
		case key == "Uid" && len(f) > 2:
			w.uids = strings.Join(f[:3], "/")
		case key == "Gid" && len(f) > 2:
			w.gids = strings.Join(f[:3], "/")
		case key == "CapEff":
			w.caps, _ = strconv.ParseUint(f[0], 16, 64)
		case key == "CapPrm":
			w.permitted, _ = strconv.ParseUint(f[0], 16, 64)
		case key == "Seccomp":
			w.seccomp = f[0] != "0"
		}
	}
	return w, true
}
