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
//
// khz is how fast this processor counts cycles, 0 if that is not known.
func command(kernel string, c Config, khz uint64) []string {
	accel, cpus := []string{"-accel", "tcg,thread=multi"}, "2"
	// To the kernel: say only what is wrong, end with a panic at once, and do not
	// test ciphers, which is a third of a boot.
	words := "console=ttyS0 quiet panic=-1 cryptomgr.notests "
	if c.Clock == Virtual {
		accel, cpus = []string{"-accel", "tcg", "-icount", "shift=0,sleep=off", "-rtc", "clock=vm"}, "1"
		khz = 1_000_000
		words += "acpi=off " // most of the rest; see docs/decisions/0040 for why not always
	}
	if khz > 0 {
		words += "tsc=reliable tsc_early_khz=" + strconv.FormatUint(khz, 10)
	} else {
		words += "tsc=unstable clocksource=hpet" // slower to read
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
