package pgtest

import (
	"os"
	"syscall"
)

const (
	memoryDir = "/dev/shm"
	// A container's default is 64 MB, of which a fresh cluster alone takes most.
	memoryNeeded = 1 << 30
)

func attributes(cred *syscall.Credential, deathSignal syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: cred, Pdeathsig: deathSignal, Setpgid: true}
}

// roomInMemory says whether the memory file system can be written and holds enough for a cluster.
func roomInMemory() bool {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(memoryDir, &fs); err != nil || fs.Bavail*uint64(fs.Bsize) < memoryNeeded {
		return false
	}
	probe, err := os.MkdirTemp(memoryDir, dirPrefix+"0-")
	if err != nil {
		return false
	}
	return os.Remove(probe) == nil
}
