//go:build linux

package vm

import "strconv"

// Files that the emulator inherits, by number.
const (
	fdImage = 3 + iota
	fdConsole
	fdLine
)

// command is the command line of the emulator. Nothing in it is a file that has
// to be removed: image, console and line are descriptors that it inherits.
func command(kernel string, c Config) []string {
	accel, cpus := []string{"-accel", "tcg,thread=multi"}, "2"
	// To the kernel: say only what is wrong, end with a panic at once, trust the
	// clock, and do not test ciphers, which is half of a boot.
	words := "console=ttyS0 quiet panic=-1 tsc=reliable cryptomgr.notests"
	if c.Clock == Virtual {
		accel, cpus = []string{"-accel", "tcg", "-icount", "shift=0,sleep=off", "-rtc", "clock=vm"}, "1"
		words += " acpi=off" // half of the rest; with more than one CPU it has to be
	}
	return append(accel,
		"-cpu", "max",
		"-smp", cpus,
		"-m", strconv.Itoa(c.Memory),
		"-nodefaults", "-no-user-config", "-no-reboot",
		"-display", "none",
		"-kernel", kernel,
		"-initrd", "/dev/fd/"+strconv.Itoa(fdImage),
		"-append", words,
		"-chardev", "file,id=console,path=/dev/fd/"+strconv.Itoa(fdConsole),
		"-serial", "chardev:console",
		"-chardev", "file,id=line,path=/dev/fd/"+strconv.Itoa(fdLine),
		// Without ioeventfd what the guest sends is on its way before the guest
		// goes on.
		"-device", "virtio-serial-pci,ioeventfd=off",
		"-device", "virtserialport,chardev=line",
	)
}
