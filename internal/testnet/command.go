//go:build linux

package testnet

import "os/exec"

// Command returns the path of a command of this machine, also of one that only
// administrators have in their PATH.
func Command(name string) (string, error) {
	file, err := exec.LookPath(name)
	if err == nil {
		return file, nil
	}
	for _, dir := range []string{"/usr/sbin/", "/sbin/"} {
		if file, err := exec.LookPath(dir + name); err == nil {
			return file, nil
		}
	}
	return "", err
}

// commands says which of the commands is not here.
func commands(names ...string) error {
	for _, name := range names {
		if _, err := Command(name); err != nil {
			return err
		}
	}
	return nil
}
