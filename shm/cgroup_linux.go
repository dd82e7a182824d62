package shm

import (
	"fmt"
	"io/fs"
	"math"
	"path"
	"strconv"
	"strings"
)

// A cgroupLimit is one control group's answer: how many bytes more it allows.
type cgroupLimit struct {
	limit string // which, for people
	room  uint64
}

// A cgroupVersion says where and under what names a version keeps its figures.
type cgroupVersion struct {
	mounts     []string // where distributions mount it
	limit, use string
	clean      []string // page cache in memory.stat that the kernel drops when it needs memory
}

var (
	cgroupV2 = cgroupVersion{
		[]string{"sys/fs/cgroup", "sys/fs/cgroup/unified"},
		"memory.max", "memory.current",
		[]string{"inactive_file", "active_file", "slab_reclaimable"},
	}
	cgroupV1 = cgroupVersion{
		[]string{"sys/fs/cgroup/memory"},
		"memory.limit_in_bytes", "memory.usage_in_bytes",
		[]string{"total_inactive_file", "total_active_file"},
	}
)

// cgroupRoom returns what the process's control group and each one above it
// still allow. Files of others that were read count as used until the kernel
// needs the memory, so they are taken off: in a container that has run for a
// while the bare difference is near nothing. Absent files are no limit.
func cgroupRoom(root fs.FS) (limits []cgroupLimit) {
	b, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(b)) {
		// hierarchy-ID:controllers:path, see cgroups(7)
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 {
			continue
		}
		v := cgroupV1
		switch {
		case f[0] == "0" && f[1] == "":
			v = cgroupV2
		case !hasController(f[1], "memory"):
			continue
		}
		for _, mount := range v.mounts {
			limits = append(limits, v.upFrom(root, mount, f[2])...)
		}
	}
	return limits
}

func hasController(list, name string) bool {
	for c := range strings.SplitSeq(list, ",") {
		if c == name {
			return true
		}
	}
	return false
}

// upFrom visits the group and its parents up to the root of what is mounted. In a
// container without a cgroup namespace the path is the host's and leads nowhere
// in the container's own mount, whose root then is the container's group.
func (v cgroupVersion) upFrom(root fs.FS, mount, group string) (limits []cgroupLimit) {
	for group = path.Clean("/" + group); ; group = path.Dir(group) {
		if room, ok := v.room(root, path.Join(mount, group)); ok {
			limits = append(limits, cgroupLimit{fmt.Sprintf("%s of control group %s", v.limit, group), room})
		}
		if group == "/" {
			return limits
		}
	}
}

func (v cgroupVersion) room(root fs.FS, dir string) (uint64, bool) {
	limit, ok := readNumber(root, path.Join(dir, v.limit))
	if !ok || limit > math.MaxInt64/2 { // "max", or v1's page-rounded infinity
		return 0, false
	}
	used, ok := readNumber(root, path.Join(dir, v.use))
	if !ok {
		return 0, false
	}
	stat := readTable(root, path.Join(dir, "memory.stat"))
	for _, name := range v.clean {
		used -= min(used, stat[name])
	}
	return limit - min(limit, used), true
}

func readNumber(root fs.FS, path string) (uint64, bool) {
	b, err := fs.ReadFile(root, path)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil
}
