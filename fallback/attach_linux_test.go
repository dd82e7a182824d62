package fallback

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

var attachKeep []byte

func init() {
	// attach-target shows where it has some bytes, and, when told to, what they are now.
	roles["attach-target"] = func() {
		attachKeep = memFill(1<<20, 5)
		fmt.Printf("%d\n", memAddress(attachKeep))
		in := bufio.NewReader(os.Stdin)
		_, _ = in.ReadString('\n')
		fmt.Printf("%x\n", attachKeep[:4])
		_, _ = in.ReadString('\n')
		runtime.KeepAlive(attachKeep)
	}
}

func attachChild(t *testing.T) (cmd *exec.Cmd, addr uintptr, ask func() string) {
	cmd = exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "SHMCHAN_ROLE=attach-target")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	lines := bufio.NewReader(out)
	_, err = fmt.Fscanln(lines, &addr)
	require.NoError(t, err)
	return cmd, addr, func() string {
		_, err := in.Write([]byte("\n"))
		require.NoError(t, err)
		s, err := lines.ReadString('\n')
		require.NoError(t, err)
		return s
	}
}

func TestAttachReadsAndWritesAChildsMemory(t *testing.T) {
	cmd, addr, ask := attachChild(t)
	pid := cmd.Process.Pid
	got := make([]byte, 1<<20)
	n, err := ReadProcess(pid, got, addr)
	require.NoError(t, err)
	require.Equal(t, len(got), n)
	require.Equal(t, memFill(1<<20, 5), got)

	p, err := OpenProcess(pid)
	require.NoError(t, err)
	defer p.Close()
	require.True(t, p.Alive())
	n, err = p.Write(addr, []byte{0xca, 0xfe, 0xba, 0xbe})
	require.NoError(t, err)
	require.Equal(t, 4, n)
	require.Equal(t, "cafebabe\n", ask())

	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	require.False(t, p.Alive())
	_, err = p.Read(got[:1], addr)
	require.ErrorIs(t, err, syscall.ESRCH)
	_, err = p.Write(addr, got[:1])
	require.ErrorIs(t, err, syscall.ESRCH)
	_, err = OpenProcess(pid)
	require.ErrorIs(t, err, syscall.ESRCH)
	require.NoError(t, p.Close())
	require.ErrorIs(t, p.Close(), os.ErrClosed)
	_, err = p.Read(got[:1], addr)
	require.ErrorIs(t, err, os.ErrClosed)
}

func attachAddr(b []byte) uintptr { return uintptr(memAddress(b)) }

func TestAttachVectorsOfAnyNumberAndLength(t *testing.T) {
	const n = 3000 // more than IOV_MAX
	src := memFill(7*n, 1)
	var remote []RemoteRange
	for i := range n {
		remote = append(remote, RemoteRange{attachAddr(src[7*i:]), 7}, RemoteRange{})
	}
	dst := make([]byte, 7*n)
	var local [][]byte
	for i := 0; i < len(dst); i += 5 {
		local = append(local, dst[i:min(i+5, len(dst))], nil)
	}
	m, err := ReadProcessVec(os.Getpid(), local, remote)
	require.NoError(t, err)
	require.Equal(t, len(dst), m)
	require.Equal(t, src, dst)

	clear(src)
	m, err = WriteProcessVec(os.Getpid(), local, remote)
	require.NoError(t, err)
	require.Equal(t, len(dst), m)
	require.Equal(t, dst, src)

	_, err = ReadProcessVec(os.Getpid(), local[:1], remote)
	require.ErrorIs(t, err, fs.ErrInvalid)
	_, err = ReadProcessVec(os.Getpid(), nil, []RemoteRange{{0, -1}})
	require.ErrorIs(t, err, fs.ErrInvalid)
	m, err = ReadProcessVec(os.Getpid(), nil, nil)
	require.NoError(t, err)
	require.Zero(t, m)
}

// A transfer that meets the end of a mapping has moved what is before it, as far as the
// kernel says, and tells of the rest.
func TestAttachPartialTransfer(t *testing.T) {
	page := os.Getpagesize()
	mem, err := unix.Mmap(-1, 0, 2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	require.NoError(t, err)
	defer unix.Munmap(mem)
	copy(mem, memFill(page, 2))
	require.NoError(t, unix.Mprotect(mem[page:], unix.PROT_NONE))
	dst := make([]byte, 2*page)
	n, err := ReadProcess(os.Getpid(), dst, attachAddr(mem))
	require.ErrorIs(t, err, syscall.EFAULT)
	require.Equal(t, page, n)
	require.Equal(t, memFill(page, 2), dst[:page])
	n, err = ReadProcessVec(os.Getpid(), [][]byte{dst}, []RemoteRange{
		{attachAddr(mem), page}, {attachAddr(mem) + uintptr(page), page},
	})
	require.ErrorIs(t, err, syscall.EFAULT)
	require.Equal(t, page, n)
}

func TestAttachErrorsSayWhy(t *testing.T) {
	b := make([]byte, 8)
	_, err := ReadProcess(os.Getpid(), b, 16)
	var ae *AttachError
	require.ErrorAs(t, err, &ae)
	require.ErrorIs(t, err, syscall.EFAULT)
	require.Contains(t, err.Error(), "process_vm_readv")
	_, err = ReadProcess(1<<30, b, 16)
	require.ErrorIs(t, err, syscall.ESRCH)
	_, err = WriteProcess(1<<30, 16, b)
	require.Contains(t, err.Error(), "process_vm_writev")
	n, err := ReadProcess(1<<30, nil, 16)
	require.NoError(t, err, "nothing was asked for")
	require.Zero(t, n)
}

func init() {
	roles["attach-refused"] = func() {
		b := make([]byte, 8)
		_, err := ReadProcess(os.Getppid(), b, uintptr(memAddress(b)))
		if !errors.Is(err, syscall.EPERM) {
			panic(fmt.Sprint("no EPERM but ", err))
		}
		fmt.Println(err)
	}
}

func TestAttachRefusalNamesUsersAndScope(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to have a child that is somebody else")
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "SHMCHAN_ROLE=attach-refused")
	cmd.SysProcAttr = crossStranger()
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err)
	require.Contains(t, string(out), "CAP_SYS_PTRACE")
	require.Contains(t, string(out), "it runs as uid 65534/65534/65534")
	if scope := attachScope(); scope != "" {
		require.Contains(t, string(out), "ptrace_scope is "+scope)
	}
}
