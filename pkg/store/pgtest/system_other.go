//go:build unix && !linux

package pgtest

import "syscall"

const memoryDir = ""

// attributes has no death signal here: the janitor ends the server.
func attributes(cred *syscall.Credential, _ syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: cred, Setpgid: true}
}

func roomInMemory() bool { return false }
